"""What several runs at once on one device bring: epochs of all runs together per hour, for 1, 2, 3 and 4 at once.

    python -m benchmarks.packing [--data data.yaml] [--at-once 1 2 3 4] --output packing.json

Each number of runs is trained side by side, by ``hardware.runs_at_once``, for a few epochs of the default training.
The time of an epoch is the mean over the epochs of all of them, without the first of each.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from acmix_exp.config import Config
from acmix_exp.files import write_json
from acmix_exp.run.directory import Run, runs_in
from benchmarks.provenance import collect


def train(at_once: int, epochs: int, words: list[str], folder: Path) -> dict[str, Any]:
    """Train ``at_once`` seeds of the mixed arm side by side; the row of the table. Raises CalledProcessError."""
    command = [
        *(sys.executable, "-m", "acmix_exp", "-m", "arm=mixed", f"seed=range(0,{at_once})", f"train.epochs={epochs}"),
        *(f"hardware.runs_at_once={at_once}", f"runs_dir={folder}", f"name=at_once_{at_once}"),
        *("logger=disabled", "report.auto=false", "train.keep=none", *words),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    runs = runs_in(folder / f"at_once_{at_once}")
    seconds = fmean(epoch_seconds(run) for run in runs)
    memory = [(run.provenance().get("memory") or {}).get("used_mb") for run in runs]
    return {
        "runs_at_once": at_once,
        "epoch_seconds": round(seconds, 3),
        "epochs_per_hour": round(3600 * at_once / seconds, 1),
        "memory_mb": max((value for value in memory if value), default=None),  # on a GPU of all runs together
    }


def epoch_seconds(run: Run) -> float:
    """Mean time of an epoch, without the first, in which caches are filled."""
    with (run.path / "history.csv").open(newline="") as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    return fmean(seconds[1:] or seconds)


def table(rows: list[dict[str, Any]]) -> str:
    epochs = Config().train.epochs
    lines = [f"| runs at once | s per epoch | epochs per hour | runs of {epochs} epochs per hour | gain |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        rate = row["epochs_per_hour"]
        gain = rate / rows[0]["epochs_per_hour"]
        lines.append(
            f"| {row['runs_at_once']} | {row['epoch_seconds']:.2f} | {rate:,.0f} | {rate / epochs:.2f} | {gain:.2f} |"
        )
    best = max(rows, key=lambda row: float(row["epochs_per_hour"]))
    return "\n".join([*lines, "", f"Most runs per hour: hardware.runs_at_once={best['runs_at_once']}"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="data.yaml (default: the embedded shapes)")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true", help="tiny images on a CPU")
    options = parser.parse_args()
    words = ["dataset=shapes"] if options.data is None else ["dataset=yolo", f"dataset.path={options.data}"]
    words += ["hardware=cpu", "train.imgsz=32"] if options.dry_run else ["hardware=gpu"]
    content: dict[str, Any] = {"provenance": collect("cpu" if options.dry_run else "cuda"), "results": []}
    content["data"] = "shapes" if options.data is None else Path(options.data).parent.name
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for at_once in options.at_once:
            content["results"].append(train(at_once, options.epochs, words, Path(folder)))
            write_json(options.output, content)
    print(table(content["results"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
