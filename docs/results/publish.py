"""Copy a finished experiment and its whole report into this folder, without machine paths or the machine's name.

    python docs/results/publish.py runs/NAME docs/results/FOLDER

Weights, logs and W&B files stay behind, and the stored images of all seeds but the one that the report shows. Runs that
are not finished are copied as far as they came and named; what FOLDER held of an earlier experiment is replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.files import read_json
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.report.build import build
from acmix_exp.report.table import REFERENCE
from acmix_exp.run.directory import Run, runs_in
from acmix_exp.run.provenance import DIFF

REPORT = ("summary.json", "summary.csv", "summary.md", "summary.tex", "table.tex", "report.html")
PROFILE = "profile.json"
MACHINE_KEYS = ("host", "owner", "pid")  # of status.json: they mean something there alone
TEXT_KEYS = ("error",)  # sentences, not values

# A slash that begins a path: not that of an address, nor of what every machine has.
ROOT = r"(?:file://)?(?:~[\w.-]*|\.{1,2})?/(?![\s/]|bin/|dev/|etc/|proc/|sys/|usr/bin/)"
WHOLE = re.compile(ROOT)
QUOTED = re.compile(rf"(?P<quote>[\"'])(?P<path>{ROOT}(?:(?!(?P=quote))[^\n])*)(?P=quote)")
BARE = re.compile(rf"(?<![^\s\"'`=(\[{{<,;:|])(?P<path>{ROOT}(?:[^/\n\"'`,;]*[^/\s\"'`,;:=(\[{{<]/+)+)")
DIFF_HEADER = re.compile(r"diff --git a/|--- (?:a/|/dev/null)|\+\+\+ (?:b/|/dev/null)")


def without_path(value: str) -> str:
    """A value cut to ``.../`` and its last name where it is a path from the root, the home or this folder."""
    return f".../{Path(value).name}" if WHOLE.match(value) and value.rstrip("/").rfind("/") > 0 else value


def without_paths(text: str) -> str:
    """The text with the folders of every such path in it cut to ``.../``; addresses stay."""
    text = QUOTED.sub(lambda found: f"{found['quote']}{without_path(found['path'])}{found['quote']}", text)
    return BARE.sub(".../", text)


def command_without_paths(command: str) -> str:
    try:
        words = [word.partition("=") for word in shlex.split(command)]
    except ValueError:
        return without_paths(command)
    return shlex.join(
        f"{key}=" + without_paths(without_path(value)) if equals else without_paths(without_path(key))
        for key, equals, value in words
    )


def cleaned(value: Any, key: str = "") -> Any:
    """A copy of JSON or YAML data with the paths of every value cut."""
    if isinstance(value, dict):
        return {name: cleaned(part, str(name)) for name, part in value.items()}
    if isinstance(value, list):
        return [cleaned(part, key) for part in value]
    if not isinstance(value, str):
        return value
    if key == "command":
        return command_without_paths(value)
    return without_paths(value if key in TEXT_KEYS else without_path(value))


def diff_without_paths(diff: str) -> str:
    lines = diff.splitlines(keepends=True)
    return "".join(line if DIFF_HEADER.match(line) else without_paths(line) for line in lines)


def copy_run(run: Run, target: Path) -> None:
    target.mkdir(parents=True)
    for name in ("history.csv", OUTCOMES):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, target / name)
    status = run.status()
    if status:
        status = {**{key: value for key, value in status.items() if key not in MACHINE_KEYS}, "status": run.state()}
    _write(run.path / "status.json", target, status)
    _write(run.path / "result.json", target, read_json(run.path / "result.json"))
    provenance = run.provenance()
    if (run.path / DIFF).is_file():
        diff = (run.path / DIFF).read_text(encoding="utf-8")
        (target / DIFF).write_text(diff_without_paths(diff), encoding="utf-8")
        if diff_without_paths(diff) != diff and isinstance(provenance.get("git"), dict):
            provenance["git"]["diff_complete"] = False
    _write(run.path / "provenance.json", target, provenance or None)
    try:
        config = cleaned(yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError):
        return
    if isinstance(config, dict):
        (target / "config.yaml").write_text(yaml.safe_dump({**config, "runs_dir": "runs"}, sort_keys=False))


def _write(source: Path, target: Path, value: dict[str, Any] | None) -> None:
    """The file's object, cleaned; a file that holds none is copied as text, for the report names it."""
    if value is not None:
        (target / source.name).write_text(json.dumps(cleaned(value), indent=2) + "\n", encoding="utf-8")
    elif source.is_file():
        (target / source.name).write_text(without_paths(source.read_text(encoding="utf-8", errors="replace")))


def main(source: Path, target: Path) -> list[str]:
    """Publish; returns what is to be told, a line each."""
    runs = runs_in(source)
    done = [run for run in runs if run.is_done() and (run.path / "config.yaml").is_file()]
    if not done:
        raise SystemExit(f"{source} holds no finished run; expected an experiment's folder such as runs/demo")
    shown = min(_seed(run) for run in done)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".publish-") as scratch:
        folder = Path(scratch) / source.resolve().name  # the report of the copies: what it says is in them
        for run in runs:
            copy_run(run, folder / run.name)
            if _seed(run) == shown and (run.path / "images").is_dir():
                shutil.copytree(run.path / "images", folder / run.name / "images")
        _write(source / PROFILE, folder, read_json(source / PROFILE))
        build(folder, _reference(done))
        for name in REPORT:
            os.replace(folder / name, target / name)
        _replace(folder / "figures", target / "figures")
        for made in [*folder.glob(".*"), *folder.glob("*/replicates.npz")]:
            made.unlink()
        _replace(folder, target / "runs")
    states = Counter(run.state() for run in runs)
    lines = [f"{target}: {len(done)} finished runs and their report"]
    if left := ", ".join(f"{states[key]} {key}" for key in sorted(states.keys() - {"done"})):
        lines.append(f"not finished, copied as far as they came: {left}")
    cut = [run.name for run in runs if _is_cut(run)]
    return lines + ([f"paths were cut from {DIFF} of {', '.join(cut)}: diff_sha256 is of the whole"] if cut else [])


def _reference(runs: list[Run]) -> str:
    """As the first run that tells says; read as it is, for a run of an older version has another schema."""
    for run in runs:
        with contextlib.suppress(OSError, yaml.YAMLError, KeyError, TypeError):
            return str(yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))["report"]["reference"])
    return REFERENCE


def _seed(run: Run) -> int:
    return int((run.result() or run.status() or {}).get("seed", -1))


def _is_cut(run: Run) -> bool:
    path = run.path / DIFF
    return path.is_file() and diff_without_paths(path.read_text(encoding="utf-8")) != path.read_text(encoding="utf-8")


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    os.replace(source, target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the experiment's folder: runs/NAME")
    parser.add_argument("target", type=Path, help="the folder to write: docs/results/FOLDER")
    arguments = parser.parse_args()
    print("\n".join(main(arguments.source, arguments.target)))
