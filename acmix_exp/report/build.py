"""The whole report of an experiment's folder: tables, figures and the page. The runs are only read."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acmix_exp.files import read_json, remove_temporaries, write_text
from acmix_exp.report.language import speaking
from acmix_exp.report.planned import DEFAULT, Asked
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Table
from acmix_exp.report.write import digest, write_summary
from acmix_exp.run.claim import turn
from acmix_exp.run.directory import runs_in

if TYPE_CHECKING:
    from acmix_exp.report.figures.style import Drawn

PAGE = "report.html"
FIGURES = "figures"
SCRATCH = ".report-"  # begins the name of a folder of figures that are being drawn


@dataclass(frozen=True)
class Report:
    tables: Sequence[Table]
    figures: Sequence[Drawn]
    notes: Sequence[str] = ()  # on the figures


def build(folder: Path, asked: Asked = DEFAULT) -> Report:
    """Write the summary files, ``figures/`` and ``report.html``, one writer at a time.

    Interrupted, it leaves each file as it was or as it will be.
    """
    from acmix_exp.report.figures.catalogue import draw_figures  # matplotlib takes a third of a second
    from acmix_exp.report.html import page

    with turn(folder, "report"), speaking(asked.language):
        tables = write_summary(folder, asked)
        remove_temporaries(folder, PAGE)
        for killed in folder.glob(f"{SCRATCH}*"):
            shutil.rmtree(killed, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=SCRATCH))
        try:
            drawn, notes = draw_figures(tables, scratch)
            text = page(folder.name, tables, read(folder), drawn, scratch, notes)
            _move(scratch, folder / FIGURES)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        write_text(folder / PAGE, text)
    return Report(tables, drawn, notes)


def is_current(folder: Path) -> bool:
    """Whether the page was made from the tables of summary.json, and after every run's result and the profile."""
    try:
        page_time, text = (folder / PAGE).stat().st_mtime_ns, (folder / PAGE).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    if digest((read_json(folder / "summary.json") or {}).get("tables", [])) not in text:
        return False
    sources = [run.path / name for run in runs_in(folder) for name in ("status.json", "result.json")]
    return all(path.stat().st_mtime_ns < page_time for path in (*sources, folder / "profile.json") if path.exists())


def _move(scratch: Path, target: Path) -> None:
    """Replace each figure in one step, and remove those that no longer exist."""
    target.mkdir(exist_ok=True)
    drawn = [path.name for path in scratch.iterdir()]
    for name in drawn:
        os.replace(scratch / name, target / name)
    for path in target.iterdir():
        if path.suffix in (".png", ".svg") and path.name not in drawn:
            path.unlink()
