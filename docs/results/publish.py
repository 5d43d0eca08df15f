"""Copy what a finished experiment showed into this folder: figures, tables and provenance, without machine paths.

    python docs/results/publish.py runs/NAME docs/results/FOLDER

Weights, logs and W&B files stay behind.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import matplotlib as mpl
import yaml

mpl.use("Agg")
import matplotlib.pyplot as plt

from acmix_exp.experiment.store import Run, runs_in
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.report.write import write_summary

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
PATHS = re.compile(r"(?<![\w./])(?:\.{0,2}/)[\w./-]*/(?=[\w-])")


def without_paths(text: str) -> str:
    """The text with every folder path cut to ``.../``."""
    return PATHS.sub(".../", text)


def copy_run(run: Run, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "history.csv", "status.json"):
        shutil.copyfile(run.path / name, target / name)
    if (run.path / OUTCOMES).is_file():
        shutil.copyfile(run.path / OUTCOMES, target / OUTCOMES)
    (target / "provenance.json").write_text(without_paths(json.dumps(run.provenance(), indent=2)) + "\n")
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    for key in ("path", "root"):
        if config["dataset"][key]:
            config["dataset"][key] = f".../{Path(config['dataset'][key]).name}"
    config["runs_dir"] = "runs"
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def draw(runs: list[Run], order: list[str], target: Path) -> None:
    """Left: every seed's headline as a dot, the mean as a bar. Right: validation mAP50-95 over the epochs."""
    figure, (dots, curves) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for place, arm in enumerate(order):
        members = [run for run in runs if (run.result() or {}).get("arm") == arm]
        colour = COLOURS[place % len(COLOURS)]
        values = [run.result()["metrics"]["map50_95"] for run in members]  # type: ignore[index]
        dots.plot([place] * len(values), values, "o", color=colour, alpha=0.8)
        dots.plot([place - 0.25, place + 0.25], [sum(values) / len(values)] * 2, color=colour, linewidth=2)
        for number, run in enumerate(members):
            rows = run.history()
            epochs = [int(row["epoch"]) for row in rows]
            maps = [float(row["map50_95"]) for row in rows]
            curves.plot(epochs, maps, color=colour, linewidth=1, label=arm if number == 0 else None)
    metrics = runs[0].result()["metrics"]  # type: ignore[index]
    dots.set_xticks(range(len(order)), order)
    dots.set_title(
        f"mAP50-95 of {metrics['checkpoint']} on {metrics['split']}: a dot a seed, the bar their mean",
        fontsize=9,
    )
    curves.set_title("mAP50-95 on val over the epochs: a line a seed", fontsize=9)
    curves.set_xlabel("epoch")
    curves.legend(frameon=False, fontsize=9)
    for axes in (dots, curves):
        axes.set_ylim(0, 1.08 * max(float(max(line.get_ydata())) for line in axes.get_lines()))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
    for suffix in ("png", "svg"):
        figure.savefig(target / f"figure.{suffix}", dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    plt.close(figure)


def main(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    write_summary(source)
    runs = [run for run in runs_in(source) if run.is_done()]
    for run in runs:
        copy_run(run, target / "runs" / run.name)
    for name in ("summary.json", "summary.csv", "summary.md"):
        shutil.copyfile(source / name, target / name)
    rows = json.loads((source / "summary.json").read_text())["tables"][0]["rows"]
    draw(runs, list(dict.fromkeys(row["arm"] for row in rows)), target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
