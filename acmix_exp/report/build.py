"""The whole report of an experiment's folder: tables, figures and the page. No torch, and no run is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_exp.child import end_group
from acmix_exp.files import cache_dir, locked, read_json, write_text
from acmix_exp.report.figure_data import view
from acmix_exp.report.html import page
from acmix_exp.report.read_runs import collect
from acmix_exp.report.table import REFERENCE
from acmix_exp.report.write import digest, write_summary
from acmix_exp.run.directory import runs_in

PAGE = "report.html"
FIGURES = "figures"
PROCESSES = 2


@dataclass(frozen=True)
class Report:
    """``tables`` as in summary.json; ``shown``, what figures and page are made of, with ``drawn``: one entry a figure,
    with ``error`` where it could not be drawn."""

    tables: list[dict[str, Any]]
    shown: dict[str, Any]


def build(folder: Path, reference: str = REFERENCE) -> Report:
    """Write the summary files, ``figures/`` and ``report.html``, one writer at a time; ``reference`` as for these.

    Stopped in the middle, it leaves the files of the last report or of this one, each whole.
    """
    with locked(folder / ".report.lock"):
        tables = write_summary(folder, reference)
        groups, _ = collect(folder)
        shown = view(folder, tables, groups)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".report-"))
        try:
            shown["drawn"] = draw(shown, scratch)
            text = page(folder, shown, scratch, digest(tables))
            _move(scratch, folder / FIGURES)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        write_text(folder / PAGE, text)
    return Report(tables, shown)


def is_current(folder: Path) -> bool:
    """Whether the page was made from the tables of summary.json, and after every run's outcome and the profile."""
    try:
        made, text = (folder / PAGE).stat().st_mtime_ns, (folder / PAGE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    if digest((read_json(folder / "summary.json") or {}).get("tables", [])) not in text:
        return False
    outcomes = [run.path / name for run in runs_in(folder) for name in ("status.json", "result.json")]
    return all(path.stat().st_mtime_ns < made for path in (*outcomes, folder / "profile.json") if path.exists())


def draw(shown: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """Draw every figure into ``out``, in processes that end with this one; figures in the page's order."""
    source = out / "view.json"
    source.write_text(json.dumps(shown), encoding="utf-8")
    shares = min(PROCESSES, os.cpu_count() or 1)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for share in range(shares):
            children.append(_start(source, out, share, shares))
        for child in children:
            child.wait()
    finally:
        for child in children:
            end_group(child.pid, child)
    drawn: list[dict[str, Any]] = []
    for share in range(shares):
        try:
            drawn += json.loads((out / f"{share}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            reason = (out / f"{share}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            error = reason[-1] if reason else f"the drawing process exited with {children[share].returncode}"
            drawn.append({"table": 0, "kind": "figures", "label": "", "stem": None, "error": error})
    return drawn


def _start(source: Path, out: Path, share: int, shares: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    environment.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))  # its list of fonts, made once
    package_parent = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "acmix_exp.report.figures.draw"]
    command += [str(source), str(out), str(share), str(shares), str(os.getpid())]
    with open(out / f"{share}.log", "wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def _move(scratch: Path, target: Path) -> None:
    """Put the new figures in place, each in one step, and remove those that there are no more."""
    target.mkdir(exist_ok=True)
    new = [path for path in scratch.iterdir() if path.suffix in (".png", ".svg")]
    for path in new:
        os.replace(path, target / path.name)
    kept = {path.name for path in new}
    for path in target.iterdir():
        if path.suffix in (".png", ".svg") and path.name not in kept:
            path.unlink()
