"""Networks with two heads: both are scored, and the headline is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.utils import DEFAULT_CFG, IterableSimpleNamespace

from acmix_exp.data import Dataset
from acmix_exp.yolo import evaluation, picture_objects
from acmix_exp.yolo.heads import has_two_heads, headline_head, predicts_by_headline, with_other_head
from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.picture_objects import predictions
from acmix_exp.yolo.report_images import letterbox
from tests.yolo.builders import NAMES, make_config


@pytest.fixture
def scored_heads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each evaluation was of the head without NMS."""
    found: list[bool] = []
    stock = evaluation.RecordingValidator.get_stats

    def get_stats(self: Any) -> Any:
        found.append(self.end2end)
        return stock(self)

    monkeypatch.setattr(evaluation.RecordingValidator, "get_stats", get_stats)
    return found


@pytest.mark.parametrize("nms_free", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["nms", "nms_free"])
def test_both_heads_are_scored(
    nms_free: bool, dataset: Dataset, tmp_path: Path, scored_heads: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"nms": False} if nms_free else {}
    config = make_config(model__family="yolo26", arm__insert=False, train__extra=extra)
    network = build_model(config, nc=2)
    network.names = dict(NAMES)
    torch.save({"model": network}, tmp_path / "last.pt")
    metrics = evaluation.evaluate_checkpoint(tmp_path / "last.pt", dataset, "val", config, "cpu")
    assert scored_heads == [nms_free, not nms_free]
    assert metrics["head"] == ("nms_free" if nms_free else "nms")
    assert metrics["heads"].keys() == {"nms", "nms_free"}
    assert metrics["heads"][metrics["head"]] == {key: metrics[key] for key in metrics["heads"]["nms"]}


@pytest.mark.parametrize(
    ("family", "two"), [("yolo26", True), pytest.param("yolov10", True, marks=pytest.mark.slow), ("yolov8", False)]
)
def test_which_networks_have_two(family: str, two: bool) -> None:
    config = make_config(model__family=family, arm__insert=False)
    assert has_two_heads(build_model(config, nc=2)) is two
    assert headline_head(config) == "nms"
    assert headline_head(with_other_head(config)) == "nms_free"
    assert with_other_head(with_other_head(config)) == config


@pytest.mark.parametrize("family", ["yolo26", pytest.param("yolov10", marks=pytest.mark.slow)])
def test_a_block_learns_from_the_head_with_nms_alone_whose_weight_falls(family: str) -> None:
    network = build_model(make_config(model__family=family), nc=2).train()
    network.args = IterableSimpleNamespace(**{**vars(DEFAULT_CFG), "epochs": 11})
    outputs = network(torch.rand(1, 3, 64, 64))
    (block,) = network.blocks().values()
    for head, learns in (("one2one", False), ("one2many", True)):
        torch.stack([outputs[head][key].square().mean() for key in ("boxes", "scores")]).sum().backward()
        assert any(parameter.grad is not None for parameter in block.parameters()) is learns
    criterion = network.init_criterion()
    weights = [criterion.o2m]
    for _ in range(10):
        criterion.update()
        weights.append(criterion.o2m)
    assert (weights[0], weights[-1]) == pytest.approx((0.8, 0.1))


@pytest.mark.parametrize(
    "task", ["detect", *(pytest.param(task, marks=pytest.mark.slow) for task in ("segment", "pose", "obb"))]
)
def test_pictures_are_of_the_headline(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = letterbox(np.zeros((64, 64, 3), np.uint8), 64, 32, torch.device("cpu"))
    config = make_config(model__family="yolo26", model__task=task, arm__insert=False)
    network = build_model(config, nc=2).eval()
    shape = getattr(network, "kpt_shape", None)
    for each in (config, with_other_head(config)):
        predicts_by_headline(network, each)
        nms_free = headline_head(each) == "nms_free"
        with torch.no_grad():
            output = network(image.pixels)
        boxes = output[0][0] if task == "segment" else output[0]
        assert (boxes.shape[1] > boxes.shape[2]) is nms_free
        monkeypatch.setattr(picture_objects, "LOWEST_CONFIDENCE", 0.0)
        found = predictions(output, image, NAMES, task, shape, end2end=network.end2end)
        assert found
        assert {entry["class"] for entry in found} <= set(NAMES.values())
        assert all(0 <= entry["confidence"] <= 1 for entry in found)


@pytest.mark.slow
def test_the_scores_of_a_trained_network_are_those_of_each_head(run_once: Any) -> None:
    """Another training with the other head as the headline has the same two scores of the same weights."""
    config = make_config(model__family="yolov10", arm__insert=False, train__epochs=1)
    results = [run_once(each)[0].metrics for each in (config, with_other_head(config))]
    assert [result["head"] for result in results] == ["nms", "nms_free"]
    assert results[0]["heads"] == results[1]["heads"]
