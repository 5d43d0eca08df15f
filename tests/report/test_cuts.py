"""What a figure leaves out is said below it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.figures.cuts import left_out
from acmix_exp.report.html import page
from tests.report import made


def rows(folder: Path, count: int, heads: int = 4, classes: int = 3) -> list[dict[str, Any]]:
    """Rows ``arm0`` .. of one seed each, all with images and windows."""
    made.write_pictures(folder / "images", True, 0, 0.5)
    file = folder / "images" / "windows.json"
    data = json.loads(file.read_text())
    for site in data["sites"]:
        site["head"] = heads
    file.write_text(json.dumps(data))
    run = {"seed": 0, "images": str(folder / "images"), "windows": True}
    deltas = {f"class{place}": {"mean": place / 100, "low": None, "high": None} for place in range(classes)}
    return [{"label": f"arm{number}", "runs": [run], "class_deltas": deltas} for number in range(count)]


def test_nothing_is_said_where_nothing_is_cut(tmp_path: Path) -> None:
    table = {"rows": rows(tmp_path, 4)}
    for kind in ("forest", "learning_curves", "predictions", "windows", "heads", "class_deltas"):
        assert left_out(kind, table) == ""


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("predictions", "Of 8 rows the first 6 are drawn, without arm6, arm7."),
        ("windows", "Of 8 rows with attention the first 4 are drawn, without arm4, arm5, arm6, arm7."),
        (
            "heads",
            "Of 8 rows with attention the first 4 are drawn, without arm4, arm5, arm6, arm7. Of 16 heads the first 8.",
        ),
        (
            "class_deltas",
            "Of 80 classes these are the 12 with the largest differences of any arm: chosen for what they show, they "
            "say nothing of the others.",
        ),
    ],
)
def test_what_is_cut_is_named(tmp_path: Path, kind: str, words: str) -> None:
    assert left_out(kind, {"rows": rows(tmp_path, 8, heads=16, classes=80)}) == words


def test_rows_without_images_of_that_seed(tmp_path: Path) -> None:
    found = rows(tmp_path, 3)
    found[1]["runs"] = [{**found[1]["runs"][0], "seed": 1}]
    assert left_out("predictions", {"rows": found}) == "No images of seed 0 were kept for arm1."


def test_it_stands_in_the_caption(tmp_path: Path) -> None:
    made.run(tmp_path / "runs", "baseline", 0, 1, pictures=False)
    (tmp_path / "latency.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>')
    table = {"heading": "h", "notes": [], "swept_keys": [], "reference": "baseline", "rows": []}
    entry = {"table": 0, "kind": "latency", "label": "", "stem": "latency", "cut": "Of 9 rows 6."}
    text = page(tmp_path / "runs", {"name": "n", "tables": [table], "drawn": [entry]}, tmp_path, "0")
    assert "Of 9 rows 6.</figcaption>" in text
