"""Publish a finished experiment: its tables and page in one folder, the runs behind them in one archive beside these.

    python scripts/publish_results.py runs/NAME docs/results/FOLDER

Paths and the name of this machine are removed from every file. Weights, logs and W&B files are left out, and so are the
stored images of all seeds but the one that the page shows. Unfinished runs are included and named in the output. The
files of an earlier publication are replaced; README.md, written by hand, stays.

To check or to draw again what was published, unpack the archive and make the report:

    tar -xf docs/results/FOLDER/runs.tar.xz -C runs && python -m acmix_exp task=report name=NAME
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from acmix_exp.files import read_json
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.report.build import build
from acmix_exp.report.planned import Asked
from acmix_exp.run.directory import Run, runs_in
from acmix_exp.run.provenance import DIFF

ARCHIVE = "runs.tar.xz"
PAGE = ("summary.json", "summary.csv", "summary.md", "table.tex", "report.html")
FIGURES = ("forest*.png", "latency*.png")  # for a README; report.html holds every figure
PROFILE = "profile.json"
LABELS = "labels-*.json"  # statistics of the labels, for a figure
MACHINE_KEYS = ("host", "boot", "pids", "owner", "pid")  # of status.json: meaningless on another machine
SENTENCE_KEYS = ("error",)  # hold text with paths in it, not a path

# A slash that begins a path, but not the path of a URL or of a folder that every machine has.
ROOT = r"(?:file://)?(?:~[\w.-]*|\.{1,2})?/(?![\s/]|bin/|dev/|etc/|proc/|sys/|usr/bin/)"
ROOTED = re.compile(ROOT)
QUOTED = re.compile(rf"(?P<quote>[\"'])(?P<path>{ROOT}(?:(?!(?P=quote))[^\n])*)(?P=quote)")
BARE = re.compile(rf"(?<![^\s\"'`=(\[{{<,;:|])(?P<path>{ROOT}(?:[^/\n\"'`,;]*[^/\s\"'`,;:=(\[{{<]/+)+)")
DIFF_HEADER = re.compile(r"diff --git a/|--- (?:a/|/dev/null)|\+\+\+ (?:b/|/dev/null)")


def publish(source: Path, target: Path) -> list[str]:
    """Publish the experiment's folder ``source`` in ``target``; return the lines to print.

    Raises SystemExit if the folder holds no finished run.
    """
    runs = runs_in(source)
    done = [run for run in runs if run.is_done() and (run.path / "config.yaml").is_file()]
    if not done:
        raise SystemExit(f"{source} holds no finished run; it must be an experiment's folder such as runs/demo")
    illustrated_seed = min(_seed(run) for run in done)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".publish-") as scratch:
        folder = Path(scratch) / source.resolve().name
        for run in runs:
            copy_run(run, folder / run.name)
            if _seed(run) == illustrated_seed and (run.path / "images").is_dir():
                shutil.copytree(run.path / "images", folder / run.name / "images")
        for path in (source / PROFILE, *source.glob(LABELS)):
            _write_cleaned(path, folder, read_json(path))
        pack(folder, Path(scratch) / ARCHIVE)
        build(folder, _asked(done))  # from the copies: the page can only tell what the archive holds
        for name in PAGE:
            os.replace(folder / name, target / name)
        os.replace(Path(scratch) / ARCHIVE, target / ARCHIVE)
        _replace_figures(folder / "figures", target / "figures")
    states = Counter(run.state() for run in runs)
    lines = [f"{target}: {len(done)} finished runs and their report"]
    if unfinished := ", ".join(f"{states[key]} {key}" for key in sorted(states.keys() - {"done"})):
        lines.append(f"unfinished runs, included as they are: {unfinished}")
    if cut := ", ".join(run.name for run in runs if _diff_has_paths(run)):
        lines.append(f"paths were removed from {DIFF} of {cut}: diff_sha256 is of the original")
    return lines


def pack(folder: Path, archive: Path) -> None:
    """Write the files of a folder, under the folder's name, as a .tar.xz: the same files give the same bytes.

    Arrays are stored uncompressed, because xz makes one large stream a third smaller than zip makes each array.
    """
    with tarfile.open(archive, "w:xz", preset=8) as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = _uncompressed(path) if path.suffix == ".npz" else path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())  # mode 0644, no date, no owner
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _uncompressed(path: Path) -> bytes:
    content = io.BytesIO()
    try:
        with np.load(path, allow_pickle=False) as arrays:
            np.savez(content, **arrays)
    except Exception:  # a damaged file is published as it is: the report names it
        return path.read_bytes()
    return content.getvalue()


def copy_run(run: Run, target: Path) -> None:
    """Copy what the report reads of a run, without the machine's paths and name."""
    target.mkdir(parents=True)
    for name in ("history.csv", OUTCOMES):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, target / name)
    status = run.status()
    if status:
        status = {**{key: value for key, value in status.items() if key not in MACHINE_KEYS}, "status": run.state()}
    _write_cleaned(run.path / "status.json", target, status)
    _write_cleaned(run.path / "result.json", target, read_json(run.path / "result.json"))
    provenance = run.provenance()
    if (run.path / DIFF).is_file():
        diff = (run.path / DIFF).read_text(encoding="utf-8")
        (target / DIFF).write_text(diff_without_paths(diff), encoding="utf-8")
        if _diff_has_paths(run) and isinstance(provenance.get("git"), dict):
            provenance["git"]["diff_complete"] = False
    _write_cleaned(run.path / "provenance.json", target, provenance or None)
    try:
        config = cleaned(yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError):
        return
    if isinstance(config, dict):
        (target / "config.yaml").write_text(yaml.safe_dump({**config, "runs_dir": "runs"}, sort_keys=False))


def _write_cleaned(source: Path, target: Path, value: dict[str, Any] | None) -> None:
    """Write the cleaned JSON object of a file; a damaged file is copied as text, because the report names it."""
    if value is not None:
        (target / source.name).write_text(json.dumps(cleaned(value), indent=2) + "\n", encoding="utf-8")
    elif source.is_file():
        (target / source.name).write_text(without_paths(source.read_text(encoding="utf-8", errors="replace")))


def cleaned(value: Any, key: str = "") -> Any:
    """A copy of JSON or YAML data with the folders removed from every path in it."""
    if isinstance(value, dict):
        return {name: cleaned(part, str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [cleaned(part, key) for part in value]
    if not isinstance(value, str):
        return value
    if key == "command":
        return command_without_paths(value)
    return without_paths(value if key in SENTENCE_KEYS else without_path(value))


def without_path(value: str) -> str:
    """The value as ``.../NAME`` if it is a path from the root, the home or the current folder; else unchanged."""
    return f".../{Path(value).name}" if ROOTED.match(value) and value.rstrip("/").rfind("/") > 0 else value


def without_paths(text: str) -> str:
    """The text with the folders of each such path replaced by ``.../``; URLs are unchanged."""
    text = QUOTED.sub(lambda match: f"{match['quote']}{without_path(match['path'])}{match['quote']}", text)
    return BARE.sub(".../", text)


def command_without_paths(command: str) -> str:
    """A shell command with the folders removed from its words and from the values of its overrides."""
    try:
        words = [word.partition("=") for word in shlex.split(command)]
    except ValueError:
        return without_paths(command)
    return shlex.join(
        f"{key}=" + without_paths(without_path(value)) if equals else without_paths(without_path(key))
        for key, equals, value in words
    )


def diff_without_paths(diff: str) -> str:
    """A git diff with the folders removed from paths in its lines; its headers are unchanged."""
    lines = diff.splitlines(keepends=True)
    return "".join(line if DIFF_HEADER.match(line) else without_paths(line) for line in lines)


def _diff_has_paths(run: Run) -> bool:
    path = run.path / DIFF
    return path.is_file() and diff_without_paths(path.read_text(encoding="utf-8")) != path.read_text(encoding="utf-8")


def _asked(runs: list[Run]) -> Asked:
    """``report`` of the first config that has it; read without the schema, which older versions may not fit."""
    for run in runs:
        with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
            report = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))["report"]
            return Asked(str(report["reference"]), pairs=str(report.get("pairs", Asked.pairs)))
    return Asked()


def _seed(run: Run) -> int:
    return int((run.result() or run.status() or {}).get("seed", -1))


def _replace_figures(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in (path for pattern in FIGURES for path in source.glob(pattern)):
        os.replace(path, target / path.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the experiment's folder: runs/NAME")
    parser.add_argument("target", type=Path, help="the folder to write: docs/results/FOLDER")
    arguments = parser.parse_args()
    print("\n".join(publish(arguments.source, arguments.target)))
