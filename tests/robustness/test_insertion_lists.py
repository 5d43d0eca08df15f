"""``arm.insertions``: what is wrong with an item is named, with its number and key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.config import LossConfig
from acmix_exp.sweep import check
from tests.insertion_lists import ACMIX, EMA, listed
from tests.robustness.cases import Row, add


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


ONE_EMA = "{block: ema, placement: neck, "
REFUSED = {
    f"{ACMIX}, {{block: ema, placement: [backbone_p4]}}": (
        "arm.insertions[1].placement: backbone_p4 takes acmix-mixed already (arm.insertions[0]); must be a site of its"
    ),
    f"{ACMIX}, {{block: emu, placement: neck}}": "arm.insertions[1].block=emu: must be one of acmix, ",
    "{placement: neck}": "arm.insertions[0].block=null: no block is named; must be one of acmix, ",
    f"{ONE_EMA}options: {{kernel_att: 3}}}}": "arm.insertions[0].options.kernel_att=3: an option of acmix, not of ema",
    f"{ONE_EMA}options: {{facter: 3}}}}": "arm.insertions[0].options.facter=3: unknown key; did you mean factor?",
    f"{ONE_EMA}factor: 4}}": "arm.insertions[0].factor: unknown key; options of the block go below options: {factor:",
    f"{ONE_EMA}options: {{factor: 0}}}}": "arm.insertions[0].options.factor=0: must be a whole number from 1",
    f"{ONE_EMA}options: {{factor: 7}}}}": (
        "arm.insertions[0].options.factor=7: must divide the channels of every site; at scale n neck_p4_down has 128"
    ),
    f"{ONE_EMA}options: 4}}": "arm.insertions[0].options=4: must be keys",
    "{block: ema, placement: necks}": "arm.insertions[0].placement=necks: must be one of backbone_p3p4p5",
    "{block: ema}": "arm.insertions[0].placement=null: must be one of backbone_p3p4p5",
    "{block: ema, placement: []}": "arm.insertions[0].placement: names no site",
    "{block: ema, placement: [psa]}": "arm.insertions[0].placement: sites=psa: yolov8n has no such site; must be one",
    "{block: ema, placement: {sites: [sppf], mode: behind}}": (
        "arm.insertions[0].placement.mode=behind: must be one of after, replace, swap"
    ),
    "{block: ema, placement: {site: [sppf]}}": "arm.insertions[0].placement.site: unknown key; did you mean sites?",
    "{block: wiou, placement: loss}, {block: mpdiou, placement: loss}": (
        "arm.insertions[1].placement: loss_head takes wiou already (arm.insertions[0]); must be a site of its own"
    ),
    "{block: spd_conv, placement: down}, {block: spd_conv, placement: {mode: down, sites: [backbone_p4]}}": (
        "arm.insertions[1].placement: down_backbone_p4 takes spd_conv already (arm.insertions[0]); must be a site of"
    ),
    "{block: bifpn, placement: up}": (
        "arm.insertions[0].block=bifpn arm.insertions[0].placement.mode=up: it stands in place of a concatenation; use "
        "arm.insertions[0].placement=fuse"
    ),
    "{block: acmix, placement: fuse}": "placement.mode=fuse: a block there stands in place of a concatenation; use ",
    "{block: carafe, placement: usual}": "arm.insertions[0].placement=usual: must be one of backbone_p3p4p5",
    "ema": "arm.insertions[0]=ema: must be {block: NAME, placement: NAME}",
    "{block: custom, placement: sppf}": "arm.insertions[0].options.target=null: must be MODULE.CLASS",
}
for _have, _here in (
    ("a site that two insertions of `arm.insertions` name", "one line with both, exit code 2"),
    ("an option of another block, a block or a placement that does not exist, in `arm.insertions`", "the item and key"),
    ("`arm.insertions` beside `block=` or `model/placement=`, or in an arm that has a block of its own", "refused"),
):
    add(Row("What is trained", _have, _here))


LOSS_AND_BLOCKS = "{block: mpdiou, placement: loss}, {block: spd_conv, placement: down}, {block: ema, placement: neck}"


@pytest.mark.parametrize(
    ("items", "assigner", "faults"),
    [
        (LOSS_AND_BLOCKS, "stock", []),
        (LOSS_AND_BLOCKS, "same", []),
        (LOSS_AND_BLOCKS.replace("mpdiou", "wiou"), "same", ["loss.assigner=same block=wiou: it weights a loss"]),
        (EMA, "same", ["loss.assigner=same: goes with a box loss, model/placement=loss and block=inner_iou, mpdiou"]),
    ],
    ids=["stock", "same", "a weighting", "no loss"],
)
def test_a_loss_goes_with_blocks_of_other_slots(items: str, assigner: str, faults: list[str]) -> None:
    config = replace(listed(items), loss=LossConfig(assigner=assigner))
    found = check.faults(config, {"arm.insertions"})
    assert len(found) == len(faults)
    assert all(line.startswith(words) for line, words in zip(found, faults, strict=True))


@pytest.mark.parametrize("items", REFUSED)
def test_what_is_wrong_is_named(items: str) -> None:
    (line,) = check.faults(listed(items), {"arm.insertions"})
    assert REFUSED[items] in line


@pytest.mark.parametrize(
    ("keys", "changes", "words"),
    [
        ({"block.head"}, {}, "arm=configured block.head=4: arm.insertions names its own blocks and placements; leave"),
        ({"model/placement"}, {}, "arm=configured model/placement=backbone_p4p5: arm.insertions names its own blocks"),
        ({"block"}, {}, "arm=configured block=acmix: arm.insertions names its own blocks"),
        (set(), {"block": "acmix", "path": "mixed"}, "arm.block=acmix arm.path=mixed: arm.insertions names its own"),
        (set(), {"name": "no_attention"}, "arm.insertions[0].placement: this arm takes an attention out"),
    ],
)
def test_what_contradicts_the_list_is_named(keys: set[str], changes: dict[str, str], words: str) -> None:
    config = listed(EMA)
    (line,) = check.faults(replace(config, arm=replace(config.arm, **changes)), keys)
    assert words in line
