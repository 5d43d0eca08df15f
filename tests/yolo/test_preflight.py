"""What the preflight finds before the first run: arguments, layers, pretrained files, blocks."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import ultralytics
import yaml
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT

from acmix_exp.config import Config, ModelConfig
from acmix_exp.model_tasks import TASKS
from acmix_exp.nn import block_names
from acmix_exp.yolo import preflight, sites
from acmix_exp.yolo.arguments import OWNED_ARGS
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.preflight import argument_faults
from acmix_exp.yolo.yaml_layers import Layer, layers
from tests.yolo.builders import make_config

LARGE, SMALL = [name for name, family in FAMILIES.items() if family.backbone]


def faults(*configs: Config) -> list[str]:
    return list(preflight.preflight(configs))


def baseline(name: str = "yolov8", **changes: Any) -> Config:
    return make_config(arm__insert=False, model__family=name, **changes)


FAST = ("yolov8n", "yolov9t", "yolo12n", "yolo26n")
NETWORKS = [
    pytest.param(name, scale, variant, id=title, marks=() if title in FAST else pytest.mark.slow)
    for name, family in FAMILIES.items()
    for scale in family.scales
    for variant in (None, *family.variants)
    if (title := name if family.backbone else family.network(scale, variant))
]


@pytest.mark.parametrize(("name", "scale", "variant"), NETWORKS)
def test_the_sites_are_those_of_the_networks_that_ultralytics_builds(
    name: str, scale: str, variant: str | None
) -> None:
    assert faults(baseline(name, model__scale=scale, model__variant=variant)) == []


@pytest.mark.parametrize("change", [{"channels": 640}, {"stride": 8}, {"repeats": 3}, {"kind": "C3"}], ids=str)
def test_a_layer_that_is_built_otherwise_is_named(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*arguments: Any, **options: Any) -> tuple[Layer, ...]:
        return tuple(replace(layer, **change) if layer.index == 6 else layer for layer in layers(*arguments, **options))

    sites._network.cache_clear()
    monkeypatch.setattr(sites, "layers", changed)
    lines = faults(baseline())
    sites._network.cache_clear()
    assert lines[0].startswith("model.family=yolov8: ultralytics ")
    assert ", layer 6, as C2f of 128 channels at stride 16" in lines[0]


@pytest.mark.parametrize(
    ("module", "args", "line"),
    [
        ("MyBlock", [], "has no module MyBlock (layer 22); a block of your own is block=custom"),
        ("nn.MyBlock", [], "cannot build it (AttributeError: "),
        ("nn.Conv2d", [], "cannot build it (TypeError: "),
        ("nn.Tanh", [], "is Tanh, which cannot take a block; name another site"),
        ("nn.AvgPool2d", [2], "builds neck_p5, layer 22, as AvgPool2d of 256 channels at stride 64; must be AvgPool2d"),
    ],
)
def test_a_yaml_of_ones_own_that_does_not_work(module: str, args: list[int], line: str, tmp_path: Path) -> None:
    content = sites.families.yaml_of(ModelConfig())
    content["head"].insert(-1, [-1, 1, module, args])
    content["head"][-1][0] = [15, 18, 22]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    found = faults(make_config(model__yaml=str(path), model__placement__sites=["neck_p5"]))
    assert found[0].startswith(
        (f"model.yaml={path}: ultralytics ", "model.placement.sites=neck_p5: layer 22 of mine n")
    )
    assert line in found[0]
    assert "\n" not in found[0]


@pytest.mark.slow
def test_a_network_that_is_built_and_cannot_run_is_named(tmp_path: Path) -> None:
    content = sites.families.yaml_of(ModelConfig(yaml="yolov8-rtdetr.yaml"))  # ultralytics tries all other heads itself
    content["head"].insert(-1, [[15, 18], 1, "Concat", [1]])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    (line,) = faults(baseline(model__yaml=str(path)))
    assert line.startswith(f"model.yaml={path}: ultralytics ")
    assert " builds it, and cannot run it (RuntimeError: " in line


OF_FAMILIES = {
    family.file(scale, variant)
    for family in FAMILIES.values()
    for scale in family.scales
    for variant in (None, *family.variants)
}
OTHERS = [
    pytest.param(path.name, next(iter(content.get("scales") or ["n"])), id=path.stem)
    for path in sorted(Path(ultralytics.__file__).parent.glob("cfg/models/*/*.yaml"))
    if path.name not in OF_FAMILIES
    if (content := yaml.safe_load(path.read_text()))["head"][-1][2] in TASKS["detect"].heads
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), OTHERS)
def test_the_sites_of_other_yamls_of_ultralytics(name: str, scale: str) -> None:
    """As ``model.yaml``, with a block after every site."""
    model = ModelConfig(yaml=name, scale=scale)
    every = {"model__placement__sites": list(sites.Network.of(model).sites), "block": {"name": "simam"}}
    assert faults(make_config(model__yaml=name, model__scale=scale, **every)) == []


def test_every_block_is_built() -> None:
    assert faults(*(make_config(block={"name": name}) for name in block_names())) == []


def test_acmix_is_checked_without_imports_that_take_seconds() -> None:
    code = """
import sys
from acmix_exp.yolo.preflight import preflight
from tests.yolo.builders import make_config
assert preflight([make_config()]) == {}
assert not {"torch._dynamo", "torchvision", "matplotlib", "pandas"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_block_that_cannot_be_built_is_named() -> None:
    (line,) = faults(make_config(block={"name": "acmix", "head": 3}), baseline())
    assert line.startswith("block=acmix: cannot be built for 256 channels (ValueError: ")
    assert "3" in line


def test_a_fault_tells_which_networks_have_it_and_each_is_built_once() -> None:
    steps: list[str] = []
    wrong = make_config(train__extra={"mosaic": 2})
    found = preflight.preflight([wrong, make_config(), replace(wrong, seed=1)], steps.append)
    assert found == {"train.extra.mosaic=2: Valid 'mosaic' values are between 0.0 and 1.0.": [0, 2]}
    assert steps == ["building yolov8n (1/3)", "building acmix for 256 channels (1/3)"]


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("lrf", 5, "Valid 'lrf' values are between 0.0 and 1.0."),
        ("lrf", float("nan"), "between 0.0 and 1.0"),
        ("box", "abc", "Valid 'box' types are int (i.e. 'box=0') or float (i.e. 'box=0.5')"),
        ("close_mosaic", 2.5, "'close_mosaic' must be an int"),
        ("max_det", 0, "'max_det' must be >= 1."),
        ("rect", 1, "'rect' must be a bool"),
        ("mixup", None, "'mixup' must not be None."),
        ("mosiac", 0.5, "no such ultralytics argument; did you mean train.extra.mosaic?"),
        ("zzz", 1, "no such ultralytics argument; see ultralytics' train arguments"),
    ],
)
def test_arguments_that_ultralytics_refuses(name: str, value: Any, cure: str) -> None:
    (line,) = argument_faults({name: value})
    assert line.startswith(f"train.extra.{name}={value}: ")
    assert cure in line
    assert "\n" not in line


def test_the_defaults_of_ultralytics_are_fine() -> None:
    assert argument_faults({key: value for key, value in DEFAULT_CFG_DICT.items() if key not in OWNED_ARGS}) == []


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stock") / "any.pt"
    torch.save({"epoch": -1, "train_args": {"scale": 0.5}, "model": DetectionModel("yolov8n.yaml", nc=2)}, path)
    return path


def pretrained(path: Path, name: str = "yolov8", **changes: Any) -> list[str]:
    return faults(baseline(name, model__pretrained=str(path), **changes))


def test_checkpoints_of_the_same_network_pass(stock: Path, tmp_path: Path) -> None:
    path, renamed = tmp_path / "ours.pt", tmp_path / "weights.zip"
    torch.save({"model": build_model(make_config(), nc=2)}, path)
    renamed.write_bytes(stock.read_bytes())  # as browsers name it
    assert pretrained(stock) == pretrained(path) == pretrained(renamed) == []


def test_a_checkpoint_of_another_network(stock: Path, tmp_path: Path) -> None:
    (line,) = pretrained(stock, model__scale="s")
    assert line == f"model.pretrained={stock}: weights of scale n; must be of model.scale=s"
    path = tmp_path / "backbone.pt"
    torch.save({"model": build_model(baseline(SMALL), nc=2)}, path)
    assert pretrained(path, SMALL) == []
    for name, network in (("yolov8", "the detector's own backbone"), (LARGE, "mobilenet_v3_large")):
        (line,) = pretrained(path, name)
        assert line.endswith(f"weights on mobilenet_v3_small; must be on {network}, as model.family says")
    other = tmp_path / "other.pt"
    torch.save({"model": DetectionModel("yolov5n.yaml", nc=2)}, other)
    (line,) = pretrained(other)
    assert line.startswith(f"model.pretrained={other}: is yolov5n (task detect, 2 classes); must be a YOLOv8 detector")


def test_files_that_are_no_checkpoints(stock: Path, tmp_path: Path) -> None:
    cut, text, script, bare = (tmp_path / name for name in ("cut.pt", "text.pt", "script.pt", "b.pt"))
    cut.write_bytes(stock.read_bytes()[:-500])
    text.write_text("not weights")
    torch.jit.script(torch.nn.Identity()).save(str(script))
    torch.save({"model": torch.load(stock, weights_only=False)["model"].state_dict()}, bare)
    for path in (cut, text, script, bare):
        (line,) = pretrained(path)
        assert line.startswith(f"model.pretrained={path}: cannot be loaded (")
        assert line.endswith("; must be a .pt file that ultralytics saved")


@pytest.mark.parametrize(
    "legacy", [pytest.param(False, id="zip", marks=pytest.mark.slow), pytest.param(True, id="legacy")]
)
def test_weights_of_torchvision(legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "features.pth"
    state = torchvision.models.mobilenet_v3_small(weights=None).state_dict()
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    assert pretrained(path, SMALL) == []
    (line,) = pretrained(path, LARGE)
    assert line.startswith(f"model.pretrained={path}: no tensor features.")
    assert line.endswith("must be torchvision's weights of the model's backbone (a state_dict, .pth)")


@pytest.mark.parametrize("content", [b"features.16.", b"", None], ids=["text", "empty", "no tensors"])
def test_files_that_are_no_weights_of_torchvision(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "features.pth"
    torch.save([1], path) if content is None else path.write_bytes(content)
    (line,) = pretrained(path, LARGE)
    assert line.startswith(f"model.pretrained={path}: ")
    assert line.endswith("must be torchvision's weights of the model's backbone (a state_dict, .pth)")
    assert "\n" not in line
