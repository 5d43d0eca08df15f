"""Every family with blocks at all of its sites: built, taught, fused, trained, opened in stock ultralytics, exported.

YOLO12 and YOLO26, with area attention and two heads, are in the default tests, the others in the slow ones. YOLOv8 has
tests of its own.
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules.block import AAttn, Attention
from ultralytics.utils import DEFAULT_CFG, IterableSimpleNamespace

from acmix_exp.config import Config, ModelConfig, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.profile.count import count
from acmix_exp.yolo import families
from acmix_exp.yolo.export_formats import Format, settled
from acmix_exp.yolo.exporter import compare, export_checkpoint
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.inner import Inner
from acmix_exp.yolo.model import BlockDetectionModel, BlockRTDETRModel, build_model
from acmix_exp.yolo.sites import Network
from acmix_exp.yolo.transfer import load_pretrained
from tests.yolo.builders import NAMES, bare, make_config

FAST = ("yolo12n", "yolo26n")
MODELS = [
    pytest.param(model, id=families.title(model), marks=() if families.title(model) in FAST else pytest.mark.slow)
    for name, family in FAMILIES.items()
    for variant in (None, *family.variants)
    for scale in (family.scales[0], *(scale for scale in family.scales if scale == "resnet50"))
    if family.backbone is None
    for model in [ModelConfig(name, scale, variant)]
]
every_family = pytest.mark.parametrize("model", MODELS)
# Parameters whose gradient is zero whatever the loss: a shift leaves the softmax of ACmix as it is.
ZERO = re.compile(r"\.conv_p\.bias$")


def placed(model: ModelConfig, mode: str, block: str = "acmix", **changes: Any) -> Config:
    """A block at every site of a network that takes it."""
    network = Network.of(model)
    sites = [name for name in network.sites if mode == "after" or isinstance(network.inner(name, mode), Inner)]
    joined = block != "identity"
    placement = PlacementConfig("all", mode, sites, norm=joined, act=joined, residual=joined)
    options = {"kernel_att": 3, "head": 4, "kernel_conv": 3, "path": "mixed"} if block == "acmix" else {}
    keys = {f"model__{key}": getattr(model, key) for key in ("family", "scale", "variant")}
    return make_config(**keys, model__placement=placement, block={"name": block, **options}, **changes)


def build(config: Config) -> Any:
    torch.manual_seed(0)
    model = build_model(config, nc=2)
    model.names = dict(NAMES)
    return model


def images(model: ModelConfig, batch: int = 2) -> Tensor:
    side = 3 * Network.of(model).stride
    return torch.rand(batch, 3, side, side + Network.of(model).stride)


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor of numbers in what a network returns."""
    if isinstance(value, Tensor):
        yield from [value] if value.is_floating_point() else []
    elif isinstance(value, (dict, list, tuple)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors(each)


def head_inputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    handle = network.model[-1].register_forward_pre_hook(lambda head, inputs: found.extend(map(torch.clone, inputs[0])))
    with torch.no_grad():
        network.eval()(x)
    handle.remove()
    return found


@every_family
@pytest.mark.parametrize("mode", ["after", "replace", "swap"])
def test_stock_tensors_keep_their_names_and_values(model: ModelConfig, mode: str) -> None:
    config = placed(model, mode)
    network = Network.of(model)
    stock_class = tasks.RTDETRDetectionModel if network.is_transformer else tasks.DetectionModel
    torch.manual_seed(0)
    stock = stock_class(families.yaml_of(model)["yaml_file"], nc=2, verbose=False).state_dict()
    expected = torch.rand(1)
    state = build(config).state_dict()
    assert torch.equal(torch.rand(1), expected)
    dropped = stock.keys() - state.keys()
    inner = {name: network.inner(name, mode) for name in config.model.placement.sites if mode != "after"}
    replaced = tuple(
        f"model.{network.sites[name].index}.{path}.{'conv.' if mode == 'replace' else ''}"
        for name, found in inner.items()
        if isinstance(found, Inner)
        for path in found.paths
    )
    assert dropped == {key for key in stock if key.startswith(replaced)}
    assert all(torch.equal(value, state[key]) for key, value in stock.items() if key not in dropped)


@every_family
@pytest.mark.parametrize("mode", ["after", "replace", "swap"])
def test_every_parameter_learns(model: ModelConfig, mode: str) -> None:
    config = placed(model, mode)
    if not config.model.placement.sites:
        pytest.skip("there is nothing to replace")
    network = build(config).train()
    network.args, network.nc = IterableSimpleNamespace(**vars(DEFAULT_CFG)), 2
    with torch.no_grad():  # RT-DETR starts some layers at zero, and what is before them learns a step later
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    x = images(model)
    boxes = {"bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.3], [0.4, 0.4, 0.2, 0.4]]), "cls": torch.tensor([[0.0], [1.0]])}
    loss, items = network.loss({"img": x, "batch_idx": torch.tensor([0.0, 1.0]), **boxes})
    loss.sum().backward()
    assert all(name.endswith("_loss") for name in items)
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert not [name for name, parameter in learning.items() if parameter.grad is None]
    # A level of the head to which no box was assigned has a gradient of zero, so all outputs at once:
    torch.stack([value.square().mean() for value in tensors(network(x))]).sum().backward()
    zero = [name for name, parameter in learning.items() if parameter.grad is None or not parameter.grad.any()]
    assert not [name for name in zero if not ZERO.search(name)]


@every_family
@pytest.mark.parametrize("mode", ["after", "replace", "swap"])
def test_fusing_keeps_the_inputs_of_the_head(model: ModelConfig, mode: str) -> None:
    config = placed(model, mode)
    if not config.model.placement.sites:
        pytest.skip("there is nothing to replace")
    network = build(config)
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.8, 1.2)
    x = images(model)
    expected = head_inputs(network, x)
    fused = copy.deepcopy(network).fuse(verbose=False)
    torch.testing.assert_close(head_inputs(fused, x), expected, atol=1e-4, rtol=0)
    head = f"model.{len(network.model) - 1}."
    assert not [
        name for name, m in fused.named_modules() if isinstance(m, nn.BatchNorm2d) and not name.startswith(head)
    ]


@every_family
def test_weights_are_transferred(model: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(1)
    stock = build_model(bare(placed(model, "after")), nc=2)
    stock.names = dict(NAMES)
    torch.save({"model": stock}, tmp_path / "stock.pt")
    network = build(placed(model, "after"))
    audit = load_pretrained(network, tmp_path / "stock.pt")
    state, given = network.state_dict(), stock.state_dict()
    assert (sorted(audit["transferred"]), audit["rebuilt"]) == (sorted(given), [])
    assert set(audit["new"]) == network.new_keys() == state.keys() - given.keys()
    assert all(torch.equal(state[key], value) for key, value in given.items())


@pytest.mark.slow
@every_family
def test_identity_is_the_baseline_and_blocks_train(
    model: ModelConfig, run_once: Callable[..., Any], dataset: Dataset, tmp_path: Path
) -> None:
    """One epoch; then the checkpoint in stock ultralytics, in a process of its own, and exported."""
    side = max(64, Network.of(model).stride)
    train = {"train__epochs": 1, "train__imgsz": side}
    histories = []
    for config in (bare(placed(model, "after", **train)), placed(model, "after", "identity", **train)):
        _, rows, _ = run_once(config)
        histories.append([{key: row[key] for key in row if key != "seconds"} for row in rows])
    assert histories[0] == histories[1]
    _, rows, folder = run_once(placed(model, "after", **train))
    losses = {key for key in rows[0] if key.endswith("_loss")}
    assert len(losses) == 6
    assert {key.partition("/")[0] for key in losses} == {"train", "val"}
    best = folder / "weights" / "best.pt"
    code = f"""
import json, torch
from ultralytics import YOLO
model = YOLO({str(best)!r})
network = model.model
model.predict(torch.rand(1, 3, {side}, {2 * side}), verbose=False, conf=1e-6)
fused = model.predictor.model.backend.model
print(json.dumps([type(network).__name__, network.names["0"] if "0" in network.names else network.names[0],
    sum(type(layer).__name__.endswith("After") for layer in network.model), fused.is_fused()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = Network.of(model)
    kind = BlockRTDETRModel if found.is_transformer else BlockDetectionModel
    assert json.loads(done.stdout.splitlines()[-1]) == [kind.__name__, NAMES[0], len(found.sites), True]
    asked = Format(**settled("torchscript", {"dynamic": False}))
    exported = export_checkpoint(best, asked, side, tmp_path, device="cpu")
    (difference,) = compare(exported, asked, best, dataset.splits["val"][:2], [(side, side)], threads=1, device="cpu")
    assert max(difference.boxes, difference.scores) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [ModelConfig("yolo12"), ModelConfig("yolo26"), ModelConfig("rtdetr", "l")], ids=families.title
)
def test_taking_the_attention_out(model: ModelConfig, run_once: Callable[..., Any]) -> None:
    """Identity leaves it where it is, and is the baseline; without it there is less of the network, and it trains."""
    train = {"train__epochs": 1, "train__imgsz": 64}
    histories = []
    for config in (bare(placed(model, "swap", **train)), placed(model, "swap", "identity", **train)):
        _, rows, _ = run_once(config)
        histories.append([{key: row[key] for key in row if key != "seconds"} for row in rows])
    assert histories[0] == histories[1]
    _, rows, folder = run_once(placed(model, "swap", "join", **train))
    assert rows[0]["train/cls_loss"] != histories[0][0]["train/cls_loss"]
    left = torch.load(folder / "weights" / "last.pt", weights_only=False)["model"]
    assert not [m for m in left.model[:-1].modules() if isinstance(m, (AAttn, Attention, nn.MultiheadAttention))]


@pytest.mark.parametrize("match", ["parameters", pytest.param("flops", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", [ModelConfig("yolo12"), ModelConfig("yolo26")], ids=families.title)
def test_the_control_in_place_of_an_attention_has_its_size(model: ModelConfig, match: str) -> None:
    config = placed(model, "swap", "conv3x3_matched")
    config.arm.match = match
    stock, control = build(bare(config)), build(config)
    if match == "parameters":
        sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (stock, control)]
    else:
        sizes = [count(network.eval(), 640).gflops for network in (stock, control)]
    assert abs(sizes[1] / sizes[0] - 1) < 0.005
