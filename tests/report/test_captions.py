"""The caption of a figure says what the figure leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from acmix_exp.report.figures.catalogue import FIGURES
from acmix_exp.report.figures.style import Drawing, Drawn
from acmix_exp.report.html import page
from acmix_exp.report.records import ArmRuns, Row, Table
from tests.report import builders, rows


def table(folder: Path, count: int, heads: int = 4, classes: int = 3) -> Table:
    """Rows ``arm0`` .. of one seed each, all with images, windows and a difference per class."""
    builders.write_images(folder / "images", True, 0, 0.5)
    file = folder / "images" / "windows.json"
    content = json.loads(file.read_text())
    for site in content["sites"]:
        site["head"] = heads
    file.write_text(json.dumps(content))
    return rows.table([arm(folder, f"arm{number}", 0, classes) for number in range(count)])


def arm(folder: Path, name: str, seed: int, classes: int = 3) -> Row:
    def runs(name: str, gain: float) -> ArmRuns:
        maps = {f"class{place}": gain * place for place in range(classes)}
        return ArmRuns(name, {}, {seed: rows.record(name, seed, folder=folder, per_class=maps)})

    return replace(rows.row(name, 0.3, None), runs=runs(name, 0.01), reference=runs("baseline", 0.0))


def captions(name: str, drawn: Table) -> set[str]:
    return {drawing.caption for drawing in FIGURES[name](drawn)}


def test_no_caption_if_nothing_is_left_out(tmp_path: Path) -> None:
    whole = table(tmp_path, 4)
    for name in ("predictions", "windows", "heads", "class_deltas"):
        (caption,) = captions(name, whole)
        assert "Of " not in caption


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("predictions", "Of 8 rows the first 6 are drawn, without arm6, arm7."),
        ("windows", "Of 8 rows with attention the first 4 are drawn, without arm4, arm5, arm6, arm7."),
        (
            "heads",
            "Of 8 rows with attention the first 4 are drawn, without arm4, arm5, arm6, arm7. Of 16 heads the first 8.",
        ),
        (
            "class_deltas",
            "Of 80 classes these are the 12 with the largest differences of any arm: because they were selected by "
            "their differences, they say nothing about the others.",
        ),
    ],
)
def test_left_out_items_are_named(tmp_path: Path, name: str, words: str) -> None:
    (caption,) = captions(name, table(tmp_path, 8, heads=16, classes=80))
    assert caption.endswith(words)


def test_rows_without_images_of_that_seed(tmp_path: Path) -> None:
    found = table(tmp_path, 3)
    other = replace(found, rows=[found.rows[0], arm(tmp_path, "arm1", 1), found.rows[2]])
    (caption,) = captions("predictions", other)
    assert caption.endswith("No images of seed 0 were kept for arm1.")


def test_the_page_shows_the_caption(tmp_path: Path) -> None:
    (tmp_path / "latency.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>')
    drawn = [Drawn(0, "latency", Drawing(Figure(), "Latency", "Of 9 rows 6."), "latency")]
    text = page("n", [rows.table([])], [], drawn, tmp_path)
    assert "Of 9 rows 6.</figcaption>" in text
