"""Everything that wants a GPU, in one command and in minutes: tests, benchmarks, a short training, one folder.

    python -m benchmarks.gpu [--data data.yaml] [--minutes 9] [--out DIR] [--dry-run]

Stages run one after another, each in processes of its own and with a part of the time; what fails or runs out of
time loses nothing of the others. Needs torch with CUDA, pytest and what the package needs; no network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import page, provenance
from benchmarks.compare import RESULTS
from benchmarks.stages import REPO, planned, run_all
from benchmarks.targets import TARGETS, Target, where

KEPT = ("config.yaml", "result.json", "history.csv", "provenance.json")  # of a training run
SUMMARY = ("summary.md", "summary.csv", "summary.json")  # of all of them
THEMES = ("window_attention", "module", "blocks", "train_step")
TEXTS = (".log", ".json", ".md", ".csv", ".yaml")
TABLE = ("theme", "case", "figure", "goal", "measured", "reached")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 where every stage ended well, 1 where one did not, 2 without CUDA."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the folder (benchmarks/results/gpu_NAME_DATE)")
    parser.add_argument("--data", help="data.yaml of the short training (the embedded shapes)")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it (9)")
    parser.add_argument("--dry-run", action="store_true", help="every stage on tiny shapes and a CPU: whether it runs")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print("benchmarks.gpu: needs a CUDA device and found none; --dry-run does without", file=sys.stderr)
        return 2
    data = None if options.data is None else str(Path(options.data).resolve())
    if data is not None and not Path(data).is_file():
        parser.error(f"--data {options.data}: no such file")

    facts = provenance.collect("cpu" if options.dry_run else "cuda")
    name = page.hardware_name({"provenance": facts})
    out = (options.out or RESULTS / f"gpu_{name}_{facts['date'][:10]}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    ended = run_all(planned(out, data, options.dry_run), out, options.minutes, console.print)
    _keep_training(out)
    (out / "provenance.json").write_text(json.dumps({**facts, "stages": ended}, indent=1) + "\n", encoding="utf-8")
    _forget(out, {out: "OUT", REPO: ".", Path.home(): "~", **({Path(data).parent: "DATA"} if data else {})})
    table = page.Grid("Figures to reach on a GPU", list(TABLE), figures(_results(out)), 3)
    title = f"# {'Dry run' if options.dry_run else 'GPU'} · {name} · {facts['date'][:10]}"
    (out / "README.md").write_text("\n".join([title, "", *_stages(ended), "", *page.markdown_table(table), ""]))
    Console(width=max(console.width, 120)).print(page.terminal(table))
    console.print(str(out), soft_wrap=True)
    return 0 if all(stage["status"] == 0 for stage in ended.values()) else 1


def figures(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for every figure to reach on a GPU and every case that it was measured on; also for what was not."""
    rows = []
    for target in TARGETS:
        if target.device != "cuda" or target.theme not in THEMES:
            continue
        found = [row for result in results for row in _rows(target, result)]
        goal = f"at least {target.at_least:.3g}" if target.at_least is not None else f"at most {target.at_most:.3g}"
        metric = target.metric.replace("training", "forward + backward").replace("_", " ")
        if "speed" in target.metric:
            metric += f", against {target.against}"
        for row in found:
            reached = "yes" if row["met"] else f"no, {row['share']:.0%} of it"
            rows.append([target.theme, row["case"], metric, goal, page.figure(row["measured"]), reached])
        if not found:
            rows.append([target.theme, where(target), metric, goal, "-", "not measured"])
    return rows


def _rows(target: Target, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["targets"] if row.get("target") == TARGETS.index(target)]


def _results(out: Path) -> list[dict[str, Any]]:
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json")))
    return [result for result in found if "targets" in result]


def _stages(ended: dict[str, dict[str, float]]) -> list[str]:
    rows = [[name, f"{stage['status']:.0f}", f"{stage['seconds']:.0f}"] for name, stage in ended.items()]
    return page.markdown_table(page.Grid("", ["stage", "exit status", "seconds"], rows, 1))


def _keep_training(out: Path) -> None:
    """Of the training runs what says how they went: no weights, no images, no W&B folder."""
    runs = out / "training" / "gpu"
    for path in [*runs.glob("*"), *runs.glob("*/*")]:
        kept = KEPT if path.parent != runs else SUMMARY
        if path.name in kept or (path / KEPT[0]).exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _forget(out: Path, places: dict[Path, str]) -> None:
    """Where things lie on this machine is nobody's business."""
    for path in out.rglob("*"):
        if path.is_file() and path.suffix in TEXTS:
            text = path.read_text(encoding="utf-8", errors="replace")
            for place, name in places.items():
                text = text.replace(str(place), name)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
