"""Blocks in slots of their own: which table a row is in, what is said of a box loss, what is drawn where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from acmix_exp.report.figures.network_map import placements
from acmix_exp.report.figures.training_curves import losses
from acmix_exp.report.records import Table
from acmix_exp.report.sentences import overall
from acmix_exp.report.table import make_tables

JOINED = {"norm": True, "act": True, "residual": True, "zero_init": False}
DOWN = {"mode": "down", "sites": ["down_backbone_p4", "down_neck_p4"]}
LOSS = {"mode": "loss", "sites": ["loss_head"]}
LIKE = {"name": "spd_conv", "kernel_size": 3}


@pytest.fixture
def insert(add: Any) -> Callable[..., Path]:
    """A finished run with a block at a placement, as recorded; a history with a box loss."""

    def write(arm: str, block: dict[str, Any], placement: dict[str, Any], *, control: bool = False) -> Path:
        path: Path = add(arm, 0, 0.3, given=block)
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["arm"]["control"] = control
        config["model"]["placement"] |= placement
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        provenance = json.loads((path / "provenance.json").read_text())
        provenance["identity"] |= {"block": block, "placement": placement}
        (path / "provenance.json").write_text(json.dumps(provenance))
        (path / "history.csv").write_text("epoch,map50_95,seconds,train/box_loss\n1,0.2,1,0.5\n2,0.3,1,0.4\n")
        return path

    return write


def arms(tables: list[Table]) -> list[list[str]]:
    return [[row.arm for row in table.rows] for table in tables]


def test_tables_of_one_reference_have_a_finding_of_all(folder: Path, add: Any, insert: Any) -> None:
    add("baseline", 0, 0.3)
    insert("spd_conv", LIKE, DOWN)
    insert("wiou", {"name": "wiou"}, LOSS)
    tables = make_tables(folder)
    assert overall(tables) == (
        "spd_conv and wiou have too few seeds to be called better or worse than baseline, which needs at least 6 (1 "
        "paired seed)."
    )
    assert overall(tables[:1]) == ""
    insert("spd_conv", {**LIKE, "kernel_size": 5}, DOWN)
    assert len(tables := make_tables(folder)) == 3
    assert overall(tables) == "", "one name for two blocks"


def test_controls_are_in_the_table_of_their_slot(folder: Path, add: Any, insert: Any) -> None:
    add("baseline", 0, 0.3)
    insert("spd_conv", LIKE, DOWN)
    insert("identity_down", {"name": "identity"}, {**DOWN, **JOINED, "norm": False}, control=True)
    matched = {"name": "conv3x3_matched", "match": "parameters", "like": LIKE}
    insert("conv3x3_matched_down", matched, {**DOWN, **JOINED}, control=True)
    insert("identity", {"name": "identity"}, {"mode": "after", "sites": ["sppf"], **JOINED}, control=True)
    insert("simam", {"name": "simam"}, {"mode": "after", "sites": ["sppf"], **JOINED})
    insert("wiou", {"name": "wiou"}, LOSS)
    found = arms(make_tables(folder))
    assert list(map(sorted, found)) == [
        ["baseline", "identity", "simam"],
        ["baseline", "conv3x3_matched_down", "identity_down", "spd_conv"],
        ["baseline", "wiou"],
    ], "tables stand in the order of the slots"


def test_layers_of_timm_share_a_table(folder: Path, add: Any, insert: Any) -> None:
    """Each has its layer in its label."""
    add("baseline", 0, 0.3)
    for layer in ("se", "eca"):
        insert(f"timm-{layer}", {"name": "timm", "layer": layer}, {"mode": "after", "sites": ["sppf"], **JOINED})
    assert arms(make_tables(folder)) == [["baseline", "timm-eca", "timm-se"]]


def test_the_curves_of_another_box_loss_are_not_to_be_compared(folder: Path, add: Any, insert: Any) -> None:
    add("baseline", 0, 0.3)
    insert("identity_loss", {"name": "identity"}, {**LOSS, **JOINED}, control=True)
    insert("wiou", {"name": "wiou", "version": "v3"}, LOSS)
    (table,) = make_tables(folder)
    words = "wiou: the box loss is another than that of the stock network, so its curves cannot be compared"
    assert [note for note in table.notes if "box loss" in note] == [words]
    (drawing,) = losses(table)
    assert drawing.caption.endswith("box of wiou is another loss, not to be compared with the others.")


def test_a_block_of_a_slot_is_drawn_at_its_place(folder: Path, add: Any, insert: Any) -> None:
    add("baseline", 0, 0.3)
    insert("spd_conv", LIKE, DOWN)
    insert("identity_down", {"name": "identity"}, {**DOWN, **JOINED}, control=True)
    (table,) = make_tables(folder)
    (drawing,) = placements(table)
    assert sorted(drawing.results.split("; ")) == [
        "yolov8n: identity_down: identity_down after the layer at down_backbone_p4",
        "yolov8n: identity_down: identity_down after the layer at down_neck_p4",
        "yolov8n: spd_conv: spd_conv in place of the strided convolution at down_backbone_p4",
        "yolov8n: spd_conv: spd_conv in place of the strided convolution at down_neck_p4",
    ]
    assert "loss" not in drawing.caption
    for axes in drawing.figure.axes:
        assert len([patch for patch in axes.patches if patch.get_facecolor()[3] == 1]) == len(DOWN["sites"])


def test_a_loss_has_no_place_and_the_caption_says_so(folder: Path, add: Any, insert: Any) -> None:
    add("baseline", 0, 0.3)
    insert("wiou", {"name": "wiou"}, LOSS)
    (table,) = make_tables(folder)
    (drawing,) = placements(table)
    assert drawing.results == "yolov8n: wiou: no block in the network"
    assert drawing.caption.endswith(" A box loss has no place in the network: that of wiou.")
