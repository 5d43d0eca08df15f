"""Curves from outcomes.npz against ultralytics, and the figures that are drawn from them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class, smooth

from acmix_exp.outcomes import Boxes, Outcomes, pack
from acmix_exp.report.detection_curves import CONFIDENCES, DetectionCurves, detection_curves, read_curves
from acmix_exp.report.figures import catalogue
from acmix_exp.report.figures.catalogue import draw, draw_figures
from acmix_exp.report.figures.confusion_matrices import _shares
from acmix_exp.report.figures.detection_quality import precision_recall
from acmix_exp.report.figures.style import NoData
from acmix_exp.report.table import make_tables

PUBLISHED = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/runs.tar.xz"))


def random_outcomes(seed: int, detections: int, images: int = 12, classes: int = 4) -> Outcomes:
    """The last class has no box; of the third nothing is found, if there are few detections."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, (images, classes)).astype(np.uint16)
    targets[0, : classes - 1] += 1
    targets[:, -1] = 0
    threshold = random.integers(0, 11, detections)  # true positives up to one of the IoU thresholds
    return Outcomes(
        images=np.array([f"{number:02}.png" for number in range(images)]),
        classes=np.array([f"class{number}" for number in range(classes)]),
        targets=targets,
        image=random.integers(0, images, detections).astype(np.uint32),
        label=random.integers(0, classes, detections).astype(np.uint16),
        confidence=np.sort(random.uniform(0.001, 1, detections).astype(np.float32))[::-1],
        matches=pack(np.arange(10) < threshold[:, None]),
    )


def of_ultralytics(outcomes: Outcomes) -> tuple[np.ndarray, ...]:
    target_cls = np.repeat(np.arange(len(outcomes.classes)), outcomes.targets.sum(0, dtype=int))
    hit = (outcomes.matches[:, None] >> np.arange(10) & 1).astype(bool)
    return ap_per_class(hit, outcomes.confidence.astype(np.float64), outcomes.label.astype(float), target_cls)


@pytest.mark.parametrize("detections", [0, 1, 7, 300])
@pytest.mark.parametrize("seed", range(3))
def test_the_curves_are_those_of_ultralytics(seed: int, detections: int) -> None:
    outcomes = random_outcomes(seed, detections)
    found = detection_curves(outcomes)
    _, _, _, _, _, ap, _, precision, recall, f1, x, _ = of_ultralytics(outcomes)
    assert found.area == pytest.approx(ap[:, 0].mean(), abs=1e-9)
    np.testing.assert_array_equal(CONFIDENCES, x)
    for own, theirs in ((found.precision, precision), (found.recall, recall), (found.f1, f1)):
        np.testing.assert_allclose(own, theirs.mean(0), atol=1e-9)


def test_without_a_box_there_is_no_curve() -> None:
    outcomes = random_outcomes(0, 5)
    with pytest.raises(ValueError, match="no class has a box"):
        detection_curves(replace(outcomes, targets=np.zeros_like(outcomes.targets)))


@pytest.mark.slow
@pytest.mark.parametrize("archive", PUBLISHED, ids=lambda path: path.parent.name)
def test_the_area_is_the_stored_map50_of_every_published_run(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    runs = [path.parent for path in tmp_path.glob("*/*/outcomes.npz")]
    assert len(runs) >= 12
    for run in runs:
        metrics, found = json.loads((run / "result.json").read_text())["metrics"], read_curves(run)
        assert found is not None
        best = smooth(found.f1, 0.1).argmax()
        assert found.area == pytest.approx(metrics["map50"], abs=1e-9)
        assert found.precision[best] == pytest.approx(metrics["precision"], abs=1e-9)
        assert found.recall[best] == pytest.approx(metrics["recall"], abs=1e-9)


def test_shares_are_means_of_the_columns_over_the_seeds() -> None:
    first, second = np.array([[3, 0, 1], [1, 0, 3], [0, 2, 0]]), np.array([[1, 2, 0], [1, 0, 0], [2, 0, 0]])
    shares = _shares([first, second])
    np.testing.assert_allclose(shares[:, 0], [0.5, 0.25, 0.25])
    np.testing.assert_allclose(shares[:, 1], [0.5, 0, 0.5])
    np.testing.assert_allclose(shares[:, 2], [0.125, 0.375, 0])


def matched(outcomes: Outcomes) -> Outcomes:
    """With version 2 of the file: boxes of the targets, none of which overlaps a detection."""
    image, label = (
        np.repeat(part, outcomes.targets.ravel()) for part in np.indices(outcomes.targets.shape).reshape(2, -1)
    )
    empty = np.zeros(0, np.uint32)
    boxes = Boxes(
        size=np.ones(len(outcomes.image), np.uint8),
        target_image=image.astype(np.uint32),
        target_label=label.astype(np.uint16),
        target_size=np.ones(len(label), np.uint8),
        pair_detection=empty,
        pair_target=empty,
        pair_iou=np.zeros(0, np.float32),
    )
    return replace(outcomes, boxes=boxes)


@pytest.fixture
def kept(folder, add):
    """Two rows of two seeds with outcomes, the mixed one's of version 1, and a row without."""
    for seed in range(2):
        outcomes = random_outcomes(seed, 60)
        matched(outcomes).save(add("baseline", seed, 0.3) / "outcomes.npz")
        outcomes.save(add("mixed", seed, 0.4) / "outcomes.npz")
        add("conv", seed, 0.4)
    return folder


def test_rows_without_outcomes_are_named(kept: Path) -> None:
    (table,) = make_tables(kept)
    (drawing,) = draw("precision_recall", table)
    assert [axes.get_title("left").split("\n")[0] for axes in drawing.figure.axes if axes.get_visible()] == [
        *("baseline", "mixed")
    ]
    assert drawing.caption.endswith("dashed: baseline. Without outcomes.npz: conv.")
    areas = [detection_curves(random_outcomes(seed, 60)).area for seed in range(2)]
    assert f"baseline: mAP50 {np.mean(areas):.3f}." in drawing.results
    (drawing,) = draw("confusion", table)
    assert drawing.caption.endswith("Without outcomes.npz of version 2: conv, mixed.")
    assert "baseline: class0 0 %, class1 0 %, class2 0 %." in drawing.results
    (drawing,) = draw("f1_confidence", table)
    assert "highest F1" in drawing.results


@pytest.mark.parametrize(
    ("task", "metric", "overlap"),
    [
        ("detect", "mAP50", ", IoU above 0.45, as in ultralytics."),
        ("segment", "mask mAP50", ", mask IoU above 0.45."),
        ("pose", "pose mAP50", ", OKS above 0.45."),
        ("obb", "rotated-box mAP50", ", rotated-box IoU above 0.45, as in ultralytics."),
    ],
)
def test_captions_name_what_is_matched(kept: Path, task: str, metric: str, overlap: str) -> None:
    (table,) = make_tables(kept)
    of_task = replace(table, settings={"model": {"task": task}})
    (drawing,) = draw("precision_recall", of_task)
    assert drawing.caption.startswith(f"At the threshold of {metric}, mean over the classes; the area is {metric}.")
    (drawing,) = draw("f1_confidence", of_task)
    assert f"at the threshold of {metric}, mean" in drawing.caption
    (drawing,) = draw("confusion", of_task)
    assert overlap in drawing.caption


def test_figures_of_old_runs_are_left_out_with_a_note(folder: Path, add, tmp_path: Path, monkeypatch) -> None:
    names = ("precision_recall", "f1_confidence", "confusion", "labels")
    monkeypatch.setattr(catalogue, "FIGURES", {name: catalogue.FIGURES[name] for name in names})
    path = add("baseline", 0, 0.3)
    scratch = tmp_path / "figures"
    scratch.mkdir()
    drawn, notes = draw_figures(make_tables(folder), scratch)
    assert drawn == []
    assert notes[0].startswith("left out: precision_recall, f1_confidence, confusion, because no run has a readable")
    assert notes[1].startswith("left out: labels, because the folder has no statistics of the labels")
    random_outcomes(0, 60).save(path / "outcomes.npz")
    drawn, notes = draw_figures(make_tables(folder), scratch)
    assert [figure.name for figure in drawn] == ["precision_recall", "f1_confidence"]
    assert notes[0].startswith("left out: confusion, because no run has an outcomes.npz of version 2")
    (path / "outcomes.npz").write_bytes(b"cut")
    with pytest.raises(NoData):
        list(precision_recall(make_tables(folder)[0]))
    assert draw("precision_recall", make_tables(folder)[0]) == []


def test_nothing_is_noted_before_a_run_has_finished(folder: Path, add, tmp_path: Path) -> None:
    add("baseline", 0, None)
    assert draw_figures(make_tables(folder), tmp_path) == ([], [])


def test_many_classes_are_the_most_frequent_and_without_numbers(folder: Path, add) -> None:
    outcomes = matched(random_outcomes(0, 200, classes=30))
    outcomes.save(add("baseline", 0, 0.3) / "outcomes.npz")
    (drawing,) = draw("confusion", make_tables(folder)[0])
    assert "Of 30 classes the 20 with the most boxes." in drawing.caption
    assert len(drawing.figure.axes[0].texts) == 0
    assert isinstance(read_curves(next(folder.iterdir())), DetectionCurves)
