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
from acmix_exp.nn.mobilenet_v3 import ENDS, P5, ImageNetNormalize, load_features, mobilenet_v3_stages
from acmix_exp.yolo import pretrained, sites
from acmix_exp.yolo.mobilenet import load_backbone
from acmix_exp.yolo.model import BlockDetectionModel, build_model
from acmix_exp.yolo.pretrained import LAST_LAYER, LEGACY, check_checkpoint, check_features
from acmix_exp.yolo.sites import Backbone, resolve_sites
from acmix_exp.yolo.transfer import load_pretrained
from tests.yolo.builders import bare, make_config

NAMES = [name for name, network in sites.NETWORKS.items() if network]
LARGE, SMALL = "mobilenet_v3_large", "mobilenet_v3_small"
SITES = ["backbone_p3", "backbone_p4", "backbone_p5", "sppf", "neck_p4_down", "neck_p3", "neck_p4", "neck_p5"]


def config(name: str = NAMES[1], *sites: str, **changes: Any) -> Config:
    return make_config(model__name=name, model__placement=PlacementConfig(name="test", sites=list(sites)), **changes)


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
    for network, channels in sites.CHANNELS.items():
        for p5 in P5:
            stages = mobilenet_v3_stages(network, p5)
            x, found = torch.zeros(1, 3, 64, 64), []
            for stage in stages:
                x = stage.eval()(x)
                found.append(x.shape[1:])
            wide = (channels["p3"], channels["p4"], channels[p5])
            assert found == [(c, s, s) for c, s in zip(wide, (8, 4, 2), strict=True)]
        assert LAST_LAYER[network] == ENDS[network][2] + 1 == len(getattr(torchvision.models, network)().features) - 1
        enum = torchvision.models.get_model_weights(network)
        assert pretrained.FEATURES[network] == {w.name: w.url.removeprefix(pretrained.TORCHVISION) for w in enum}
        assert enum.DEFAULT.name == list(pretrained.FEATURES[network])[-1]
    assert sites.P5 == P5


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


@pytest.mark.parametrize("scale", "nm")
def test_the_scale_is_of_the_neck(scale: str) -> None:
    model = build(config(NAMES[0], "backbone_p4", "neck_p4", model__scale=scale))
    stock = DetectionModel(f"yolov8{scale}.yaml", verbose=False)
    channels = {
        site.name: site.channels for site in resolve_sites(model.placement, scale, Backbone(LARGE, "bottleneck"))
    }
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


def test_again_from_its_own_yaml_and_not_by_a_stock_build() -> None:
    for model in (build(config(NAMES[1], "neck_p3", model__backbone_p5="expanded")), build(bare(config(NAMES[0])))):
        twin = BlockDetectionModel(model.yaml, nc=2, verbose=False)
        twin.load_state_dict(model.state_dict())
        x = torch.rand(1, 3, 64, 64)
        assert torch.equal(twin.eval()(x)[0], model.eval()(x)[0])
        with pytest.raises(KeyError, match="train this checkpoint with acmix_exp"):
            DetectionModel(copy.deepcopy(model.yaml), verbose=False)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_weights_of_torchvision(features: Callable[..., Path], legacy: bool) -> None:
    path = features(LARGE, _use_new_zipfile_serialization=not legacy)
    assert path.read_bytes().startswith(LEGACY) == legacy
    check_features(path, LARGE)
    with pytest.raises(
        ConfigError, match=r"mobilenet_v3_large\.pth: must be torchvision's weights of mobilenet_v3_small"
    ):
        check_features(path, "mobilenet_v3_small")
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
    with pytest.raises(ValueError, match=r"^model\.pretrained=.*no tensor features\.0\.0.*own network"):
        load_backbone(build(config()), cut)
    with pytest.raises(ValueError, match="no tensor features"):
        load_features(mobilenet_v3_stages(LARGE), torch.load(features("mobilenet_v3_small")))
    text = tmp_path / "text.pth"
    text.write_text("features.16.")
    for path in (text, cut):
        with pytest.raises(ConfigError, match="must be torchvision's weights"):
            check_features(path, LARGE)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"name": "yolov9"}, "model.name=yolov9: must be one of yolov8, yolov8_mobilenetv3_large"),
        (
            {"name": "yolov8", "backbone_p5": "expanded"},
            "model.backbone_p5=expanded: goes with model=yolov8_mobilenetv3",
        ),
        ({"backbone_p5": "c5"}, "model.backbone_p5=c5: must be bottleneck or expanded"),
    ],
    ids=str,
)
def test_keys_that_cannot_be(changes: dict[str, Any], line: str) -> None:
    model = replace(config().model, **changes)
    with pytest.raises(ConfigError) as caught:
        Backbone.of(model)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(("sites", "mode"), [(["backbone_p2"], "after"), (["backbone_p4"], "replace")])
def test_sites_that_it_has_not(sites: list[str], mode: str) -> None:
    placement = PlacementConfig(name="test", mode=mode, sites=sites)
    backbone = Backbone.of(config().model)
    with pytest.raises(ConfigError, match=r"sites=backbone_p\d: in mobilenet_v3_small must be of backbone_p3"):
        resolve_sites(placement, "n", backbone)
    resolve_sites(replace(placement, sites=["neck_p4"]), "n", backbone)


def test_a_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained._find_features.cache_clear()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: (tmp_path / "other").open("rb"))
    named = replace(config(NAMES[0]).model, pretrained="DEFAULT")
    with pytest.raises(ConfigError, match=r"^model\.pretrained=DEFAULT: not on this machine, .*path of a copy$"):
        pretrained.find_pretrained(named)
    (tmp_path / "other").write_bytes(b"not what was asked for")
    with pytest.raises(ConfigError, match="not the file that its name promises"):
        pretrained.find_pretrained(named)
    assert not list((tmp_path / "cache").rglob("*.pth"))
    file = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_large-5c1a4163.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    for name in ("DEFAULT", "IMAGENET1K_V2", "MobileNet_V3_Large_Weights.IMAGENET1K_V2"):
        assert pretrained.find_pretrained(replace(named, pretrained=name)) == file.resolve()
    with pytest.raises(ConfigError, match=r"IMAGENET: no such file; .* IMAGENET1K_V1 or DEFAULT$"):
        pretrained.find_pretrained(replace(config(NAMES[1]).model, pretrained="IMAGENET"))


@pytest.fixture(scope="module")
def trained(run_once: Callable[..., Any], features: Callable[..., Path]) -> tuple[Any, Path]:
    pretrained = str(features(SMALL))
    outcome, _, run_dir = run_once(config(NAMES[1], "neck_p5", model__pretrained=pretrained, train__epochs=1))
    return outcome, run_dir / "weights" / "best.pt"


def test_a_run_says_what_was_transferred(trained: tuple[Any, Path]) -> None:
    audit = trained[0].audit
    assert {key.split(".")[1] for key in audit["transferred"]} == {"4", "6", "8"}
    assert all(key.startswith("model.21.after.") for key in audit["new"])


def test_a_checkpoint_tells_its_backbone(trained: tuple[Any, Path]) -> None:
    check_checkpoint(trained[1], scale="n", backbone=SMALL)
    for backbone in (None, LARGE):
        with pytest.raises(ConfigError, match=r"weights on mobilenet_v3_small; must be on .* as model\.name says"):
            check_checkpoint(trained[1], scale="n", backbone=backbone)


def test_a_checkpoint_as_pretrained_weights(trained: tuple[Any, Path]) -> None:
    model = build(config(NAMES[1], "neck_p3"))
    model.names = {0: "square", 1: "disc"}
    audit = load_pretrained(model, trained[1])
    assert {key.split(".")[1] for key in audit["transferred"]} >= {"4", "6", "8", "9", "12", "22"}
    assert audit["rebuilt"] == []


@pytest.mark.parametrize("safe", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["plain", "restricted"])
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
