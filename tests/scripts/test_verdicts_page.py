"""docs/verdicts.md is what the published runs say; a block without published runs has no verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acmix_exp.sweep.compose import compose_cells
from scripts import verdicts_page
from scripts.verdicts_page import NONE, page, verdicts, wanted


def test_the_page_is_written_by_the_script() -> None:
    assert verdicts_page.PAGE.read_text(encoding="utf-8") == page(), "run: python -m scripts.verdicts_page"


def test_without_published_runs_it_says_so(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert text.count(NONE) == len(wanted())
    assert "None of these has published runs yet" in text


def test_a_published_run_is_on_the_page(tmp_path: Path) -> None:
    settings = {
        "dataset": "thermal",
        "pretrained": "yolov8n.pt",
        "model": {"name": "yolov8", "scale": "n"},
        "train": {"epochs": 15, "imgsz": 224},
    }
    cost = {"parameters": 3_000_000, "gflops": 8.0, "latency_ms_b1": 20.0}
    rows = [
        {"arm": "baseline", "n": 6, "delta_mean": None, "verdict": "reference", **cost},
        {
            "arm": "simam",
            "n": 6,
            "delta_mean": 0.001,
            "delta_low": -0.004,
            "delta_high": 0.006,
            "excludes": 0.006,
            "verdict": "no_difference",
            **cost,
            "latency_ms_b1": 20.5,
        },
    ]
    folder = tmp_path / "thermal_wanted"
    folder.mkdir()
    table = {"settings": settings, "reference": "baseline", "rows": rows}
    (folder / "summary.json").write_text(json.dumps({"tables": [table]}), encoding="utf-8")
    (found,) = verdicts(tmp_path)
    assert (found.points, found.excludes) == ("+0.10 (-0.40 to +0.60)", "0.60")
    assert found.cost == "+0.00 M, +0.00 GFLOPs, +0.50 ms"
    text = page(tmp_path)
    assert "| simam | after | no difference on thermal, yolov8n weights of COCO, 15 epochs, 224 px (6 seeds) |" in text
    assert text.count(NONE) == len(wanted()) - 1
    assert "None of these" not in text


@pytest.mark.slow
def test_wanted_is_what_its_command_trains() -> None:
    cells = compose_cells(["+experiment=wanted", "hardware=cpu", "task=plan", "seed=0"])
    slots = {cell.config.model.placement.mode for cell in cells}
    assert slots == {"after", "down", "up", "fuse", "loss"}
    assert len(cells) == 3 * len(wanted())
