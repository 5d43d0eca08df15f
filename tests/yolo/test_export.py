"""What was exported is the network, at other sizes and numbers of images than the traced ones too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acmix_exp.config import Config, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.errors import ConfigError
from acmix_exp.profile.latency import latencies
from acmix_exp.yolo.agreement import Difference, limits
from acmix_exp.yolo.export_formats import Format, settled
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
    arguments = {"task": config.model.task or "detect"}
    torch.save({"model": model.half(), "train_args": arguments, "epoch": -1}, folder / f"{seed}.pt")
    return folder / f"{seed}.pt"


def make(place: str, backend: str = "auto", path: str = "mixed") -> Config:
    config = make_config(block__backend=backend, block__path=path)
    return replace(config, model=replace(config.model, placement=PLACES[place]))


SLOW = pytest.mark.slow
CASES = [  # by default each format with a block in one of the two places
    pytest.param("onnx", bare(make_config()), marks=SLOW),
    ("onnx", make("replace", "tile")),
    pytest.param("onnx", make("after", "triton", "attention"), marks=SLOW),
    pytest.param("torchscript", bare(make_config()), marks=SLOW),
    ("torchscript", make("after", "tile")),
    pytest.param("torchscript", make("replace", "reference", "conv"), marks=SLOW),
]


@pytest.mark.parametrize(
    ("format", "config"), CASES, ids=lambda value: value if isinstance(value, str) else value.model.placement.name
)
def test_equals_torch_at_sizes_it_was_not_traced_at(tmp_path: Path, dataset: Dataset, format: str, config: Config):
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    weights = checkpoint(tmp_path, config)
    asked = Format(**settled(format, {}))
    made = tmp_path / "made"
    made.mkdir()
    file = exporter.export_checkpoint(weights, asked, 64, made, device="cpu")
    assert file == made / f"0.{format}"
    assert list(made.iterdir()) == [file]
    images = dataset.splits["val"][:3]
    found = exporter.compare(file, asked, weights, images, SIZES, threads=1, device="cpu")
    assert [(each.height, each.width, each.images) for each in found] == [(64, 64, 3), (96, 128, 3)]
    assert all(0 <= max(each.boxes, each.scores) < 1e-4 for each in found), found
    assert all(each.boxes <= each.boxes_px / 8 for each in found)


def test_other_weights_are_far_from_it(tmp_path: Path, dataset: Dataset):
    first, second = (checkpoint(tmp_path, make("after"), seed) for seed in (0, 1))
    asked = Format(**settled("torchscript", {}))
    file = exporter.export_checkpoint(first, asked, 64, tmp_path, device="cpu")
    images = dataset.splits["val"][:1]
    (found,) = exporter.compare(file, asked, second, images, SIZES[1:], threads=1, device="cpu")
    assert found.boxes > 1e-2


def exported(folder: Path, dataset: Dataset, config: Config, **asks: object) -> tuple[Path, list[Difference], Format]:
    """An ONNX file, and its differences from torch on the test images at 64x64."""
    pytest.importorskip("onnxruntime")
    weights, asked = checkpoint(folder, config), Format(**settled("onnx", asks))
    calibration = dataset.splits["val"] if asked.calibrates else ()
    file = exporter.export_checkpoint(weights, asked, 64, folder, calibration=calibration, device="cpu")
    images = dataset.splits["test"]
    return file, exporter.compare(file, asked, weights, images, SIZES[:1], threads=1, device="cpu"), asked


@pytest.mark.parametrize("quantize", [16, pytest.param(8, marks=pytest.mark.slow)])
def test_a_lower_precision_is_within_its_limits_and_smaller(tmp_path: Path, dataset: Dataset, quantize: int):
    before = sorted(path for path in dataset.source.parent.rglob("*"))
    file, (found,), asked = exported(tmp_path, dataset, make("after"), quantize=quantize)
    assert file.name == {16: "0_fp16.onnx", 8: "0_int8.onnx"}[quantize]
    assert [path.name for path in tmp_path.glob("*.onnx")] == [file.name]
    for key, limit in limits(asked.precision, "detect").items():
        assert 0 < getattr(found, key) < limit
    assert file.stat().st_size < checkpoint(tmp_path, make("after")).stat().st_size * 1.05  # which is in float16
    assert sorted(path for path in dataset.source.parent.rglob("*")) == before  # calibration writes no cache


@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_suppression_inside(tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, dynamic: bool):
    monkeypatch.setattr(exporter, "NMS_SCORE", 1e-4)  # of a network that was never trained
    monkeypatch.setattr(exporter, "MORE_ARGUMENTS", {"conf": 1e-4})
    _, (found,), _ = exported(tmp_path, dataset, bare(make_config()), nms=True, dynamic=dynamic)
    assert found.compared > 20
    assert max(found.boxes, found.scores) < 1e-4


def test_the_head_without_suppression_is_refused_where_there_is_none(tmp_path: Path, dataset: Dataset):
    with pytest.raises(ConfigError, match=r"export.nms=false: .* which this network does not have; leave it out"):
        exported(tmp_path, dataset, bare(make_config()), nms=False)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.slow
def test_the_head_without_suppression(tmp_path: Path, dataset: Dataset):
    config = bare(make_config())
    config = replace(config, model=replace(config.model, family="yolo26"))
    file, (found,), _ = exported(tmp_path, dataset, config, nms=False)
    assert file.name == "0_nonms.onnx"
    assert found.compared > 100
    assert max(found.boxes, found.scores) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
@pytest.mark.parametrize("quantize", [None, 16])
def test_networks_for_other_tasks(tmp_path: Path, dataset: Dataset, task: str, quantize: int | None):
    config = make("after")
    config = replace(config, model=replace(config.model, task=task))
    _, (found,), asked = exported(tmp_path, dataset, config, quantize=quantize)
    assert all(0 < getattr(found, key) < limit for key, limit in limits(asked.precision, task).items()), found
    with pytest.raises(ConfigError, match=f"export.nms=true: goes with model.task=detect.* this network is for {task}"):
        exported(tmp_path, dataset, config, nms=True)


def test_size_and_latency(tmp_path: Path):
    weights, asked = checkpoint(tmp_path, bare(make_config())), Format(**settled("torchscript", {}))
    file = exporter.export_checkpoint(weights, asked, 64, tmp_path, device="cpu")
    assert exporter.size_of(file) == file.stat().st_size < exporter.size_of(tmp_path)
    network, module = exporter.to_time(file, asked, weights, threads=1, device="cpu")
    times = latencies({"torch": network, "exported": module}, 64, seconds=0.01, fewest=2)
    assert all(time.median > 0 for time in times.values())
