"""AP by object size from what a run keeps is that of a literal COCO evaluation of the boxes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics.utils import metrics

from acmix_exp.matching import RANGES, claims_by_size, ranks, with_claimed_pairs
from acmix_exp.outcomes import SIZES, THRESHOLDS, Outcomes, pack, size_bits
from acmix_exp.report.confusion import confusion_matrix
from acmix_exp.report.object_sizes import average_precision_by_size
from acmix_exp.yolo.evaluation import to_outcomes
from acmix_exp.yolo.validators import box_areas, overlaps

Image = dict[str, np.ndarray]


def made_up(seed: int, images: int = 8, classes: int = 3, most: int = 12) -> list[Image]:
    """Boxes of all sizes with crowded neighbours, and detections beside them; no two of one confidence."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(images):
        count = random.integers(0, most + 1)
        side = np.exp(random.uniform(np.log(12), np.log(160), (count, 2)))
        corner = random.uniform(0, 480, (count, 2))
        boxes = np.concatenate([corner, corner + side], axis=1)
        label = random.integers(0, classes, count)
        source = np.repeat(np.arange(count), random.integers(0, 5, count))
        shift = random.normal(0, 0.08, (len(source), 4)) * np.tile(side[source], 2)
        found = np.where(random.random(len(source)) < 0.8, label[source], random.integers(0, classes, len(source)))
        result.append(
            {
                "boxes": boxes.astype(np.float32),
                "label": label,
                "found_boxes": (boxes[source] + shift).astype(np.float32),
                "found": found,
                "confidence": random.random(len(source)).astype(np.float32),
            }
        )
    return result


def recorded(images: list[Image], classes: int = 3) -> Outcomes:
    """As an evaluation records them."""
    recorded, stats = [], {key: [] for key in ("tp", "conf", "pred_cls", "target_cls")}
    for image in images:
        preds = {"bboxes": image["found_boxes"], "cls": image["found"], "conf": image["confidence"]}
        batch = {"bboxes": torch.tensor(image["boxes"]), "cls": torch.tensor(image["label"])}
        batch |= {"imgsz": (640, 640), "ori_shape": (640, 640), "ratio_pad": ((1.0, 1.0), (0.0, 0.0))}
        found = {key: torch.tensor(value) for key, value in preds.items()}
        iou = metrics.box_iou(batch["bboxes"], found["bboxes"]).T
        recorded.append(overlaps(found, batch, iou, box_areas(found, batch), box_areas(batch, batch)))
        stats["tp"].append(np.zeros((len(image["found"]), 10), bool))
        for key, value in (("conf", "confidence"), ("pred_cls", "found"), ("target_cls", "label")):
            stats[key].append(image[value])
    names = [f"/d/{i:03}.png" for i in reversed(range(len(images)))]  # evaluated in another order than sorted
    outcomes = to_outcomes(names, stats, recorded, [str(i) for i in range(classes)])
    return replace(outcomes, matches=pack(claims_by_size(outcomes, outcomes.boxes)[:, 0] >= 0))


def box_iou(first: np.ndarray, second: np.ndarray) -> float:
    width, height = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    inner = max(width, 0) * max(height, 0)
    return inner / (area(first) + area(second) - inner)


def area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def literal(images: list[Image], label: int, limits: tuple[float, float], threshold: float, most: int) -> float:
    """AP of one class, range and threshold by the rules of COCOeval, one box at a time; NaN without a box."""
    scored, positives = [], 0
    for image in images:
        boxes = [np.clip(box, 0, 640).astype(float) for box in image["boxes"][image["label"] == label]]
        outside = [not limits[0] <= area(box) <= limits[1] for box in boxes]
        positives += outside.count(False)
        mine = np.flatnonzero(image["found"] == label)
        taken = [False] * len(boxes)
        for i in mine[np.argsort(-image["confidence"][mine], kind="stable")][:most]:
            box = image["found_boxes"][i].astype(float)
            free = [(box_iou(box, other), j) for j, other in enumerate(image["boxes"][image["label"] == label])]
            free = [(iou, j) for iou, j in free if iou >= threshold and not taken[j]]
            best = max([each for each in free if not outside[each[1]]] or free, default=None)
            if best is not None:
                taken[best[1]] = True
                ignored = outside[best[1]]
            else:
                ignored = not limits[0] <= area(np.clip(box, 0, 640)) <= limits[1]
            if not ignored:
                scored.append((image["confidence"][i], best is not None))
    if not positives:
        return np.nan
    hits = np.cumsum([hit for _, hit in sorted(scored, key=lambda each: -each[0])])
    recall, precision = hits / positives, hits / np.arange(1, len(hits) + 1)
    return float(np.mean([max(precision[recall >= point], default=0.0) for point in np.linspace(0, 1, 101)]))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_a_literal_evaluation(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acmix_exp.report.object_sizes.MOST", 6)
    images = made_up(seed)
    found = average_precision_by_size(recorded(images))
    limits = {"all": (0.0, 1e10), **SIZES}
    differ = set()
    for name in RANGES:
        for label in range(3):
            for k in (0, 3, 7):
                expected = literal(images, label, limits[name], THRESHOLDS[k], 6)
                assert found[name][label, k] == pytest.approx(expected, abs=1e-9, nan_ok=True)
                differ.add(round(expected, 3))
    assert len(differ) > 20


@pytest.mark.parametrize("seed", range(4))
def test_pairs_that_nothing_claims_are_not_needed(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recorded(made_up(seed))
    pruned = with_claimed_pairs(whole)
    assert len(pruned.boxes.pair_iou) < 0.7 * len(whole.boxes.pair_iou)
    for most in (100, 2):
        monkeypatch.setattr("acmix_exp.report.object_sizes.MOST", most)
        found, expected = (average_precision_by_size(outcomes) for outcomes in (pruned, whole))
        for name in RANGES:
            np.testing.assert_array_equal(found[name], expected[name])
    for confidence in (0.25, 0.5, 0.8):
        assert np.array_equal(confusion_matrix(pruned, confidence), confusion_matrix(whole, confidence))


def test_an_area_on_a_limit_is_in_both_ranges() -> None:
    areas = np.array([1.0, 1023.9, 1024.0, 1024.04, 1024.1, 9215.0, 9216.0, 9217.0, 1e9])
    assert size_bits(areas).tolist() == [1, 1, 3, 3, 2, 2, 6, 4, 4]
    assert size_bits(np.zeros(0)).tolist() == []


def test_no_box_and_no_detection() -> None:
    empty: dict[str, Any] = {
        "boxes": np.zeros((0, 4), np.float32),
        "label": np.zeros(0, int),
        "found_boxes": np.zeros((0, 4), np.float32),
        "found": np.zeros(0, int),
        "confidence": np.zeros(0, np.float32),
    }
    assert all(np.isnan(values).all() for values in average_precision_by_size(recorded([empty, empty])).values())


def test_ranks() -> None:
    assert ranks(np.array([5, 1, 5, 5, 1, 2])).tolist() == [0, 0, 1, 2, 1, 0]
    assert ranks(np.zeros(0, int)).tolist() == []


@pytest.mark.slow
def test_five_thousand_images_take_seconds() -> None:
    outcomes = recorded(made_up(0, images=5000, classes=20, most=15), classes=20)
    began = time.process_time()
    average_precision_by_size(outcomes)
    assert time.process_time() - began < 20
