"""A network with each block, exported with the exporter of ultralytics, is the network in torch at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acmix_exp.block_rules import RULES, TIMM_LAYERS
from acmix_exp.config import Config, ModelConfig, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.insertions import placement_file
from acmix_exp.slot_rules import CONTROLS, CONVOLUTIONS, slot_of
from acmix_exp.sweep import arm
from acmix_exp.yolo.export_formats import Format, settled
from acmix_exp.yolo.run import prepare
from tests.extras import needs_timm
from tests.yolo.builders import make_config
from tests.yolo.test_export import SIZES, checkpoint

prepare()
from acmix_exp.yolo import exporter  # noqa: E402

# Blocks, each where it mostly sits; a block of a network that is trained alone, as a loss, is in no exported file.
NAMES = [name for name in RULES if name not in ("timm", *CONTROLS) and slot_of({"name": name}) != "loss"]
OPTIONS: dict[str, dict[str, Any]] = {"acmix": {"kernel_att": 3, "head": 4}, "hat": {"depth": 1, "window_size": 4}}


def config(placement: str, name: str, **options: Any) -> Config:
    where = PlacementConfig(**placement_file(placement))
    return arm.usual(make_config(model=ModelConfig(placement=where), block={"name": name, **options}))


def differences(folder: Path, dataset: Dataset, format: str, given: Config) -> list[float]:
    """The largest difference at each size of two images, boxes in cells; the file takes any height and width."""
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    weights, asked = checkpoint(folder, given), Format(**settled(format, {"dynamic": True}))
    file = exporter.export_checkpoint(weights, asked, 64, folder, device="cpu")
    images = dataset.splits["val"][:2]
    found = exporter.compare(file, asked, weights, images, SIZES, threads=1, device="cpu")
    return [max(each.boxes, each.scores) for each in found]


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", NAMES)
def test_in_its_usual_place(tmp_path: Path, dataset: Dataset, name: str, format: str) -> None:
    found = differences(tmp_path, dataset, format, config("usual", name, **OPTIONS.get(name, {})))
    assert all(0 <= each < 1e-4 for each in found), found


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_behind_a_layer(tmp_path: Path, dataset: Dataset, name: str, format: str) -> None:
    found = differences(tmp_path, dataset, format, config("backbone_p4p5", name))
    assert all(0 <= each < 1e-4 for each in found), found


@needs_timm
@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("layer", TIMM_LAYERS)
def test_layers_of_timm(tmp_path: Path, dataset: Dataset, layer: str, format: str) -> None:
    found = differences(tmp_path, dataset, format, config("usual", "timm", layer=layer))
    assert all(0 <= each < 1e-4 for each in found), found


@pytest.mark.slow
@pytest.mark.parametrize("opset", [17, 20])
def test_at_another_opset(tmp_path: Path, dataset: Dataset, opset: int) -> None:
    """WTConv uses most kinds of operations: slices of symbolic size, products, a pixel shuffle."""
    pytest.importorskip("onnxruntime")
    weights, asked = checkpoint(tmp_path, config("usual", "wtconv")), Format(**settled("onnx", {"opset": opset}))
    file = exporter.export_checkpoint(weights, asked, 64, tmp_path, device="cpu")
    images = dataset.splits["val"][:1]
    found = exporter.compare(file, asked, weights, images, SIZES, threads=1, device="cpu")
    assert all(each.boxes < 1e-4 for each in found), found
