"""Several blocks in one arm: what they are, what is refused, and that a single one is the run that it always was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import acmix_exp
from acmix_exp import insertions
from acmix_exp.config import Config, arm_label, conf_dir, load
from acmix_exp.errors import ConfigError
from acmix_exp.profile.cost import _matched
from acmix_exp.run import fingerprints
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import _Texts
from acmix_exp.sweep.run_key import hash8, identity
from acmix_exp.yolo.model import BlockDetectionModel, build_model
from acmix_exp.yolo.wrap import count_parameters
from tests.insertion_lists import ACMIX, BOTH, EMA, composed, listed


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_one_insertion_is_the_run_of_the_block_at_that_placement() -> None:
    plain = arm.apply(composed("block.kernel_att=5", "model/placement=sppf"))
    single = arm.apply(listed("{block: acmix, placement: sppf, options: {kernel_att: 5}}"))
    assert identity(single, "f") == identity(plain, "f")
    assert arm_label(single) == arm_label(plain) == "acmix-mixed"


def test_the_order_of_the_list_does_not_count_and_each_part_does() -> None:
    one, other = (arm.apply(listed(items)) for items in (BOTH, f"{EMA}, {ACMIX}"))
    assert hash8(identity(one, "f")) == hash8(identity(other, "f"))
    assert (arm_label(one), arm_label(other)) == ("acmix-mixed+ema", "ema+acmix-mixed")
    assert identity(one, "f")["block"] is None
    changed = [
        BOTH.replace("acmix,", "lsk,"),
        BOTH.replace("neck", "head_inputs"),
        BOTH.replace("neck}", "neck, options: {factor: 4}}"),
        BOTH.replace("neck}", "{mode: after, sites: [neck], act: false}}"),
    ]
    assert len({hash8(identity(arm.apply(listed(each)), "f")) for each in (BOTH, *changed)}) == 5


def test_what_a_run_keeps_needs_no_other_file(tmp_path: Path) -> None:
    config = arm.apply(composed("arm=acmix_backbone_ema_neck"))
    path = tmp_path / "config.yaml"
    path.write_text(_Texts().of(config), encoding="utf-8")
    again = load(path)
    assert again.arm.insertions == config.arm.insertions
    assert identity(again, "f") == identity(config, "f")
    assert again.arm.insertions[0]["block"]["kernel_att"] == 7
    assert again.arm.insertions[1]["placement"]["sites"] == ["neck"]


def test_the_incremental_table_is_the_baseline_each_block_and_both() -> None:
    cells = compose_cells(["+experiment=incremental", "hardware=cpu"])
    assert {cell.config.seed for cell in cells} == set(range(6))
    effective = [arm.apply(cell.config) for cell in cells if cell.config.seed == 0]
    found = [[each.block["name"] for each in insertions.insertions(config)] for config in effective]
    assert found == [[], ["acmix"], ["ema"], ["acmix", "ema"]]
    assert [arm_label(config) for config in effective] == [
        "baseline",
        "acmix_backbone",
        "ema_neck",
        "acmix_backbone_ema_neck",
    ]
    parts = [each for config in effective[1:3] for each in config.arm.insertions]
    assert parts == effective[3].arm.insertions


def test_a_control_stands_at_all_sites_of_the_list() -> None:
    identical, matched, plain = (
        arm.apply(listed(BOTH, f"arm={name}")) for name in ("identity", "conv3x3_matched", "baseline")
    )
    assert [each.block for each in insertions.insertions(identical)] == [{"name": "identity"}] * 2
    assert not any(each.placement.norm for each in insertions.insertions(identical))
    assert insertions.is_identity(identical)
    assert [each.block["name"] for each in insertions.insertions(matched)] == ["acmix", "ema"]
    assert matched.arm.match == "parameters"
    assert plain == arm.apply(composed("arm=baseline"))


def test_a_control_that_changes_nothing_is_the_baseline() -> None:
    replaced = "{block: acmix, placement: bottleneck_p4p5}"
    assert arm_label(arm.apply(listed(replaced, "arm=conv3x3"))) == "baseline"
    (left,) = arm.apply(listed(f"{replaced}, {EMA}", "arm=conv3x3")).arm.insertions
    assert left["placement"]["name"] == "neck"


def network(config: Config) -> Any:
    torch.manual_seed(0)
    return build_model(arm.apply(config), nc=2)


def test_both_blocks_are_those_of_the_single_arms_and_stock_tensors_are_stock() -> None:
    stock, first, second, both = map(network, (composed("arm=baseline"), listed(ACMIX), listed(EMA), listed(BOTH)))
    assert isinstance(both, BlockDetectionModel)
    assert list(both.blocks()) == ["backbone_p4", "backbone_p5", "neck_p4_down", "neck_p3", "neck_p4", "neck_p5"]
    state = both.state_dict()
    alone = {**stock.state_dict(), **first.state_dict(), **second.state_dict()}
    assert state.keys() == alone.keys()
    assert all(torch.equal(state[key], value) for key, value in alone.items())
    assert both.new_keys() == first.new_keys() | second.new_keys() == state.keys() - stock.state_dict().keys()
    again = BlockDetectionModel(both.yaml, nc=2, verbose=False)  # from what a checkpoint keeps
    assert again.state_dict().keys() == state.keys()
    assert again.yaml == both.yaml


def test_each_part_is_joined_by_its_own_placement() -> None:
    replaced, at_zero = "{block: acmix, placement: bottleneck_p4p5}", "{sites: [sppf], zero_init: true}"
    mixture = network(listed(f"{replaced}, {{block: ema, placement: {at_zero}}}, {EMA}"))
    assert list(mixture.blocks()) == [
        *("backbone_p4.0", "backbone_p4.1", "backbone_p5", "sppf", "neck_p4_down", "neck_p3", "neck_p4", "neck_p5")
    ]
    (bias,) = mixture.zero_branch_biases()
    assert bias is mixture.model[9].after.norm.bias
    x = torch.rand(1, 3, 64, 64)
    expected = mixture.eval()(x)[0]
    torch.testing.assert_close(mixture.fuse(verbose=False)(x)[0], expected, atol=1e-4, rtol=1e-4)


def test_the_matched_control_is_as_large_as_all_of_them() -> None:
    both, control = network(listed(BOTH)), network(listed(BOTH, "arm=conv3x3_matched"))
    sizes = [sum(count_parameters(block) for block in each.blocks().values()) for each in (both, control)]
    matched = _matched(control)
    assert matched["matched_parameters"] == sizes[0]
    assert abs(sizes[1] / sizes[0] - 1) < 0.02
    assert matched.keys() - {"matched_parameters"} == {f"hidden_{site.name}" for site in both.sites}


def test_a_block_of_ones_own_counts_by_its_file(tmp_path: Path) -> None:
    own = "{block: custom, placement: sppf, options: {target: own_gate.Gate, width: 2}}"
    path = tmp_path / "own_gate.py"
    path.write_text("from torch import nn\nclass Gate(nn.Module): ...\n")
    config = arm.apply(listed(f"{ACMIX}, {own}"))
    assert arm_label(config) == "acmix-mixed+gate"
    assert [block["target"] for block in insertions.user_blocks(config)] == ["own_gate.Gate"]
    before = identity(config, "f")
    assert before["insertions"][1]["block"]["source"]
    assert fingerprints.code_changes(config, before) == []
    path.write_text("from torch import nn\nclass Gate(nn.Module): changed = True\n")
    assert hash8(identity(config, "f")) != hash8(before)
    assert fingerprints.code_changes(config, before) == [f"block.target=own_gate.Gate: {path}"]


def test_build_takes_a_list() -> None:
    expected = network(listed(BOTH))
    torch.manual_seed(0)
    given = [{"block": "acmix", "placement": "backbone_p4p5"}, {"block": "ema", "placement": ["neck"]}]
    model = acmix_exp.build("yolov8n", insertions=given, classes=2)
    assert model.model.yaml["acmix_exp"]["insertions"] == expected.yaml["acmix_exp"]["insertions"]
    state = model.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.state_dict().items())
    with pytest.raises(ConfigError, match=r"^insertions: names its own blocks"):
        acmix_exp.build("yolov8n", insertions=given, block="lsk")
    with pytest.raises(ConfigError, match=r"arm\.insertions\[0\]\.options\.factor=7: must divide"):
        acmix_exp.build("yolov8n", insertions=[{"block": "ema", "placement": "neck", "options": {"factor": 7}}])


def test_the_three_files_are_one_idea() -> None:
    """Copying them for blocks of one's own needs no other change."""
    names = ("acmix_backbone", "ema_neck", "acmix_backbone_ema_neck")
    files = [yaml.safe_load((conf_dir() / "arm" / f"{name}.yaml").read_text(encoding="utf-8")) for name in names]
    assert files[2]["insertions"] == files[0]["insertions"] + files[1]["insertions"]
