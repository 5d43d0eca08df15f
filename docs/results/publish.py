"""Copy a finished experiment and its whole report into this folder, without machine paths.

    python docs/results/publish.py runs/NAME docs/results/FOLDER

Weights, logs and W&B files stay behind, and the stored images of all seeds but the one that the report shows.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from pathlib import Path

import yaml

from acmix_exp.config import load
from acmix_exp.experiment.store import Run, runs_in
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.report.build import build

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


def main(source: Path, target: Path) -> None:
    runs = [run for run in runs_in(source) if run.is_done()]
    if not runs:
        raise SystemExit(f"{source} holds no finished run; expected an experiment's folder such as runs/demo")
    shown = min(int(run.status()["seed"]) for run in runs)  # type: ignore[index]
    for run in runs:
        copy_run(run, target / "runs" / run.name)
        if run.status()["seed"] == shown and (run.path / "images").is_dir():  # type: ignore[index]
            shutil.copytree(run.path / "images", target / "runs" / run.name / "images", dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / source.name  # the report of the copies: what it says is in them
        shutil.copytree(target / "runs", folder)
        if (source / "profile.json").is_file():
            shutil.copyfile(source / "profile.json", folder / "profile.json")
        build(folder, load(runs[0].path / "config.yaml").report.reference)
        for name in ("summary.json", "summary.csv", "summary.md", "table.tex", "report.html"):
            shutil.copyfile(folder / name, target / name)
        shutil.rmtree(target / "figures", ignore_errors=True)
        shutil.copytree(folder / "figures", target / "figures")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the experiment's folder: runs/NAME")
    parser.add_argument("target", type=Path, help="the folder to write: docs/results/FOLDER")
    arguments = parser.parse_args()
    main(arguments.source, arguments.target)
