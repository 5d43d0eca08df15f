"""COCO files of predictions: their AP is that of pycocotools, and what is wrong with them is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acmix_exp.data import Sample
from acmix_exp.matching import RANGES
from acmix_exp.report import coco_predictions
from acmix_exp.report.coco_predictions import COCO_IDS, Truth, match, read
from acmix_exp.report.object_sizes import average_precision_by_size, mean
from acmix_exp.run.replicates import mean_average_precision
from tests.report.test_object_sizes import made_up

NAMES = {0: "cat", 1: "dog", 2: "bird"}


def samples(images: list[dict[str, np.ndarray]], side: int = 640) -> list[Sample]:
    """The boxes of ``made_up`` as those of a data set."""
    result = []
    for number, image in enumerate(images):
        corners = image["boxes"].astype(float)
        size = corners[:, 2:] - corners[:, :2]
        rows = np.concatenate([image["label"][:, None], (corners[:, :2] + size / 2) / side, size / side], axis=1)
        result.append(Sample(Path(f"/d/images/{number:04}.jpg"), side, side, rows.astype(np.float32)))
    return result


def predictions(images: list[dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """The detections of ``made_up`` as a COCO file has them."""
    result = []
    for number, image in enumerate(images):
        for box, label, score in zip(image["found_boxes"], image["found"], image["confidence"], strict=True):
            x, y, right, below = (round(float(value), 3) for value in box)
            bbox = [x, y, right - x, below - y]
            entry = {"image_id": number, "category_id": int(label) + 1, "bbox": bbox, "score": round(float(score), 5)}
            result.append(entry)
    return result


def written(folder: Path, content: Any) -> Path:
    path = folder / "predictions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def by_pycocotools(truth: Truth, content: list[dict[str, Any]], folder: Path) -> np.ndarray:
    """AP of all, small, medium and large boxes."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [
        {
            "id": number + 1,
            "image_id": int(image),
            "category_id": int(label) + 1,
            "bbox": box.tolist(),
            "area": float(box[2] * box[3]),
            "iscrowd": 0,
        }
        for number, (image, label, box) in enumerate(zip(truth.image, truth.label, truth.boxes, strict=True))
    ]
    whole = {
        "images": [{"id": number, "width": 640, "height": 640} for number in range(len(truth.images))],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(truth.classes)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(whole))
    coco = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes([dict(entry) for entry in content]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[[0, 3, 4, 5]]


@pytest.mark.parametrize(("seed", "sizes"), [(0, {}), (1, {"most": 40}), (2, {"images": 30}), (3, {"most": 2})])
def test_average_precision_is_that_of_pycocotools(tmp_path: Path, seed: int, sizes: dict[str, int]) -> None:
    images = made_up(seed, **sizes)
    content = predictions(images)
    truth = Truth.of(samples(images), NAMES)
    outcomes, _ = match(read(written(tmp_path, content)), truth)
    found = average_precision_by_size(outcomes)
    expected = by_pycocotools(truth, content, tmp_path)
    values = [-1 if (value := mean(found[name])) is None else value for name in RANGES]
    assert values == pytest.approx(expected.tolist(), abs=1e-4)
    (value,) = mean_average_precision(outcomes, np.ones((1, len(images)), int), coco=True)
    assert value.mean() == pytest.approx(expected[0], abs=1e-4)


def test_only_a_hundred_detections_of_an_image_and_class_count(tmp_path: Path) -> None:
    images = made_up(4, images=3)
    content = [{**entry, "score": entry["score"] / 2} for entry in predictions(images)]
    random = np.random.default_rng(0)
    for number in range(150):
        box = [*random.uniform(0, 500, 2), *random.uniform(5, 100, 2)]
        content.append({"image_id": 0, "category_id": 1, "bbox": box, "score": 0.4 + number / 1000})
    truth = Truth.of(samples(images), NAMES)
    outcomes, _ = match(read(written(tmp_path, content)), truth)
    expected = by_pycocotools(truth, content, tmp_path)
    assert [mean(average_precision_by_size(outcomes)[name]) for name in RANGES] == pytest.approx(
        expected.tolist(), abs=1e-4
    )
    assert (np.bincount(outcomes.image[outcomes.label == 0]) <= 100).all()


def outcomes_of(tmp_path: Path, content: Any, images: list[Any], names: dict[int, str] = NAMES) -> Any:
    return match(read(written(tmp_path, content)), Truth.of(samples(images), names))


def test_ids_as_people_write_them(tmp_path: Path) -> None:
    images = made_up(5)
    plain, how = outcomes_of(tmp_path, predictions(images), images)
    assert how[0] == "classes are numbered from 1"

    def same(content: Any, line: str) -> None:
        other, lines = outcomes_of(tmp_path, content, images)
        assert np.array_equal(other.matches, plain.matches)
        assert np.array_equal(other.label, plain.label)
        assert line in " ".join(lines)

    named = [{**entry, "image_id": 3, "file_name": f"{entry['image_id']:04}.jpg"} for entry in predictions(images)]
    same(named, "from 1")
    texts = [{**entry, "image_id": f"{entry['image_id']:04}"} for entry in predictions(images)]
    same(texts, "from 1")
    same([{**entry, "image_id": entry["image_id"] + ".jpg"} for entry in texts], "from 1")
    same([{**entry, "category_id": entry["category_id"] - 1} for entry in predictions(images)], "from 0")
    whole = {
        "images": [{"id": 900 - number, "file_name": f"val/{number:04}.jpg"} for number in range(len(images))],
        "categories": [{"id": 70 - number, "name": name} for number, name in NAMES.items()],
        "annotations": [
            {**entry, "image_id": 900 - entry["image_id"], "category_id": 71 - entry["category_id"]}
            for entry in predictions(images)
        ],
    }
    same(whole, "")


def test_an_open_numbering_is_the_one_that_fits(tmp_path: Path) -> None:
    """Ids 1 and 2 of four classes may be the first two, or the second and the third."""
    images = made_up(6, classes=2)
    names = {0: "a", 1: "cat", 2: "dog", 3: "b"}
    shifted = [{**image, "label": image["label"] + 1} for image in images]
    outcomes, lines = outcomes_of(tmp_path, predictions(images), shifted, names)
    assert set(outcomes.label) == {1, 2}
    assert "from 0: so" in lines[0]
    outcomes, lines = outcomes_of(tmp_path, predictions(images), images, names)
    assert set(outcomes.label) == {0, 1}
    assert "from 1: so" in lines[0]


def test_numbers_of_coco(tmp_path: Path) -> None:
    images = made_up(7, classes=80)
    names = {number: f"class {number}" for number in range(80)} | {0: "person", 79: "toothbrush"}
    content = [{**entry, "category_id": COCO_IDS[entry["category_id"] - 1]} for entry in predictions(images)]
    outcomes, lines = outcomes_of(tmp_path, content, images, names)
    assert lines[0].startswith("classes are numbered as in COCO, 1 to 90")
    plain, _ = outcomes_of(tmp_path, predictions(images), images, {**names, 0: "man"})
    assert np.array_equal(outcomes.matches, plain.matches)


def test_images_without_a_prediction_are_counted(tmp_path: Path) -> None:
    images = made_up(0)
    content = [entry for entry in predictions(images) if entry["image_id"] > 1]
    assert outcomes_of(tmp_path, content, images)[1][-1] == "2 of 8 images have no prediction"


def test_boxes_of_another_form_are_noticed(tmp_path: Path) -> None:
    images = made_up(0)
    content = predictions(images)
    corners = [
        {**e, "bbox": [*e["bbox"][:2], e["bbox"][0] + e["bbox"][2], e["bbox"][1] + e["bbox"][3]]} for e in content
    ]
    assert "of the predictions reach beyond their image" in outcomes_of(tmp_path, corners, images)[1][-1]
    assert "reach" not in " ".join(outcomes_of(tmp_path, content, images)[1])
    fractions = [{**entry, "bbox": [side / 640 for side in entry["bbox"]]} for entry in content]
    with pytest.raises(ValueError, match="bbox is in fractions of the image"):
        outcomes_of(tmp_path, fractions, images)


ENTRY = {"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
WRONG = {
    "no JSON": ("[{", "is no JSON"),
    "no list": ({"images": []}, "holds no list of predictions"),
    "a text": ('"a"', "holds no list of predictions"),
    "empty": ([], "holds no prediction"),
    "annotations": ([{key: ENTRY[key] for key in ("image_id", "category_id", "bbox")}], "prediction 0 has no score"),
    "no bbox": (
        [ENTRY, {key: ENTRY[key] for key in ("image_id", "category_id", "score")}],
        "prediction 1: bbox is mis",
    ),
    "corners": ([{**ENTRY, "bbox": [1, 2, 3]}], r"prediction 0: bbox is \[1, 2, 3\]; must be"),
    "negative": ([{**ENTRY, "bbox": [1, 2, -3, 4]}], "must not be negative"),
    "nan": ([{**ENTRY, "score": float("nan")}], "prediction 0: score is NaN"),
    "infinite": ([{**ENTRY, "bbox": [1, 2, float("inf"), 4]}], "prediction 0: bbox is"),
    "huge": ('[{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1e999}]', "prediction 0: score"),
    "texts": ([{**ENTRY, "score": "high"}], 'prediction 0: score is "high"'),
    "list id": ([{**ENTRY, "image_id": [1]}], r"prediction 0: image_id is \[1\]"),
    "no id": ([{key: ENTRY[key] for key in ("category_id", "bbox", "score")}], "prediction 0 has no image_id"),
    "no class": ([{key: ENTRY[key] for key in ("image_id", "bbox", "score")}], "prediction 0 has no category_id"),
    "no entry": ([ENTRY, 3], "prediction 1 is 3"),
    "other images": ([ENTRY, {**ENTRY, "image_id": "cat7"}], '1 of its 2 images are none of the split .*"cat7"'),
    "other classes": ([{**ENTRY, "category_id": 4}], "category_id is 4 to 4; must be 1 to 3, for cat, dog, bird"),
    "a class name": ([{**ENTRY, "category_id": "cat"}], 'category_id "cat" is no number'),
    "its own classes": (
        {"annotations": [ENTRY], "categories": [{"id": 1, "name": "cow"}]},
        'category "cow" is no class of the data set; must be one of cat, dog, bird',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_line(tmp_path: Path, name: str) -> None:
    content, line = WRONG[name]
    with pytest.raises(ValueError, match=line) as caught:
        outcomes_of(tmp_path, content, made_up(0))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_deeply_nested_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no JSON"):
        read(written(tmp_path, "[" * 100_000))


def test_two_images_of_one_name_need_their_folder(tmp_path: Path) -> None:
    images = made_up(0, images=2)
    rows = samples(images)
    rows = [Sample(Path(f"/d/{folder}/0.jpg"), 640, 640, row.boxes) for folder, row in zip("ab", rows, strict=True)]
    truth = Truth.of(rows, NAMES)
    assert match(read(written(tmp_path, [{**ENTRY, "image_id": "b/0"}])), truth)[0].image.tolist() == [1]
    with pytest.raises(ValueError, match=r'image_id "0" may be a/0.jpg or b/0.jpg'):
        match(read(written(tmp_path, [{**ENTRY, "image_id": "0"}])), truth)


def test_pairs_do_not_depend_on_how_many_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = made_up(1)
    whole, _ = outcomes_of(tmp_path, predictions(images), images)
    monkeypatch.setattr(coco_predictions, "PAIRS_AT_ONCE", 7)
    parts, _ = outcomes_of(tmp_path, predictions(images), images)
    for name, value in vars(whole.boxes).items():
        assert np.array_equal(getattr(parts.boxes, name), value)
