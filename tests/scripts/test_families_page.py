"""docs/families.md is what the code says, and the command line refuses exactly the placements that it does not list."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from acmix_exp.config import ModelConfig, options
from acmix_exp.errors import ConfigError
from acmix_exp.slot_rules import MAPS, SLOTS
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo.families import FAMILIES
from scripts import families_page

PLACEMENTS = [
    name
    for name in options("model/placement")
    if name != "none" and families_page.read(name).mode in MAPS  # which ema goes to
]
SLOT_BLOCKS = {"down": "spd_conv", "up": "carafe", "fuse": "bifpn", "loss": "wiou"}


def test_the_tables_of_the_page_are_written_by_the_script() -> None:
    page = families_page.PAGE.read_text(encoding="utf-8")
    assert families_page.with_tables(page) == page, "run: python -m scripts.families_page"


def test_every_family_has_a_config() -> None:
    assert set(options("model")) == set(FAMILIES)


QUICK = ("yolov8", "yolo26", "rtdetr")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in options("model")]
)
def test_the_placements_of_a_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ModelConfig(name, FAMILIES[name].scales[0])
    refused = [each for each in PLACEMENTS if families_page.fault(families_page.read(each), model)]
    command = ["-m", f"model={name}", f"model/placement={','.join(PLACEMENTS)}", "block=ema", "hardware=cpu"]
    if not refused:
        assert len(compose_cells(command)) == len(PLACEMENTS)
        return
    with pytest.raises(ConfigError) as caught:
        compose_cells(command)
    assert len(caught.value.lines) == len(refused)
    for line, placement in zip(sorted(caught.value.lines), sorted(refused), strict=True):
        assert line.startswith(f"model/placement={placement} model.placement.sites=")


def test_the_pictures_are_of_these_networks() -> None:
    """By their words, because another version of matplotlib may draw the same with other bytes."""
    pictures = families_page.pictures()
    assert {path.stem for path in families_page.PICTURES.iterdir()} == set(pictures)
    for name, panels in pictures.items():
        text = (families_page.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
        words = {html.unescape(word) for word in re.findall(r">([^<>]+)</text>", text)}
        expected = {panel.title for panel in panels}
        if name != "placements":
            expected |= {*panels[0].network.sites, panels[0].network.head.kind}
        assert expected <= words, "run: python -m scripts.families_page"


def test_a_picture_is_drawn_as_it_was(tmp_path: Path) -> None:
    drawn = families_page.draw("yolov8n", families_page.pictures()["yolov8n"], tmp_path)
    words = [
        re.findall(r">([^<>]+)</text>", path.read_text(encoding="utf-8"))
        for path in (drawn, families_page.PICTURES / drawn.name)
    ]
    assert words[0] == words[1], "run: python -m scripts.families_page"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in options("model")]
)
def test_the_slots_of_a_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert set(SLOT_BLOCKS) == set(SLOTS)
    model = ModelConfig(name, FAMILIES[name].scales[0])
    refused = [slot for slot in SLOTS if families_page.fault(families_page.read(slot), model)]
    assert refused == (["loss"] if name == "rtdetr" else [])
    blocks = ",".join(block for slot, block in SLOT_BLOCKS.items() if slot not in refused)
    cells = compose_cells(["-m", f"model={name}", "model/placement=usual", f"block={blocks}", "hardware=cpu"])
    assert [cell.config.model.placement.mode for cell in cells] == [slot for slot in SLOTS if slot not in refused]
