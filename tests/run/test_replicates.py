"""mAP on resampled images is ultralytics' own on the images so often repeated."""

from __future__ import annotations

import time
from dataclasses import fields, replace

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class

from acmix_exp.outcomes import THRESHOLDS, Boxes, Outcomes, pack, relative_names, unpack
from acmix_exp.report.confusion import confusion_matrix
from acmix_exp.report.object_sizes import average_precision_by_size
from acmix_exp.run import replicates as kept
from acmix_exp.run.replicates import REPLICATES, mean_average_precision, multiplicities


def random_outcomes(seed: int, images: int = 12, classes: int = 3, most: int = 25, hits: float = 0.5) -> Outcomes:
    """Detections with matches at random and targets at least as many; no two of the same confidence."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, most + 1, images)
    image = np.repeat(np.arange(images), counts)
    label = random.integers(0, classes, len(image))
    confidence = random.permutation(len(image)).astype(np.float32)
    confidence = (confidence + 1) / (len(image) + 1)
    quality = random.random(len(image)) * (random.random(len(image)) < hits * confidence)
    hit = quality[:, None] > (THRESHOLDS - 0.5) * 2 * random.random((len(image), 1)) + 0.01
    targets = random.integers(0, 3, (images, classes))
    np.add.at(targets, (image[hit[:, 0]], label[hit[:, 0]]), 1)
    order = np.argsort(-confidence)
    return Outcomes(
        images=np.array([f"{i:03}.png" for i in range(images)]),
        classes=np.array([str(i) for i in range(classes)]),
        targets=targets.astype(np.uint16),
        image=image[order].astype(np.uint32),
        label=label[order].astype(np.uint16),
        confidence=confidence[order],
        matches=pack(hit[order]),
    )


def scored_by_ultralytics(outcomes: Outcomes, counts: np.ndarray) -> np.ndarray:
    """[10], the mAP with every image literally there as often as ``counts`` says."""
    rows = np.concatenate([np.flatnonzero(outcomes.image == i) for i in np.repeat(np.arange(len(counts)), counts)])
    targets = np.repeat(outcomes.targets, counts, axis=0).sum(0).astype(int)
    target_cls = np.repeat(np.arange(len(targets)), targets)
    ap = ap_per_class(
        unpack(outcomes.matches[rows]), outcomes.confidence[rows], outcomes.label[rows].astype(float), target_cls
    )[5]
    return ap.mean(0) if len(ap) else np.zeros(10)


CASES = [
    pytest.param({}, id="some"),
    pytest.param({"hits": 1.5}, id="many-hits"),
    pytest.param({"hits": 0.05}, id="few-hits"),
    pytest.param({"hits": 0.0}, id="no-hit"),
    pytest.param({"most": 1}, id="one-each"),
    pytest.param({"classes": 40, "most": 3}, id="classes-without-detections"),
    pytest.param({"images": 1, "classes": 1, "most": 200}, id="one-image"),
]


@pytest.mark.parametrize("sizes", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_unresampled_it_is_ultralytics_figure(sizes, seed):
    outcomes = random_outcomes(seed, **sizes)
    ones = np.ones(len(outcomes.images), dtype=int)
    (mine,) = mean_average_precision(outcomes, ones[None])
    np.testing.assert_allclose(mine, scored_by_ultralytics(outcomes, ones), atol=1e-12)


@pytest.mark.parametrize("sizes", CASES)
def test_a_multiplicity_is_the_image_repeated(sizes, monkeypatch):
    monkeypatch.setattr("acmix_exp.run.replicates.CHUNK_BYTES", 2000)  # several chunks of rows and of columns
    outcomes = random_outcomes(7, **sizes)
    weights = multiplicities("f", "val", len(outcomes.images), 25)
    weights[0] = 3
    for mine, counts in zip(mean_average_precision(outcomes, weights), weights, strict=True):
        np.testing.assert_allclose(mine, scored_by_ultralytics(outcomes, counts), atol=1e-12)


@pytest.mark.parametrize("sizes", CASES)
def test_both_ways_to_count_detections_agree_bit_for_bit(sizes, monkeypatch):
    monkeypatch.setattr("acmix_exp.run.replicates.CHUNK_BYTES", 2000)
    outcomes = random_outcomes(8, **sizes)
    weights = multiplicities("f", "val", len(outcomes.images), 25)
    values = []
    for speed in (0, 1e9):
        monkeypatch.setattr("acmix_exp.run.replicates.PRODUCT_SPEED", speed)
        values.append(mean_average_precision(outcomes, weights))
    assert np.array_equal(*values)


def test_recall_on_a_grid_point_counts_as_in_ultralytics():
    """n of 100 targets: whether n / 100 reaches a recall point is a matter of its last bit."""
    for found in range(1, 101):
        outcomes = Outcomes(
            images=np.array(["a"]),
            classes=np.array(["c"]),
            targets=np.array([[100]], np.uint16),
            image=np.zeros(found, np.uint32),
            label=np.zeros(found, np.uint16),
            confidence=np.linspace(1, 0.5, found, dtype=np.float32),
            matches=np.full(found, 2**10 - 1, np.uint16),
        )
        (mine,) = mean_average_precision(outcomes, np.ones((1, 1), int))
        np.testing.assert_allclose(mine, scored_by_ultralytics(outcomes, np.ones(1, int)), atol=1e-12)


def test_replicates_depend_on_the_data_set():
    drawn = multiplicities("f", "val", 30, 200)
    assert drawn.shape == (200, 30)
    assert (drawn.sum(1) == 30).all()
    assert np.array_equal(drawn, multiplicities("f", "val", 30, 200))
    assert not np.array_equal(drawn, multiplicities("g", "val", 30, 200))
    assert not np.array_equal(drawn, multiplicities("f", "test", 30, 200))
    assert np.var(drawn.astype(float)) == pytest.approx(29 / 30, rel=0.05)
    # frozen: a summary that is written again years later says the same
    assert multiplicities("f", "val", 5, 2).tolist() == FROZEN


FROZEN = [[1, 0, 1, 1, 2], [0, 3, 0, 1, 1]]


def test_a_thousand_replicates_of_500_images_take_seconds():
    outcomes = random_outcomes(0, images=500, most=300, hits=0.1)
    weights = multiplicities("f", "val", 500)
    began = time.process_time()
    values = mean_average_precision(outcomes, weights).mean(1)
    assert time.process_time() - began < 30
    assert len(values) == 1000
    low, high = np.quantile(values, [0.025, 0.975])
    (here,) = mean_average_precision(outcomes, np.ones((1, 500), int)).mean(1)
    assert low < here < high


def test_the_file_returns_what_was_saved(tmp_path):
    outcomes = random_outcomes(1)
    outcomes.save(tmp_path / "outcomes.npz")
    read = Outcomes.load(tmp_path / "outcomes.npz")
    assert read.boxes is None
    for name, value in vars(outcomes).items():
        if name == "boxes":
            continue
        assert getattr(read, name).dtype == value.dtype
        assert np.array_equal(getattr(read, name), value)
    assert [path.name for path in tmp_path.iterdir()] == ["outcomes.npz"]


def test_a_file_of_version_1_is_read_without_boxes(tmp_path):
    old = random_outcomes(1)
    np.savez(tmp_path / "outcomes.npz", **{name: value for name, value in vars(old).items() if name != "boxes"})
    read = Outcomes.load(tmp_path / "outcomes.npz")
    assert read.boxes is None
    assert average_precision_by_size(read) is None
    assert confusion_matrix(read) is None
    ones = np.ones((1, len(old.images)), int)
    assert np.array_equal(mean_average_precision(read, ones), mean_average_precision(old, ones))


def test_boxes_return_as_they_were_saved(tmp_path):
    random = np.random.default_rng(0)
    old = random_outcomes(1)
    boxes = Boxes(*(random.integers(0, 9, 5) for _ in fields(Boxes)))
    replace(old, boxes=boxes).save(tmp_path / "outcomes.npz")
    read = Outcomes.load(tmp_path / "outcomes.npz").boxes
    for name, value in vars(boxes).items():
        assert np.array_equal(getattr(read, name), value)


def test_bits():
    hit = np.random.default_rng(0).random((50, 10)) < 0.5
    assert np.array_equal(unpack(pack(hit)), hit)


def test_names_are_short_and_distinct():
    assert relative_names(["/d/a/1.png", "/d/b/1.png"]) == ["a/1.png", "b/1.png"]
    assert relative_names(["/d/a/1.png"]) == ["1.png"]


def test_replicates_are_computed_once(tmp_path, monkeypatch):
    random_outcomes(2).save(tmp_path / "outcomes.npz")
    first = kept.replicates(tmp_path, "f", "val")
    assert first.headline.shape == (REPLICATES,)

    def no(*_):
        raise AssertionError("computed again")

    with monkeypatch.context() as patched:
        patched.setattr(kept, "mean_average_precision", no)
        again = kept.replicates(tmp_path, "f", "val")
        assert np.array_equal(again.headline, first.headline)
        assert again.images == first.images
        with pytest.raises(AssertionError):
            kept.replicates(tmp_path, "g", "val")
    random_outcomes(3).save(tmp_path / "outcomes.npz")
    assert not np.array_equal(kept.replicates(tmp_path, "f", "val").headline, first.headline)


def test_a_damaged_file_is_none_or_computed_again(tmp_path):
    assert kept.replicates(tmp_path, "f", "val") is None
    (tmp_path / "outcomes.npz").write_bytes(b"PK")
    assert kept.replicates(tmp_path, "f", "val") is None
    random_outcomes(2).save(tmp_path / "outcomes.npz")
    first = kept.replicates(tmp_path, "f", "val")
    (tmp_path / kept.FILE).write_bytes(b"PK")
    assert np.array_equal(kept.replicates(tmp_path, "f", "val").headline, first.headline)
