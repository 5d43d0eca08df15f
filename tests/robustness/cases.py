"""The table of odd input: what people have, where it was reported, what happens here.

Every test module of this folder fills the table when it is imported; ``python -m scripts.robustness_page`` writes
docs/robustness.md from it. A row without a test cannot exist: :func:`case` decorates the test that shows it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

SECTIONS = (
    "Pascal VOC",
    "YOLO labels and lists",
    "Images",
    "Splits",
    "Installed packages",
    "What is trained",
    "Checkpoints",
    "Figures and numbers",
    "Command line",
    "Which of two is better",
    "Weights & Biases",
    "Python",
    "Other systems",
    "Interruptions and disks",
)

Test = TypeVar("Test", bound=Callable)


@dataclass(frozen=True)
class Row:
    """One line of docs/robustness.md."""

    section: str  # one of SECTIONS
    have: str  # what people have or type
    here: str  # what happens here
    reported: str = ""  # PROJECT #NUMBER; empty: found while testing


ROWS: list[tuple[str, Row]] = []  # each with the name of the test module that added it


def case(section: str, *, have: str, here: str, reported: str = "") -> Callable[[Test], Test]:
    """Put a row into the table for the decorated test. A test of many cases passes each to :func:`add` instead."""
    add(Row(section, have, here, reported))
    return lambda test: test


def add(row: Row) -> None:
    """Raises ValueError for an unknown section, a second row of the same case and a test in another folder."""
    if row.section not in SECTIONS:
        raise ValueError(f"{row.section}: no section; they are {SECTIONS}")
    if any((row.section, row.have) == (known.section, known.have) for _, known in ROWS):
        raise ValueError(f"{row.section}, {row.have}: it is in the table already")
    frame = sys._getframe(1)
    while frame.f_globals["__name__"] == __name__ and frame.f_back is not None:
        frame = frame.f_back
    module = frame.f_globals["__name__"]
    if not module.startswith("tests.robustness."):
        raise ValueError(f"{module}: a test with a row belongs into tests/robustness, whose modules make the page")
    ROWS.append((module, row))


def all_rows() -> list[Row]:
    """Rows of all test modules of this folder, by section, in the order of their files and lines."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.robustness.{path.stem}")
    by_module = sorted(ROWS, key=lambda entry: entry[0])  # pytest may have imported them in another order
    return [row for section in SECTIONS for _, row in by_module if row.section == section]
