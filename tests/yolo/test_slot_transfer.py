"""Blocks in slots of their own with pretrained weights: what is transferred, what is not, equal starts of all arms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

import acmix_exp
from acmix_exp.config import Config
from acmix_exp.sweep import arm
from acmix_exp.yolo.transfer import load_pretrained, summary
from tests.yolo.builders import NAMES, bare
from tests.yolo.slot_networks import built, config

BLOCKS = ("spd_conv", "dysample", "carafe", "bifpn", "wiou")
HEAD = {f"model.22.cv3.{i}.2.{name}" for i in range(3) for name in ("weight", "bias")}
STRIDED = [f"model.{index}.conv.weight" for index in (0, 1, 3, 5, 7, 16, 19)]  # of YOLOv8, which halve the map


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of stock yolov8n with other classes."""
    torch.manual_seed(1)
    model = DetectionModel("yolov8n.yaml", nc=80, verbose=False)
    model.names = {i: f"class {i}" for i in range(80)}
    path: Path = tmp_path_factory.mktemp("weights") / "yolov8n.pt"
    torch.save({"model": model.half(), "train_args": {}}, path)
    return path


def start(given: Config, path: Path) -> tuple[Any, dict[str, list[str]]]:
    """The network that a training starts from, and the account of its tensors."""
    model = built(replace(given, model=replace(given.model, pretrained=str(path))), nc=len(NAMES))
    model.names = dict(NAMES)
    return model, load_pretrained(model, path)


def test_every_slot_starts_from_the_same_stock_tensors(pretrained: Path) -> None:
    """Weights, norms and the class head that is drawn anew; what a block stands in place of is named."""
    stock, audit = start(bare(arm.apply(config("wiou"))), pretrained)
    expected = stock.state_dict()
    assert "unused" not in audit
    for block, options in {**{name: {} for name in BLOCKS}, "spd_conv": {"kernel_size": 1}}.items():
        model, account = start(arm.apply(config(block, **options)), pretrained)
        unused = STRIDED if block == "spd_conv" else []
        assert account.get("unused", []) == unused
        assert set(account["rebuilt"]) == HEAD
        assert set(account["new"]) == model.new_keys()
        assert {*account["transferred"], *unused} == set(audit["transferred"])
        found = model.state_dict()
        assert all(torch.equal(found[key], expected[key]) for key in found.keys() - model.new_keys())


def test_spd_conv_starts_as_the_pretrained_convolution(pretrained: Path) -> None:
    stock, _ = start(bare(arm.apply(config("spd_conv"))), pretrained)
    model, account = start(arm.apply(config("spd_conv")), pretrained)
    assert summary(account, pretrained) == "weights: 342 transferred, 6 rebuilt, 0 new, 7 converted (from yolov8n.pt)"
    x = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(model(x)[0], stock(x)[0], rtol=1e-4, atol=1e-3)
    made = acmix_exp.build("yolov8n", block="spd_conv", placement="down", pretrained=str(pretrained))
    for key in account["converted"]:
        assert torch.equal(made.model.state_dict()[key], model.state_dict()[key])


@pytest.mark.parametrize(
    ("block", "control", "branches"), [*((name, None, 0) for name in BLOCKS), ("carafe", "join", 2)]
)
def test_only_what_is_joined_behind_a_layer_starts_at_zero(block: str, control: str | None, branches: int) -> None:
    """Of blocks in a slot of their own none is, but a control there."""
    given = arm.apply(config(block, control=control))
    model = built(replace(given, model=replace(given.model, pretrained="yolov8n.pt")))
    assert len(model.zero_branch_biases()) == branches


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_a_training_from_pretrained_weights(block: str, pretrained: Path, run_once: Any) -> None:
    given = arm.apply(config(block))
    outcome, rows, _ = run_once(replace(given, model=replace(given.model, pretrained=str(pretrained))))
    assert len(rows) == 2
    assert len(outcome.audit.get("converted", [])) == (len(STRIDED) if block == "spd_conv" else 0)
