"""MobileNetV3 as a backbone: built, filled, placed into, fused, trained, opened again."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.config import Config, PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.nn.mobilenet_v3 import P5, ImageNetNormalize, load_features, mobilenet_v3_stages
from acmix_exp.yolo import families, pretrained
from acmix_exp.yolo.families import Backbone
from acmix_exp.yolo.mobilenet import load_backbone
from acmix_exp.yolo.model import BlockDetectionModel, build_model
from acmix_exp.yolo.sites import Network, resolve_sites
from acmix_exp.yolo.transfer import load_pretrained
from tests.yolo.builders import bare, make_config

NAMES = [name for name, family in families.FAMILIES.items() if family.backbone]
LARGE, SMALL = "mobilenet_v3_large", "mobilenet_v3_small"
SITES = ["backbone_p3", "backbone_p4", "backbone_p5", "sppf", "neck_p4_down", "neck_p3", "neck_p4", "neck_p5"]


def config(name: str = NAMES[1], *sites: str, **changes: Any) -> Config:
    return make_config(model__family=name, model__placement=PlacementConfig(name="test", sites=list(sites)), **changes)


def build(config: Config) -> DetectionModel:
    torch.manual_seed(0)
    return build_model(config, nc=2)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A file as torchvision gives it, of random weights."""

    def file(network: str, **options: Any) -> Path:
        path = tmp_path_factory.mktemp("features") / f"{network}.pth"
        torch.manual_seed(7)
        torch.save(getattr(torchvision.models, network)(weights=None).state_dict(), path, **options)
        return path

    return file


def test_tables_without_torch_are_true() -> None:
    for network, features in families.FEATURES.items():
        assert tuple(features.p5) == P5
        for p5 in P5:
            x, shapes = torch.zeros(1, 3, 64, 64), []
            for stage in mobilenet_v3_stages(network, p5):
                x = stage.eval()(x)
                shapes.append(x.shape[1:])
            widths = Backbone(network, p5).channels.values()
            assert shapes == [(c, s, s) for c, s in zip(widths, (8, 4, 2), strict=True)]
        enum = torchvision.models.get_model_weights(network)
        assert features.files == {w.name: w.url.removeprefix(pretrained.TORCHVISION) for w in enum}
        assert enum.DEFAULT.name == list(features.files)[-1]


@pytest.mark.parametrize(
    ("name", "p5"),
    [
        (NAMES[1], "bottleneck"),
        pytest.param(NAMES[1], "expanded", marks=pytest.mark.slow),
        pytest.param(NAMES[0], "bottleneck", marks=pytest.mark.slow),
        pytest.param(NAMES[0], "expanded", marks=pytest.mark.slow),
    ],
)
def test_every_parameter_learns_and_fusing_keeps_the_output(name: str, p5: str) -> None:
    model = build(config(name, *SITES, model__backbone_p5=p5)).double()
    assert model.stride.tolist() == [8, 16, 32]
    assert list(model.blocks()) == SITES
    preds = model.train()(torch.rand(2, 3, 64, 96, dtype=torch.float64))
    sum(value.pow(2).mean() for value in (preds["boxes"], preds["scores"])).backward()
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    x = torch.rand(1, 3, 96, 64, dtype=torch.float64)
    wanted = model.eval()(x)[0].detach()
    fused = copy.deepcopy(model).fuse(verbose=False)
    torch.testing.assert_close(fused(x)[0], wanted, rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.slow
@pytest.mark.parametrize("scale", "nm")
def test_the_scale_is_of_the_neck(scale: str) -> None:
    model = build(config(NAMES[0], "backbone_p4", "neck_p4", model__scale=scale))
    stock = DetectionModel(f"yolov8{scale}.yaml", verbose=False)
    channels = {site.name: site.channels for site in model.sites}
    assert channels == {"backbone_p4": 112, "neck_p4": stock.model[18].cv2.conv.out_channels}
    assert [block.in_planes for block in model.blocks().values()] == list(channels.values())
    assert model.model[18].m[0].cv2.conv.weight.shape == stock.model[18].m[0].cv2.conv.weight.shape


def test_arms_share_every_other_weight() -> None:
    baseline = build(bare(config(NAMES[1])))
    assert isinstance(baseline, BlockDetectionModel)
    assert baseline.blocks() == {}
    after = torch.rand(1)
    model = build(config(NAMES[1], "backbone_p5", "neck_p3"))
    assert torch.equal(torch.rand(1), after)
    state, stock = model.state_dict(), baseline.state_dict()
    assert set(state) - model.new_keys() == set(stock)
    assert all(torch.equal(state[key], value) for key, value in stock.items())
    other = build(config(NAMES[1], seed=1)).state_dict()
    assert not torch.equal(other["model.4.0.0.weight"], stock["model.4.0.0.weight"])


def test_a_network_rebuilds_from_its_yaml_but_not_by_a_stock_build() -> None:
    for model in (build(config(NAMES[1], "neck_p3", model__backbone_p5="expanded")), build(bare(config(NAMES[0])))):
        twin = BlockDetectionModel(model.yaml, nc=2, verbose=False)
        twin.load_state_dict(model.state_dict())
        x = torch.rand(1, 3, 64, 64)
        assert torch.equal(twin.eval()(x)[0], model.eval()(x)[0])
        with pytest.raises(KeyError, match="to train from this checkpoint, use"):
            DetectionModel(copy.deepcopy(model.yaml), verbose=False)


@pytest.mark.parametrize(
    "legacy", [pytest.param(False, id="zip"), pytest.param(True, id="legacy", marks=pytest.mark.slow)]
)
def test_weights_of_torchvision(features: Callable[..., Path], legacy: bool) -> None:
    path = features(LARGE, _use_new_zipfile_serialization=not legacy)
    model = build(config(NAMES[0], "backbone_p3"))
    before = copy.deepcopy(model.state_dict())
    loaded = load_backbone(model, path)
    theirs, mine = torch.load(path), model.state_dict()
    for key in loaded:
        feature = key.split(".", 2)[2]
        assert torch.equal(mine[key], theirs[f"features.{feature}"])
    assert all(torch.equal(mine[key], before[key]) for key in set(mine) - set(loaded))
    assert len(loaded) == sum(len(stage.state_dict()) for stage in mobilenet_v3_stages(LARGE))
    image = torch.rand(1, 3, 64, 64)
    whole = torchvision.models.mobilenet_v3_large()
    whole.load_state_dict(theirs)
    transform = torchvision.models.MobileNet_V3_Large_Weights.DEFAULT.transforms()
    normal = torchvision.transforms.functional.normalize(image, transform.mean, transform.std)
    for norm in (m for m in whole.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eps = 1e-3  # what ultralytics sets, and MobileNetV3 has too
    baseline = build(bare(config(NAMES[0]))).eval()
    load_backbone(baseline, path)
    found = torch.nn.Sequential(*baseline.model[:9])(image)
    torch.testing.assert_close(found, whole.eval().features[:16](normal), rtol=1e-5, atol=1e-12)


def test_weights_that_do_not_fit(features: Callable[..., Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    torch.save({}, cut)
    with pytest.raises(ValueError, match=r"^model\.pretrained=.*no tensor features\.0\.0.*model's backbone"):
        load_backbone(build(config()), cut)
    with pytest.raises(ValueError, match="no tensor features"):
        load_features(mobilenet_v3_stages(LARGE), torch.load(features("mobilenet_v3_small")))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"family": "yolov7"}, "model.family=yolov7: must be one of yolov8, "),
        (
            {"family": "yolov8", "backbone_p5": "expanded"},
            "model.backbone_p5=expanded: goes with model=yolov8_mobilenetv3",
        ),
        ({"backbone_p5": "c5"}, "model.backbone_p5=c5: must be bottleneck or expanded"),
    ],
    ids=str,
)
def test_invalid_keys_are_refused(changes: dict[str, Any], line: str) -> None:
    model = replace(config().model, **changes)
    with pytest.raises(ConfigError) as caught:
        Backbone.of(model)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(("sites", "mode"), [(["backbone_p2"], "after"), (["backbone_p4"], "replace")])
def test_sites_that_the_backbone_lacks(sites: list[str], mode: str) -> None:
    placement = PlacementConfig(name="test", mode=mode, sites=sites)
    network = Network.of(config().model)
    with pytest.raises(
        ConfigError, match=r"sites=backbone_p\d: .*(no such site; must be one of backbone_p3|depthwise.* use neck_p4)"
    ):
        resolve_sites(placement, network)
    resolve_sites(replace(placement, sites=["neck_p4"]), network)


@pytest.fixture(scope="module")
def trained(run_once: Callable[..., Any], features: Callable[..., Path]) -> tuple[Any, Path]:
    pretrained = str(features(SMALL))
    outcome, _, run_dir = run_once(config(NAMES[1], "neck_p5", model__pretrained=pretrained, train__epochs=1))
    return outcome, run_dir / "weights" / "best.pt"


@pytest.mark.slow
def test_a_run_says_what_was_transferred(trained: tuple[Any, Path]) -> None:
    audit = trained[0].audit
    assert {key.split(".")[1] for key in audit["transferred"]} == {"4", "6", "8"}
    assert all(key.startswith("model.21.after.") for key in audit["new"])


@pytest.mark.slow
def test_a_checkpoint_as_pretrained_weights(trained: tuple[Any, Path]) -> None:
    model = build(config(NAMES[1], "neck_p3"))
    model.names = {0: "square", 1: "disc"}
    audit = load_pretrained(model, trained[1])
    assert {key.split(".")[1] for key in audit["transferred"]} >= {"4", "6", "8", "9", "12", "22"}
    assert audit["rebuilt"] == []


@pytest.mark.parametrize("safe", [False, True], ids=["plain", "restricted"])
@pytest.mark.slow
def test_a_checkpoint_opens_in_stock_ultralytics(trained: tuple[Any, Path], tmp_path: Path, safe: bool) -> None:
    code = f"""
import os, torch
from ultralytics import YOLO
if {safe}:
    import acmix_exp
model = YOLO({str(trained[1])!r})
assert model.model.yaml["acmix_exp"]["backbone"] == {{"network": "mobilenet_v3_small", "p5": "bottleneck"}}
model.predict(torch.rand(1, 3, 64, 96), verbose=False)
assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.predictor.model.backend.model.modules())
"""
    variables = {**os.environ, **({"ULTRALYTICS_SAFE_LOAD": "1"} if safe else {})}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_image_is_normalised() -> None:
    layer = build(config()).model[0]
    assert isinstance(layer, ImageNetNormalize)
    assert not list(layer.state_dict())
    assert layer.half()(torch.rand(1, 3, 2, 2).half()).dtype == torch.float16
