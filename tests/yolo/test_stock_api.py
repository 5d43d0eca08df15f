"""``acmix_exp.build``: a network with blocks as a YOLO object of ultralytics."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ultralytics import RTDETR, YOLO
from ultralytics.models.rtdetr.train import RTDETRTrainer

import acmix_exp
from acmix_exp.data import Dataset
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.model import BlockDetectionModel
from tests.yolo.builders import make_config


def test_the_network_is_that_of_a_run() -> None:
    config = make_config(seed=3)
    config.model.placement.sites = ["backbone_p4", "backbone_p5"]
    config.block |= {"backend": "auto"}
    torch.manual_seed(0)
    expected = acmix_exp.yolo.model.build_model(config, nc=80)
    torch.manual_seed(0)
    model = acmix_exp.build("yolov8n", block="acmix", placement="backbone_p4p5", kernel_att=3, seed=3)
    assert isinstance(model, YOLO)
    assert isinstance(model.model, BlockDetectionModel)
    assert model.model.yaml == expected.yaml
    state = model.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in expected.state_dict().items())


def test_sites_scale_classes_and_block_are_as_given() -> None:
    model = acmix_exp.build("yolov8s", block="lsk", placement=["neck_p3", 9], classes=["cat", "dog"], form="unit")
    assert list(model.model.blocks()) == ["sppf", "neck_p3"]
    assert model.names == {0: "cat", 1: "dog"}
    assert model.model.yaml["scale"] == "s"
    assert model.model.yaml["acmix_exp"]["block"]["form"] == "unit"


@pytest.mark.parametrize("name", ["yolo11n", "yolo26n", "yolov9t", "yolov8n-p2", "yolov8_mobilenetv3_small"])
def test_every_family_is_built_by_its_name(name: str) -> None:
    model = acmix_exp.build(name, kernel_att=3, classes=2)
    assert isinstance(model, YOLO)
    assert list(model.model.blocks()) == ["backbone_p4", "backbone_p5"]


@pytest.mark.slow
def test_a_yaml_file_is_built_and_an_rtdetr_is_one(tmp_path: Path) -> None:
    model = acmix_exp.build("rtdetr-l.yaml", scale="l", placement="head_inputs", kernel_att=3, classes=2)
    assert isinstance(model, RTDETR)
    image = np.zeros((64, 64, 3), np.uint8)
    assert model.predict(image, imgsz=64, device="cpu", verbose=False)[0].names == {0: "0", 1: "1"}
    assert issubclass(model._smart_load("trainer"), RTDETRTrainer)


def test_it_predicts_and_what_it_saves_opens_in_stock_ultralytics(tmp_path: Path) -> None:
    model = acmix_exp.build(kernel_att=3, classes=2)
    image = np.zeros((64, 64, 3), np.uint8)
    assert model.predict(image, imgsz=64, device="cpu", verbose=False)[0].names == {0: "0", 1: "1"}
    model.save(tmp_path / "built.pt")
    opened = YOLO(tmp_path / "built.pt")
    assert list(opened.model.blocks()) == ["backbone_p4", "backbone_p5"]


def test_pretrained_weights_go_to_every_layer_that_has_them(tmp_path: Path) -> None:
    first = acmix_exp.build(kernel_att=3, classes=2)
    first.save(tmp_path / "first.pt")
    given = {key: value.half().float() for key, value in first.model.state_dict().items()}
    same = acmix_exp.build(kernel_att=3, classes=2, seed=9, pretrained=str(tmp_path / "first.pt")).model
    assert all(torch.equal(value.float(), given[key]) for key, value in same.state_dict().items())
    other = acmix_exp.build(block="lsk", classes=2, pretrained=str(tmp_path / "first.pt")).model
    new = other.new_keys()
    assert all(torch.equal(value.float(), given[key]) for key, value in other.state_dict().items() if key not in new)
    assert other.insertions[0][0].zero_init


def test_a_block_of_ones_own_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gates_of_mine.py").write_text(
        "from torch import nn\nclass Gate(nn.Conv2d):\n"
        "    def __init__(self, channels, kernel=1):\n        super().__init__(channels, channels, kernel)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = acmix_exp.build(block="custom", target="gates_of_mine.Gate", placement="sppf", kernel=1)
    (block,) = model.model.blocks().values()
    assert type(block).__name__ == "Gate"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "yolov8q"}, r"^model=yolov8q: no such model; did you mean yolov8[a-z]?"),
        ({"model": "resnet"}, "^model=resnet: no such model; must be one of .*, with its scale as in yolov8n, "),
        ({"model": "yolov8n", "scale": "s"}, "^scale=s: goes with a YAML file; a name holds its own, as in yolov8s$"),
        ({"model": "nowhere.yaml"}, "^model.yaml=nowhere.yaml: no such file; must be a YAML file of a detector"),
        ({"block": "acmx"}, "^block=acmx: must be one of acmix, .*, or custom with target='module.Class'$"),
        ({"block": "custom"}, "^block.target=null: must be MODULE.CLASS, "),
        ({"block": "custom", "target": "nowhere.Gate"}, "^block.target=nowhere.Gate: no module nowhere in "),
        ({"block": "identity"}, "^block=identity: must be one of "),
        ({"placement": "p4"}, "^placement=p4: must be one of backbone_p3p4p5, .*, or a list of sites$"),
        ({"placement": "none"}, "^placement=none: must be one of "),
        ({"placement": []}, r"^placement=\[\]: must be at least one site$"),
        ({"placement": ["p4"]}, "^model.placement.sites=p4: yolov8n has no such site; must be one of backbone_p2, "),
        ({"head": 3}, "^block.head=3: must divide the channels of every site; at scale n "),
        ({"hed": 3}, "^block.hed=3: unknown key; did you mean block.head?"),
        ({"pretrained": "nowhere.pt"}, "^model.pretrained=nowhere.pt: no such file; must be "),
    ],
)
def test_what_does_not_exist_or_fit_is_refused_in_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refusal:
        acmix_exp.build(**arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_it_trains_in_the_way_of_ultralytics_and_keeps_its_blocks(dataset: Dataset, tmp_path: Path) -> None:
    """Twice, because the second training starts from the checkpoint of the first; then validation and export."""
    data = tmp_path / "data.yaml"
    folder = dataset.splits["train"][0].parents[1]
    data.write_text(f"path: {folder}\ntrain: train\nval: val\nnames: {{0: square, 1: disc}}\n")
    code = f"""
import acmix_exp, torch
model = acmix_exp.build("yolov8n", kernel_att=3)
key = "model.6.after.block.conv1.weight"
before = model.model.state_dict()[key].clone()
settings = dict(data={str(data)!r}, imgsz=64, workers=0, device="cpu", project={str(tmp_path)!r}, plots=False)
model.train(epochs=1, batch=4, amp=False, optimizer="SGD", lr0=1e-9, warmup_epochs=0, **settings)
assert model.names == {{0: "square", 1: "disc"}}, model.names
assert torch.allclose(model.model.state_dict()[key].float(), before, atol=1e-3)
model.train(epochs=1, batch=4, amp=False, **settings)
assert list(model.model.blocks()) == ["backbone_p4", "backbone_p5"]
assert 0 <= model.val(**settings).box.map <= 1
assert model.export(format="torchscript", imgsz=64)
"""
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(tmp_path)}
    environment.pop("PYTEST_CURRENT_TEST", None)  # with it ultralytics saves beside its own installation
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
