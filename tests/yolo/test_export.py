"""What was exported is the network, at other sizes and numbers of images than the traced ones too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acmix_exp.config import Config, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.yolo.run import prepare
from tests.yolo.builders import NAMES, bare, make_config

prepare()
from acmix_exp.yolo import exporter  # noqa: E402
from acmix_exp.yolo.model import build_model  # noqa: E402

SIZES = [(64, 64), (96, 128)]
PLACES = {
    "after": PlacementConfig(name="backbone_p5", sites=["backbone_p5"]),
    "replace": PlacementConfig(name="bottleneck_p4p5", mode="replace", sites=["backbone_p4", "backbone_p5"]),
}


def checkpoint(folder: Path, config: Config, seed: int = 0) -> Path:
    """A network that was never trained but has statistics to be fused, saved as a run saves it."""
    torch.manual_seed(seed)
    model = build_model(config, nc=len(NAMES))
    model.names = dict(NAMES)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    torch.save({"model": model.half(), "train_args": {}, "epoch": -1}, folder / f"{seed}.pt")
    return folder / f"{seed}.pt"


def make(place: str, backend: str = "auto", path: str = "mixed") -> Config:
    config = make_config(block__backend=backend, block__path=path)
    return replace(config, model=replace(config.model, placement=PLACES[place]))


CASES = [
    ("onnx", bare(make_config())),
    ("onnx", make("replace", "tile")),
    ("onnx", make("after", "triton", "attention")),
    ("torchscript", bare(make_config())),
    ("torchscript", make("after", "tile")),
    ("torchscript", make("replace", "reference", "conv")),
]


@pytest.mark.parametrize(
    ("format", "config"), CASES, ids=lambda value: value if isinstance(value, str) else value.model.placement.name
)
def test_equals_torch_at_sizes_it_was_not_traced_at(tmp_path: Path, dataset: Dataset, format: str, config: Config):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    weights = checkpoint(tmp_path, config)
    arguments = {"dynamic": True, **({"simplify": False} if format == "onnx" else {})}
    made = tmp_path / "made"
    made.mkdir()
    file = exporter.export_checkpoint(weights, format, 64, made, arguments=arguments, device="cpu")
    assert file == made / f"0.{format}"
    assert list(made.iterdir()) == [file]
    images = dataset.splits["val"][:3]
    found = exporter.compare(file, format, weights, images, SIZES, threads=1, device="cpu")
    assert [(each.height, each.width, each.images) for each in found] == [(64, 64, 3), (96, 128, 3)]
    assert all(0 <= each.largest < 1e-4 for each in found), found
    assert all(each.boxes <= each.boxes_px / 8 for each in found)


def test_other_weights_are_far_from_it(tmp_path: Path, dataset: Dataset):
    first, second = (checkpoint(tmp_path, make("after"), seed) for seed in (0, 1))
    file = exporter.export_checkpoint(first, "torchscript", 64, tmp_path, arguments={"dynamic": True}, device="cpu")
    images = dataset.splits["val"][:1]
    (found,) = exporter.compare(file, "torchscript", second, images, SIZES[1:], threads=1, device="cpu")
    assert found.largest > 1e-2


class Strides:
    stride = torch.tensor([8.0, 16.0, 32.0])


def test_boxes_count_in_cells_of_their_own_grid():
    right = torch.zeros(2, 6, 48 + 12 + 3)  # 32 x 96 pixels
    output = right.clone()
    output[0, 3, 47] = 8e-3  # the last anchor of stride 8
    output[1, 0, 48] = -8e-3  # the first of stride 16
    output[1, 5, 62] = 5e-4
    found = exporter.difference(right, output, 32, 96, Strides())
    assert (found.boxes_px, found.boxes, found.scores) == pytest.approx((8e-3, 1e-3, 5e-4))
    assert found.largest == pytest.approx(1e-3)


def test_nan_is_no_agreement():
    right = torch.zeros(1, 6, 63)
    for row in (0, 5):
        output = right.clone()
        output[0, row, 9] = float("nan")
        assert np.isnan(exporter.difference(right, output, 32, 96, Strides()).largest)


def queries(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([rows])


def test_queries_are_compared_whatever_their_order() -> None:
    right = queries((0.5, 0.5, 0.1, 0.2, 0.9, 1), (0.2, 0.2, 0.1, 0.1, 0.9, 1), (0.7, 0.7, 0.1, 0.1, 0.1, 0))
    same = exporter.queries_difference(right, right[:, [1, 0, 2]], 64, 128)
    assert (same.boxes_px, same.scores) == (0, 0)
    moved = right.clone()
    moved[0, 0, 0] += 0.01  # of 128 pixels
    moved[0, 1, 4] -= 0.001
    moved[0, 2, :2] = 0.1  # one of the lowest scores
    found = exporter.queries_difference(right, moved, 64, 128)
    assert (found.boxes_px, found.boxes, found.scores) == pytest.approx((1.28, 0.04, 0.001), rel=1e-4)
    other_class = right.clone()
    other_class[0, 0, 5] = 0
    assert exporter.queries_difference(right, other_class, 64, 128).largest > 1
    other_class[0, 0, 1] = float("nan")
    assert np.isnan(exporter.queries_difference(right, other_class, 64, 128).largest)


def test_another_number_of_anchors_is_named():
    with pytest.raises(ValueError, match=r"\(1, 6, 60\) at 32x96, not \(1, 6, 63\)"):
        exporter.difference(torch.zeros(1, 6, 63), torch.zeros(1, 6, 60), 32, 96, Strides())
