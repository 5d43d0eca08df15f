"""Everything that needs a GPU in one command: parity tests, a short training, benchmarks; the results in one folder.

    python -m benchmarks.gpu [--data data.yaml] [--minutes 60] [--out DIR] [--dry-run]

The stages run one after another in separate processes; one that fails does not affect the others. Needs torch with
CUDA, pytest and the dependencies of the package; no network.
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

from benchmarks import packing, page, provenance
from benchmarks.compare import RESULTS
from benchmarks.stages import REPO, planned, run_all
from benchmarks.targets import TARGETS, Target, where

RUN_FILES = ("config.yaml", "result.json", "history.csv", "provenance.json")  # kept of a training run
SUMMARY = ("summary.md", "summary.csv", "summary.json")  # kept of the experiment
THEMES = ("window_attention", "module", "blocks", "train_step")
TEXTS = (".log", ".json", ".md", ".csv", ".yaml")
TABLE = ("theme", "case", "figure", "goal", "measured", "reached")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if every stage succeeded, 1 if one did not, 2 without CUDA."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the folder (benchmarks/results/gpu_NAME_DATE)")
    parser.add_argument("--data", help="data.yaml of the short training (default: the embedded shapes)")
    parser.add_argument("--minutes", type=float, default=60.0, help="limit for all stages (60)")
    parser.add_argument("--dry-run", action="store_true", help="every stage with tiny shapes on a CPU")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print("benchmarks.gpu: no CUDA device; --dry-run runs on a CPU", file=sys.stderr)
        return 2
    data = None if options.data is None else str(Path(options.data).resolve())
    if data is not None and not Path(data).is_file():
        parser.error(f"--data {options.data}: no such file")

    facts = provenance.collect("cpu" if options.dry_run else "cuda")
    name = page.hardware_name({"provenance": facts})
    out = (options.out or RESULTS / f"gpu_{name}_{facts['date'][:10]}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    results = run_all(planned(out, data, options.dry_run), out, options.minutes, console.print)
    _keep_training(out)
    (out / "provenance.json").write_text(json.dumps({**facts, "stages": results}, indent=1) + "\n", encoding="utf-8")
    _hide_paths(out, {out: "OUT", REPO: ".", Path.home(): "~", **({Path(data).parent: "DATA"} if data else {})})
    table = page.Grid("Figures to reach on a GPU", list(TABLE), figures(_theme_results(out)), 3)
    title = f"# {'Dry run' if options.dry_run else 'GPU'} · {name} · {facts['date'][:10]}"
    packed = _packing_table(out)
    lines = [title, "", *_stage_table(results), "", *page.markdown_table(table), "", *packed]
    (out / "README.md").write_text("\n".join(lines))
    Console(width=max(console.width, 120)).print(page.terminal(table))
    console.print(*packed, sep="\n", markup=False)
    console.print(str(out), soft_wrap=True)
    return 0 if all(stage["status"] == 0 for stage in results.values()) else 1


def figures(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row for every GPU target and every case that it was measured on, and for every target that was not measured."""
    rows = []
    for target in TARGETS:
        if target.device != "cuda" or target.theme not in THEMES:
            continue
        measured = [row for result in results for row in _rows(target, result)]
        goal = f"at least {target.at_least:.3g}" if target.at_least is not None else f"at most {target.at_most:.3g}"
        metric = target.metric.replace("training", "forward + backward").replace("_", " ")
        if "speed" in target.metric:
            metric += f", against {target.against}"
        for row in measured:
            reached = "yes" if row["met"] else f"no, {row['share']:.0%} of it"
            rows.append([target.theme, row["case"], metric, goal, page.figure(row["measured"]), reached])
        if not measured:
            rows.append([target.theme, where(target), metric, goal, "-", "not measured"])
    return rows


def _rows(target: Target, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in result["targets"] if row.get("target") == TARGETS.index(target)]


def _packing_table(out: Path) -> list[str]:
    path = out / "packing.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    return [packing.table(rows), ""] if rows else []


def _theme_results(out: Path) -> list[dict[str, Any]]:
    results = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json")))
    return [result for result in results if "targets" in result]


def _stage_table(results: dict[str, dict[str, float]]) -> list[str]:
    rows = [[name, f"{stage['status']:.0f}", f"{stage['seconds']:.0f}"] for name, stage in results.items()]
    return page.markdown_table(page.Grid("", ["stage", "exit code", "seconds"], rows, 1))


def _keep_training(out: Path) -> None:
    """Remove the weights, images and W&B folders of the training runs."""
    runs = out / "training" / "gpu"
    for path in [*runs.glob("*"), *runs.glob("*/*")]:
        kept = RUN_FILES if path.parent != runs else SUMMARY
        if path.name in kept or (path / RUN_FILES[0]).exists():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _hide_paths(out: Path, names: dict[Path, str]) -> None:
    """Replace the paths of this machine in all texts by short names."""
    for path in out.rglob("*"):
        if path.is_file() and path.suffix in TEXTS:
            text = path.read_text(encoding="utf-8", errors="replace")
            for folder, name in names.items():
                text = text.replace(str(folder), name)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
