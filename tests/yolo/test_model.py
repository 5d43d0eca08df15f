import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.config import Config, PlacementConfig, options
from acmix_exp.slot_rules import SLOTS
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.model import CONFIG_KEY, STOCK_BUILD_GUARD, BlockDetectionModel, build_model, stock_yaml
from tests.yolo.builders import bare, is_zero_branch, make_config


def at(*sites: str, mode: str = "after", **changes: object) -> Config:
    return make_config(model__placement=PlacementConfig(name="test", mode=mode, sites=list(sites)), **changes)


def build(config: Config, seed: int = 0) -> DetectionModel:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the one that augmentation draws from
    torch.manual_seed(seed)
    return build_model(config, nc=2)


def generators() -> tuple[float, ...]:
    """What each global generator would draw next."""
    return torch.initial_seed(), float(torch.rand(1)), random.random(), float(np.random.rand())  # noqa: NPY002


def forget(model: DetectionModel) -> dict[str, torch.Tensor]:
    new = model.new_keys() if isinstance(model, BlockDetectionModel) else set()
    return {key: value for key, value in model.state_dict().items() if key not in new}


def test_the_baseline_is_the_stock_network() -> None:
    stock = build(bare(make_config()))
    assert type(stock) is DetectionModel
    torch.manual_seed(0)
    plain = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(stock.state_dict().values(), plain.state_dict().values(), strict=True))
    assert type(build(at())) is DetectionModel


@pytest.mark.parametrize("mode", ["after", "replace"])
def test_stock_layers_start_as_in_the_baseline(mode: str) -> None:
    stock = build(bare(make_config()))
    after_stock = generators()
    for path in ("conv", "attention", "mixed"):
        model = build(at("backbone_p4", "backbone_p5", mode=mode, block__path=path))
        assert generators() == after_stock
        kept = forget(model)
        dropped = set(stock.state_dict()) - set(kept)
        assert dropped == (
            {"model.6.m.0.cv2.conv.weight", "model.6.m.1.cv2.conv.weight", "model.8.m.0.cv2.conv.weight"}
            if mode == "replace"
            else set()
        )
        assert all(torch.equal(value, stock.state_dict()[key]) for key, value in kept.items())


def test_block_weights_follow_the_seed_and_the_site() -> None:
    first, again, other = (build(at("neck_p4", "neck_p4_down", seed=seed), 0).blocks() for seed in (1, 1, 2))
    weight = {name: block.conv1.weight for name, block in first.items()}
    assert list(weight) == ["neck_p4_down", "neck_p4"]
    assert torch.equal(weight["neck_p4"], again["neck_p4"].conv1.weight)
    assert not torch.equal(weight["neck_p4"], other["neck_p4"].conv1.weight)
    assert not torch.equal(weight["neck_p4"], weight["neck_p4_down"])


def test_layer_attributes_and_batch_norms() -> None:
    model = build(at("backbone_p4", "sppf"))
    stock = build(bare(make_config()))
    for index in (6, 9):
        layer = model.model[index]
        assert (layer.i, layer.f, layer.type) == tuple(getattr(stock.model[index], name) for name in ("i", "f", "type"))
        assert layer.np == sum(p.numel() for p in layer.parameters()) > stock.model[index].np
    norms = [m for m in model.modules() if type(m) is torch.nn.BatchNorm2d]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


def test_a_network_from_its_yaml() -> None:
    model = build(at("neck_p3", "backbone_p5", mode="replace"))
    assert [name for name, block in model.blocks().items()] == ["backbone_p5", "neck_p3"]
    twin = BlockDetectionModel(model.yaml, nc=2, verbose=False)
    twin.load_state_dict(model.state_dict())
    assert twin.yaml == model.yaml
    assert model.yaml[CONFIG_KEY]["placement"]["mode"] == "replace"
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(twin.eval()(x)[0], model.eval()(x)[0])


def test_a_stock_rebuild_fails_and_says_why() -> None:
    with pytest.raises(
        KeyError, match=r"stock ultralytics would drop the block; .* python -m acmix_exp model.pretrained=best.pt"
    ):
        DetectionModel(build(at("backbone_p5")).yaml, verbose=False)
    older = build(at("backbone_p5")).yaml
    older["backbone"][9][2] = (
        "SPPF + acmix_exp block (a stock build would drop it: train this checkpoint with acmix_exp)"
    )
    assert stock_yaml(older) == stock_yaml(build(at("backbone_p5")).yaml)
    assert STOCK_BUILD_GUARD not in str(build(bare(make_config())).yaml)


def test_zero_init_does_not_change_the_network() -> None:
    placement = PlacementConfig(name="test", sites=["backbone_p4", "neck_p5"], zero_init=True)
    model, stock = build(make_config(model__placement=placement)), build(bare(make_config()))
    assert all(is_zero_branch(model.model[i].after) for i in (6, 21))
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(model.eval()(x)[0], stock.eval()(x)[0])
    placement = replace(placement, zero_init=None)
    assert not is_zero_branch(build(make_config(model__placement=placement)).model[6].after)
    assert is_zero_branch(build(make_config(model__placement=placement, model__pretrained="x.pt")).model[6].after)


@pytest.mark.parametrize(
    "path", [*(pytest.param(path, marks=pytest.mark.slow) for path in ("conv", "attention")), "mixed"]
)
@pytest.mark.parametrize("mode", ["after", "replace"])
def test_copy_half_and_fuse(mode: str, path: str) -> None:
    model = build(at("backbone_p3", "neck_p4", mode=mode, block__path=path)).double()
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    model.train()(images)  # statistics that are not those of a new norm
    wanted = model.eval()(images)[0]
    assert torch.equal(copy.deepcopy(model)(images)[0], wanted)
    assert copy.deepcopy(model).half().state_dict().keys() == model.state_dict().keys()
    fused = copy.deepcopy(model).fuse(verbose=False)
    assert fused.is_fused()
    torch.testing.assert_close(fused(images)[0], wanted, atol=1e-9, rtol=1e-9)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    assert all(block.is_fused for block in fused.blocks().values())
    assert not any(block.is_fused for block in model.blocks().values())
    torch.testing.assert_close(copy.deepcopy(fused.fuse(verbose=False))(images)[0], wanted, atol=1e-9, rtol=1e-9)


def shipped() -> list[PlacementConfig]:
    from omegaconf import OmegaConf

    from acmix_exp.config import conf_dir

    folder = conf_dir() / "model" / "placement"
    return [
        OmegaConf.to_object(
            OmegaConf.merge(OmegaConf.structured(PlacementConfig), OmegaConf.load(folder / f"{name}.yaml"))
        )
        for name in options("model/placement")
        if name not in (*SLOTS, "usual", "psa")  # for other blocks; YOLOv8 does not have the last
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scale", FAMILIES["yolov8"].scales)
@pytest.mark.parametrize("placement", shipped(), ids=lambda placement: placement.name)
def test_every_placement_at_every_scale(placement: PlacementConfig, scale: str) -> None:
    model = build(make_config(model__placement=placement, model__scale=scale, block__kernel_att=7))
    assert isinstance(model, BlockDetectionModel) == bool(placement.sites)
    preds = model.train()(torch.rand(2, 3, 64, 64))
    sum(value.float().pow(2).mean() for value in (preds["boxes"], preds["scores"])).backward()
    blocks = model.blocks() if placement.sites else {}
    for block in blocks.values():
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
