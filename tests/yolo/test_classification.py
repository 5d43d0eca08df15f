"""Classifiers: samples as ultralytics makes them, networks with blocks, metrics and outcomes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import classify_transforms
from ultralytics.data.dataset import ClassificationDataset

from acmix_exp.config import ModelConfig, PlacementConfig
from acmix_exp.data import read_split
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import TASKS
from acmix_exp.outcomes import ClassOutcomes, load_outcomes
from acmix_exp.run.replicates import headline_on, multiplicities, replicates
from acmix_exp.yolo.arguments import refused
from acmix_exp.yolo.classification import ClassSamples, RecordingClassifier, class_metrics, most_probable
from acmix_exp.yolo.epoch_record import epoch_line, epoch_row, is_loss
from acmix_exp.yolo.model import BlockClassificationModel, build_model
from acmix_exp.yolo.preflight import build_stock, preflight
from acmix_exp.yolo.report_images import centre_crop
from acmix_exp.yolo.sample_dataset import seeded
from acmix_exp.yolo.sites import Network, resolve_sites
from acmix_exp.yolo.transfer import load_pretrained
from tests.yolo.class_sets import class_config, make_class_set
from tests.yolo.task_sets import without_blocks

FAMILIES = ("yolov8", "yolo11", "yolo12", "yolo26")


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_are_those_of_ultralytics(tmp_path: Path, split: str) -> None:
    dataset = make_class_set(tmp_path)
    args: Any = get_cfg(overrides={"imgsz": 64, "task": "classify", "cache": "ram" if split == "val" else False})
    ours = ClassSamples(read_split(dataset, split), args, train=split == "train", split=split)
    (folder,) = dataset.read[split]
    stock = ClassificationDataset(str(folder), args, augment=split == "train", prefix=split, names=dataset.names)
    folder.with_suffix(".cache").unlink()  # which ultralytics writes
    assert [sample[:2] for sample in ours.samples] == [sample[:2] for sample in stock.samples]
    for i in range(len(ours)):
        with seeded("sample", 0, 3, i):
            expected = stock[i]
        found = ours[3, i]
        assert torch.equal(found["img"], expected["img"])
        assert found["cls"] == expected["cls"]


def test_every_class_stays_in_a_fraction(tmp_path: Path) -> None:
    dataset = make_class_set(tmp_path)
    args: Any = get_cfg(overrides={"imgsz": 32, "task": "classify", "fraction": 0.6})
    kept = ClassSamples(read_split(dataset, "train"), args, train=True, split="train")
    assert {index for _, index, *_ in kept.samples} == set(dataset.names)
    assert len(kept) < len(dataset.splits["train"])


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_are_those_of_the_backbone(family: str) -> None:
    network = Network.of(ModelConfig(family, task="classify"))
    detector = Network.of(ModelConfig(family))
    in_backbone = {name: layer for name, layer in detector.sites.items() if layer.part == "backbone" and name != "sppf"}
    assert list(network.sites) == list(in_backbone)
    assert [layer.kind for layer in network.sites.values()] == [layer.kind for layer in in_backbone.values()]
    assert network.head.kind == "Classify"
    with pytest.raises(
        ConfigError, match=r"model.placement.sites=neck: \w+n-cls has no such site; must be one of back"
    ):
        resolve_sites(PlacementConfig("neck", sites=["neck"]), network)
    with pytest.raises(ConfigError, match=r"its head, Classify, has no box loss with a CIoU"):
        resolve_sites(PlacementConfig("loss", "loss", ["head"]), network)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_are_built_as_their_rows_say(family: str) -> None:
    config = class_config(model__family=family)
    stock, lines = build_stock(config, Network.of(config.model))
    assert lines == []
    assert type(stock).__name__ == "ClassificationModel"


def test_blocks_and_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    stock = build_model(without_blocks(class_config()), 3)
    torch.manual_seed(0)
    network = build_model(class_config(), 3)
    assert type(network) is BlockClassificationModel
    state, given = network.state_dict(), stock.state_dict()
    assert set(state) - set(given) == network.new_keys()
    assert all(torch.equal(state[key], value) for key, value in given.items())
    assert {(norm.eps, norm.momentum) for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d)} == {
        (norm.eps, norm.momentum) for norm in stock.modules() if isinstance(norm, torch.nn.BatchNorm2d)
    }
    other = build_model(without_blocks(class_config(seed=1)), 7)
    other.transforms = classify_transforms(224)  # as ultralytics keeps them
    torch.save({"model": other}, tmp_path / "seven.pt")
    audit = load_pretrained(network, tmp_path / "seven.pt")
    assert audit["rebuilt"] == ["model.9.linear.weight", "model.9.linear.bias"]
    assert set(audit["new"]) == network.new_keys()
    for keys, said in (
        ({"model__task": None}, "is yolov8n-cls (task classify, 7 classes); must be a YOLOv8 detector of scale n"),
        ({"model__scale": "s"}, "weights of scale n; must be of model.scale=s"),
        ({}, ""),
    ):
        config = without_blocks(class_config(**keys, model__pretrained=str(tmp_path / "seven.pt")))
        lines = list(preflight([config]))
        assert [said in line for line in lines] == [True] * bool(said)


def test_arguments() -> None:
    model = ModelConfig(task="classify")
    for key, value in (
        ("mosaic", 0.5),
        ("box", 0.0),
        ("cls_pw", 0),
        ("copy_paste_mode", "flip"),
        ("multi_scale", True),
    ):
        assert refused({key: value}, model) == [
            f"train.extra.{key}={value}: the training of a classifier does not use it; leave it out"
        ]
    assert refused({"mosaic": 0.0, "dropout": 0.2, "erasing": 0, "auto_augment": None, "scale": 0.2}, model) == []
    assert "does not use it" in refused({"dropout": 0.2}, ModelConfig())[0]


def test_records_of_an_epoch() -> None:
    metrics = {
        "train/loss": 1.25,
        "val/loss": 1.5,
        "metrics/accuracy_top1": 0.5,
        "metrics/accuracy_top5": 1,
        "lr/pg0": 1,
    }
    row = epoch_row(3, metrics, 2.0, {}, TASKS["classify"])
    assert list(row) == ["epoch", "train/loss", "val/loss", "top1", "top5", "lr", "seconds"]
    assert list(filter(is_loss, row)) == ["train/loss", "val/loss"]
    line = "epoch 3/9: train loss 1.250; val loss 1.500; top-1 0.500, top-5 1.000; 2.0 s"
    assert epoch_line(row, 9, TASKS["classify"]) == line


def outcomes() -> ClassOutcomes:
    """Of four images, of six classes, three are right at first, and one is not among the first five."""
    validator = RecordingClassifier(args=get_cfg(overrides={"task": "classify"}))
    validator.init_metrics(SimpleNamespace(names=dict(enumerate("abcdef"))))
    scores = torch.eye(6)[[0, 1, 2, 2]] * 0.5 + torch.tensor([0.06, 0.05, 0.04, 0.03, 0.02, 0.01])
    files = [f"/data/{name}.jpg" for name in "dcba"]
    validator.update_metrics(scores, {"cls": torch.tensor([0, 1, 2, 5]), "im_file": files})
    validator.metrics.process(validator.targets, validator.pred)
    assert (validator.metrics.top1, validator.metrics.top5) == (0.75, 0.75)
    return validator.outcomes("abcdef")


def test_outcomes_and_metrics(tmp_path: Path) -> None:
    found = outcomes()
    assert found.images.tolist() == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert found.target.tolist() == [5, 2, 1, 0]
    assert found.predicted[:, 0].tolist() == [2, 2, 1, 0]
    metrics = class_metrics(found, dict(enumerate("abcdef")))
    assert (metrics["top1"], metrics["top5"]) == (0.75, 0.75)
    assert metrics["per_class"]["f"] == {"top1": 0.0, "top5": 0.0}
    assert list(metrics["per_class"]) == ["a", "b", "c", "f"]
    found.save(tmp_path / "outcomes.npz")
    read = load_outcomes(tmp_path / "outcomes.npz")
    assert isinstance(read, ClassOutcomes)
    assert all(np.array_equal(getattr(read, name), value) for name, value in vars(found).items())
    drawn = multiplicities("f", "val", 4)
    expected = [np.repeat(found.hits(1), row).mean() for row in drawn[:50]]
    np.testing.assert_allclose(headline_on(found, drawn)[:50], expected)
    for _ in range(2):  # computed, then from the cache
        kept = replicates(tmp_path, "f", "val")
        assert kept is not None
        np.testing.assert_array_equal(kept.headline, headline_on(found, drawn))


def test_a_picture_is_the_centre_that_is_scored() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 80, 3), np.uint8)
    placed = centre_crop(image, 64, 32, torch.device("cpu"))
    assert placed.pixels.shape == (1, 3, 64, 64)
    assert placed.to_image(32, 32) == pytest.approx((0.5, 0.5))
    assert placed.to_image(0, 0) == pytest.approx((0.25, 0.0))
    said = most_probable((torch.tensor([[0.25, 0.75]]), None), {0: "a", 1: "b"})
    assert said == {"class": "b", "confidence": 0.75, "box": [0.0, 0.0, 1.0, 1.0]}
