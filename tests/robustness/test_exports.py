"""What task=export refuses, and checkpoints in the hands of stock ultralytics."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from acmix_exp.config import PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.export_formats import settled
from acmix_exp.yolo.run import prepare
from tests.robustness.cases import case
from tests.robustness.commands import tiny_data
from tests.yolo.builders import make_config

prepare()
from ultralytics import YOLO  # noqa: E402

from acmix_exp.yolo.model import build_model  # noqa: E402

SECTION = "Checkpoints"


@case(
    SECTION,
    have="`task=export` with a precision, `export.nms`, `export.dynamic` or `export.opset` that the format lacks",
    here="one line that says what the format takes, by the table of ultralytics, exit code 2",
)
@pytest.mark.parametrize("line", ["ncnn quantize 8", "imx quantize 32", "litert nms True", "pb dynamic True"])
def test_what_a_format_lacks(line: str) -> None:
    name, key, value = line.split()
    with pytest.raises(ConfigError, match=rf"^export.{key}={value.lower()}: format={name} .*export\.\w+[^\n]*$"):
        settled(name, {key: {"True": True}.get(value, value)})


@case(
    SECTION,
    have="`task=export` to a format whose package is not installed",
    here="one line with the package's name, exit code 2, before anything is loaded",
)
def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^format=openvino: needs openvino, nncf; pip install openvino nncf$"):
        settled("openvino", {"quantize": 8})


@case(
    SECTION,
    have="`yolo train model=best.pt` with a checkpoint that holds a block",
    here="a KeyError of ultralytics whose text is ours: use `python -m acmix_exp model.pretrained=best.pt`",
)
def test_stock_training_from_a_checkpoint(tmp_path: Path) -> None:
    import torch

    config = make_config(model__placement=PlacementConfig(name="test", sites=["backbone_p5"]))
    model = build_model(config, nc=2)
    torch.save({"model": model, "train_args": {}, "epoch": -1}, tmp_path / "best.pt")
    data = tiny_data(tmp_path / "data")
    data.write_text(f"path: {data.parent}\ntrain: images/train\nval: images/val\nnames: [square]\n")
    with pytest.raises(KeyError) as error:
        YOLO(tmp_path / "best.pt").train(data=data, epochs=1, imgsz=32, device="cpu", project=tmp_path / "stock")
    text = str(error.value)
    assert re.search(r"use python -m acmix_exp model\.pretrained=best\.pt", text)
    assert "\n" not in text
