"""Placements drawn on the network: what each panel shows, in the words of the figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import yaml

from acmix_exp.config import ModelConfig
from acmix_exp.report.figures.catalogue import LOOK, _save
from acmix_exp.report.figures.network_map import Mark, Panel, draw_panels, placements
from acmix_exp.report.figures.style import Drawing, Drawn
from acmix_exp.report.html import page
from acmix_exp.report.table import make_tables
from acmix_exp.yolo.sites import Network
from acmix_exp.yolo.slot_sites import slot_layers


def drawn(folder: Path) -> list[Drawing]:
    return [drawing for table in make_tables(folder) for drawing in placements(table)]


def change(path: Path, **keys: Any) -> None:
    config = yaml.safe_load((path / "config.yaml").read_text())
    for key, value in keys.items():
        config[key] |= value
    (path / "config.yaml").write_text(yaml.safe_dump(config))


def test_arms_with_the_same_places_share_a_panel(folder: Path, add: Any) -> None:
    for arm in ("baseline", "mixed", "attention"):
        add(arm, 0, 0.3)
    (drawing,) = drawn(folder)
    assert drawing.results == "yolov8n: attention, mixed: attention, mixed after the layer at sppf"
    assert len(drawing.figure.axes) == 1


def test_arms_with_insertions_name_their_blocks(folder: Path, add: Any) -> None:
    add("baseline", 0, 0.3)
    path = add("both", 0, 0.3)
    parts = [
        {"block": {"name": "ema"}, "placement": {"mode": "after", "sites": ["neck_p3"]}},
        {"block": {"name": "lsk"}, "placement": {"mode": "replace", "sites": ["backbone_p4"]}},
    ]
    change(path, arm={"insertions": parts})
    provenance = json.loads((path / "provenance.json").read_text())
    provenance["identity"] |= {"block": None, "placement": None, "insertions": parts}
    (path / "provenance.json").write_text(json.dumps(provenance))
    (drawing,) = drawn(folder)
    assert drawing.results == (
        "yolov8n: both: ema after the layer at neck_p3; yolov8n: both: lsk in place of its second 3x3 at backbone_p4"
    )


def test_a_network_that_is_not_known_is_left_out(folder: Path, add: Any) -> None:
    add("baseline", 0, 0.3)
    path = add("mixed", 0, 0.3)
    change(path, model={"name": "yolov99"})
    assert drawn(folder) == []
    change(path, model={"name": "yolov8", "yaml": "gone.yaml"})
    assert drawn(folder) == []


def test_a_baseline_alone_has_no_figure(folder: Path, add: Any) -> None:
    add("baseline", 0, 0.3)
    assert drawn(folder) == []


@pytest.mark.parametrize("slot", ["down", "up", "fuse"])
def test_a_block_in_place_of_a_layer_between_sites(slot: str) -> None:
    network = Network.of(ModelConfig("yolov8"))
    names = list(slot_layers(network.layers, slot))
    with mpl.rc_context(LOOK):
        figure = draw_panels([Panel(network, {name: Mark("b", slot) for name in names}, "title")], text=False)
    (axes,) = figure.axes
    coloured = [patch for patch in axes.patches if patch.get_facecolor()[3] == 1]
    assert len(coloured) == len(names)
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) + len(names) + len(network.sites) == len(network.layers) - 1


def test_every_site_and_mark_is_drawn() -> None:
    network = Network.of(ModelConfig("yolo26"))
    marks = {"psa": Mark("lsk", "swap"), "neck_p3": Mark("ema", "after")}
    with mpl.rc_context(LOOK):
        figure = draw_panels([Panel(network, marks, "title")], names=True)
    (axes,) = figure.axes
    texts = {text.get_text() for text in axes.texts}
    assert {*network.sites, "C2PSA", "Detect", "P3", "10"} <= texts
    assert axes.get_title(loc="left") == "title"
    coloured = [patch for patch in axes.patches if patch.get_facecolor()[3] == 1]
    assert len(coloured) == len(marks)


def test_on_the_page_it_is_wide_and_is_scrolled_on_a_phone(folder: Path, add: Any) -> None:
    add("baseline", 0, 0.3)
    add("mixed", 0, 0.3)
    (drawing,) = drawn(folder)
    with mpl.rc_context(LOOK):
        _save(drawing, folder, "placements")
    tables = make_tables(folder)
    text = page("test", tables, [], [Drawn(0, "placements", drawing, "placements")], folder)
    figure = text[text.index('<figure class="wide" id="figure-placements">') :]
    assert (
        figure.index('<div class="scroll" tabindex="0" role="region"') < figure.index("<svg") < figure.index("</div>")
    )
    assert "figure .scroll svg { min-width:" in text
