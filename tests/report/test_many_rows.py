"""Figures of a table with very many rows show those with the largest differences, and say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from acmix_exp.report.figures import catalogue
from acmix_exp.report.figures.detections import first_of
from acmix_exp.report.table import make_tables
from tests.report.builders import add_runs


def test_the_rows_with_the_largest_differences_and_their_references_are_drawn(tmp_path: Path) -> None:
    add_runs(tmp_path / "many", seeds=2, pictures=False)
    (table,) = make_tables(tmp_path / "many")
    baseline, *others = table.rows
    mixed = next(row for row in others if row.arm == "mixed")
    many = replace(table, rows=[*others[:2], baseline, *[replace(row) for row in others[:1] * 50], mixed])
    drawn, sentence = catalogue._readable(many)
    assert baseline in drawn.rows
    assert mixed in drawn.rows
    assert sentence.startswith("Of 54 rows the 20 with the largest differences and their references:")
    assert catalogue._readable(table) == (table, "")


def test_few_names_of_rows_that_are_left_out_are_listed() -> None:
    text = first_of([f"r{number}" for number in range(100)], 4, "rows")
    assert text.startswith("Of 100 rows the first 4 are drawn, without r4, r5")
    assert text.endswith("r23 and 76 more.")
