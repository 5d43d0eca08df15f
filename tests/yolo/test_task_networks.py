"""Networks of other tasks than detection: their sites, their blocks, and what a stock network has of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acmix_exp.config import MATCHED, ArmConfig, ModelConfig, PlacementConfig
from acmix_exp.model_tasks import TASKS
from acmix_exp.yolo import families
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.model import NETWORKS, build_model
from acmix_exp.yolo.preflight import build_stock
from acmix_exp.yolo.sites import Network
from acmix_exp.yolo.transfer import load_pretrained
from tests.yolo.builders import make_config
from tests.yolo.task_sets import task_config, without_blocks

MODELS = [
    ModelConfig(name, scale, variant, task=task)
    for task in TASKS
    if task not in ("detect", "classify")  # of which the neck is missing
    for name, family in FAMILIES.items()
    if family.backbone is None
    for variant in (None, *family.variants)
    for scale in family.scales[-1 if family.own_files else 0 :][:1]
    if family.has(scale, variant, task)
]


def test_sites_are_those_of_the_detector() -> None:
    assert len(MODELS) >= 14
    for model in MODELS:
        network, detector = Network.of(model), Network.of(replace(model, task=None))
        assert network.head.kind in TASKS[str(model.task)].heads
        assert network.sites == detector.sites
        assert network.groups == detector.groups
        assert families.title(model) != families.title(replace(model, task=None))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=families.title)
def test_networks_are_built_as_their_rows_say(model: ModelConfig) -> None:
    keys = {f"model__{key}": getattr(model, key) for key in ("family", "scale", "variant", "task")}
    stock, lines = build_stock(make_config(**keys), Network.of(model))
    assert lines == []
    assert type(stock) is NETWORKS[str(model.task)][0]


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_blocks_leave_the_stock_tensors_as_they_are(task: str) -> None:
    shape = [5, 3] if task == "pose" else None
    torch.manual_seed(0)
    stock = build_model(without_blocks(task_config(task)), 2, shape)
    torch.manual_seed(0)
    network = build_model(task_config(task), 2, shape)
    assert type(network) is NETWORKS[task][1]
    state, given = network.state_dict(), stock.state_dict()
    assert set(state) - set(given) == network.new_keys()
    assert all(torch.equal(state[key], value) for key, value in given.items())
    assert task != "pose" or network.kpt_shape == stock.kpt_shape == [5, 3]


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_weights_are_transferred(task: str, tmp_path: Path) -> None:
    """From a stock network of the task: all tensors that fit; keypoints of another number are rebuilt."""
    torch.manual_seed(1)
    stock = build_model(without_blocks(task_config(task)), 2, [5, 3] if task == "pose" else None)
    stock.names = {0: "a", 1: "b"}
    torch.save({"model": stock}, tmp_path / "stock.pt")
    network = build_model(task_config(task), 2, [5, 3] if task == "pose" else None)
    network.names = {0: "a", 1: "b"}
    audit = load_pretrained(network, tmp_path / "stock.pt")
    assert sorted(audit["transferred"]) == sorted(stock.state_dict())
    assert set(audit["new"]) == network.new_keys()
    if task == "pose":
        other = build_model(task_config(task), 2, [4, 2])
        other.names = {0: "a", 1: "b"}
        rebuilt = load_pretrained(other, tmp_path / "stock.pt")["rebuilt"]
        assert rebuilt
        assert all(".22.cv4." in key for key in rebuilt)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_the_matched_control_in_place_of_attention(task: str) -> None:
    placement = PlacementConfig("swap", "swap", ["psa"])
    arm = ArmConfig("conv3x3_matched", insert=True, match="parameters")
    keys = {"model__family": "yolo26", "model__placement": placement, "block": {"name": MATCHED}}
    config = task_config(task, arm=arm, **keys)
    assert type(build_model(config, 2)) is NETWORKS[task][1]
