"""A COCO file of predictions, matched with the boxes of a data set's split.

The format is that of ``predictions.json`` of ultralytics and of the results that pycocotools' ``loadRes`` reads: a list
of {image_id, category_id, bbox: [x, y, width, height] in pixels, score}, with a ``file_name`` or without. A whole COCO
file (an object with ``annotations``) is read too; then its ``images`` say which file an id is, its ``categories`` which
class.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from acmix_exp.data import Sample
from acmix_exp.matching import MOST, claims_by_size, ranks
from acmix_exp.outcomes import (
    CONFUSION_CONFIDENCE,
    CONFUSION_IOU,
    THRESHOLDS,
    Boxes,
    Outcomes,
    pack,
    relative_names,
    size_bits,
)

PAIRS_AT_ONCE = 2_000_000
IN_FRACTIONS = 2.0  # pixels: no box of a file is larger if they are fractions of the image
BEYOND = 0.02  # of a side, how far a box may reach beyond it
MANY_BEYOND = 0.05  # of the predictions
# Of the numbers 1 to 90, those that COCO gave to no class.
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in COCO_GAPS)
COCO_ENDS = ("person", "toothbrush")  # its first and its last class


@dataclass(frozen=True)
class Truth:
    """The T boxes of I images, ordered by image.

    images: str [I], paths relative to their common folder, sorted. sides: float64 [I, 2], width and height in pixels.
    classes: str [C]. image: int [T]; label: int [T]; boxes: float64 [T, 4]: x, y, width, height in pixels of the
    original image.
    """

    images: np.ndarray
    sides: np.ndarray
    classes: np.ndarray
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray

    @classmethod
    def of(cls, samples: Sequence[Sample], names: Mapping[int, str]) -> Truth:
        paths = np.array(relative_names([str(sample.image) for sample in samples]))
        order = np.argsort(paths)
        rows = [samples[i].boxes.astype(np.float64) for i in order]
        sides = np.array([[samples[i].width, samples[i].height] for i in order], dtype=np.float64)
        image = np.repeat(np.arange(len(order)), [len(part) for part in rows])
        every = np.concatenate([np.zeros((0, 5)), *rows])
        scale = sides[image]
        size = every[:, 3:5] * scale
        boxes = np.concatenate([every[:, 1:3] * scale - size / 2, size], axis=1)
        return cls(
            paths[order], sides, np.array([names[i] for i in sorted(names)]), image, every[:, 0].astype(int), boxes
        )


@dataclass(frozen=True)
class Predictions:
    """What a file holds: N detections. ``image`` and ``category``: int [N], indices into the distinct ids."""

    image: np.ndarray
    image_ids: list[Any]
    category: np.ndarray
    category_ids: list[Any]
    boxes: np.ndarray  # float64 [N, 4]: x, y, width, height
    score: np.ndarray  # float64 [N]
    files: dict[Any, str]  # by image id, as the file says
    names: dict[Any, str]  # by category id, as the file says


def read(path: Path) -> Predictions:
    """Read a file of predictions. Raises ValueError, whose text says what is wrong, and OSError."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON ({error}); must be a COCO file of predictions") from None
    whole = content if isinstance(content, dict) else {}
    entries = whole.get("annotations", whole.get("predictions")) if whole else content
    if not isinstance(entries, list):
        raise ValueError("holds no list of predictions; must be a list of {image_id, category_id, bbox, score}")
    if not entries:
        raise ValueError("holds no prediction")
    try:
        boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64)
        score = np.array([entry["score"] for entry in entries], dtype=np.float64)
        image, image_ids = _numbered(entry.get("file_name", entry["image_id"]) for entry in entries)
        category, category_ids = _numbered(entry["category_id"] for entry in entries)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise ValueError(_first_fault(entries)) from None
    right = np.isfinite(boxes).all(1) & (boxes[:, 2:] >= 0).all(1) if boxes.shape == (len(entries), 4) else None
    if right is None or not (right & np.isfinite(score)).all():
        raise ValueError(_first_fault(entries))
    if boxes.max() <= IN_FRACTIONS:
        raise ValueError(f"bbox is in fractions of the image, such as {_shown(entries[0]['bbox'])}; must be in pixels")
    files = {part["id"]: str(part["file_name"]) for part in _objects(whole, "images", "file_name")}
    names = {part["id"]: str(part["name"]) for part in _objects(whole, "categories", "name")}
    return Predictions(image, image_ids, category, category_ids, boxes, score, files, names)


def _numbered(values: Iterator[Any]) -> tuple[np.ndarray, list[Any]]:
    """The index of each value among the distinct ones, and those. Raises TypeError for what cannot be an id."""
    numbers: dict[Any, int] = {}
    index = [numbers.setdefault(value, len(numbers)) for value in values]
    if wrong := next((key for key in numbers if not isinstance(key, (int, str)) or isinstance(key, bool)), None):
        raise TypeError(wrong)
    return np.array(index, dtype=np.int64), list(numbers)


def _objects(whole: Mapping[str, Any], key: str, needed: str) -> list[dict[str, Any]]:
    parts = whole.get(key)
    parts = parts if isinstance(parts, list) else []
    return [
        part for part in parts if isinstance(part, dict) and isinstance(part.get("id"), (int, str)) and needed in part
    ]


def _first_fault(entries: Sequence[Any]) -> str:
    """What is wrong with the first prediction that cannot be used."""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            return f"prediction {number} is {_shown(entry)}; must be an object {{image_id, category_id, bbox, score}}"
        for key in ("image_id", "category_id", "file_name"):
            if key not in entry and key != "file_name":
                return f"prediction {number} has no {key}; must be {{image_id, category_id, bbox, score}}"
            value = entry.get(key, "")
            if not isinstance(value, (int, str)) or isinstance(value, bool):
                return f"prediction {number}: {key} is {_shown(value)}; must be a whole number or a text"
        if "score" not in entry and "bbox" in entry:
            return f"prediction {number} has no score; must be predictions, not annotations"
        if not _is_number(entry.get("score")):
            return f"prediction {number}: score is {_shown(entry.get('score'))}; must be a number"
        box = entry.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return f"prediction {number}: bbox is {_shown(box)}; must be [x, y, width, height] in pixels"
        if min(box[2:]) < 0:
            return f"prediction {number}: bbox is {_shown(box)}; width and height must not be negative"
    return "has predictions that cannot be read; must be {image_id, category_id, bbox, score}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def _shown(value: Any) -> str:
    text = json.dumps(value) if value is not None else "missing"
    return text if len(text) <= 60 else f"{text[:57]}..."


def match(found: Predictions, truth: Truth) -> tuple[Outcomes, list[str]]:
    """The detections with the boxes they overlap, and lines on how ids were read.

    Of an image and class the 100 of the highest score count, as in COCO. Raises ValueError if the images or classes are
    not those of ``truth``.
    """
    image_of = _images(found, truth)
    boxes = found.boxes
    image = image_of[found.image]
    label, how = _labels(found, truth, image)
    order = np.lexsort((np.arange(len(image)), image, -found.score))  # as COCOeval: by image where scores are equal
    image, label, boxes, score = image[order], label[order], boxes[order], found.score[order]
    counted = ranks(image * len(truth.classes) + label) < MOST
    image, label, boxes, score = image[counted], label[counted], boxes[counted], score[counted]
    targets = np.zeros((len(truth.images), len(truth.classes)), dtype=np.uint16)
    np.add.at(targets, (truth.image, truth.label), 1)
    detection, target, iou = _overlaps(image, label, boxes, score, truth)
    lines = [how] if how else []
    beyond = ((boxes[:, :2] + boxes[:, 2:]) > truth.sides[image] * (1 + BEYOND)).any(1).mean()
    if beyond > MANY_BEYOND:
        lines.append(
            f"{beyond:.0%} of the predictions reach beyond their image; bbox must be [x, y, width, height] in pixels "
            "of the original image"
        )
    without = len(truth.images) - len(np.unique(image))
    if without:
        lines.append(f"{without} of {len(truth.images)} images have no prediction")
    outcomes = Outcomes(
        images=truth.images,
        classes=truth.classes,
        targets=targets,
        image=image.astype(np.uint32),
        label=label.astype(np.uint16),
        confidence=score,
        matches=np.zeros(len(image), np.uint16),  # filled in below
        boxes=Boxes(
            size=size_bits(boxes[:, 2] * boxes[:, 3]),
            target_image=truth.image.astype(np.uint32),
            target_label=truth.label.astype(np.uint16),
            target_size=size_bits(truth.boxes[:, 2] * truth.boxes[:, 3]),
            pair_detection=detection,
            pair_target=target,
            pair_iou=iou,
        ),
    )
    assert outcomes.boxes is not None
    return replace(outcomes, matches=pack(claims_by_size(outcomes, outcomes.boxes)[:, 0] >= 0)), lines


def _images(found: Predictions, truth: Truth) -> np.ndarray:
    """The index of the image of each distinct id. Raises ValueError if one is no image of the data set."""
    by_name: dict[str, list[int]] = {}
    for index, text in enumerate(truth.images):
        path = PurePosixPath(text)
        for name in {str(path), path.name, path.stem, str(path.with_suffix(""))}:
            by_name.setdefault(name, []).append(index)
    by_number: dict[int, list[int]] = {}
    for index, text in enumerate(truth.images):
        stem = PurePosixPath(text).stem
        if stem.isdecimal():
            by_number.setdefault(int(stem), []).append(index)
    result, unknown = np.zeros(len(found.image_ids), dtype=np.int64), []
    for number, key in enumerate(found.image_ids):
        name = found.files.get(key, key)
        places = by_name.get(str(name)) or by_name.get(PurePosixPath(str(name)).name)
        if not places and isinstance(name, (int, str)) and str(name).isdecimal():
            places = by_number.get(int(name))
        if not places:
            unknown.append(name)
        elif len(places) > 1:
            raise ValueError(
                f"image_id {_shown(key)} may be {truth.images[places[0]]} or {truth.images[places[1]]}; must be the "
                "path of one image below the folder of the split"
            )
        else:
            result[number] = places[0]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of its {len(result)} images are none of the split (the first is {_shown(unknown[0])}); "
            f"image_id must be the name of an image without suffix, such as {PurePosixPath(truth.images[0]).stem}, or "
            "the file must say in images which file_name an id is"
        )
    return result


def _labels(found: Predictions, truth: Truth, image: np.ndarray) -> tuple[np.ndarray, str]:
    """The class index [N] of each detection, and how its id was read. Raises ValueError if one is no class."""
    classes, ids = [str(name) for name in truth.classes], found.category_ids
    if found.names:
        by_name = {name: index for index, name in enumerate(classes)}
        wrong = [found.names.get(key, key) for key in ids if found.names.get(key) not in by_name]
        if wrong:
            raise ValueError(
                f"category {_shown(wrong[0])} is no class of the data set; must be one of {', '.join(classes)}"
            )
        return np.array([by_name[found.names[key]] for key in ids])[found.category], ""
    if not all(isinstance(key, int) or str(key).isdecimal() for key in ids):
        wrong = [key for key in ids if not (isinstance(key, int) or str(key).isdecimal())]
        raise ValueError(f"category_id {_shown(wrong[0])} is no number; must be 1 to {len(classes)}")
    numbers = np.array([int(key) for key in ids])
    readings = {
        "from 1": {number + 1: number for number in range(len(classes))},
        "from 0": {number: number for number in range(len(classes))},
        "as in COCO, 1 to 90": {key: number for number, key in enumerate(COCO_IDS)},
    }
    if len(classes) != len(COCO_IDS) or (classes[0], classes[-1]) != COCO_ENDS:
        del readings["as in COCO, 1 to 90"]
    possible = {how: table for how, table in readings.items() if table.keys() >= set(numbers.tolist())}
    if not possible:
        raise ValueError(
            f"category_id is {numbers.min()} to {numbers.max()}; must be 1 to {len(classes)}, for "
            f"{', '.join(classes)} in this order"
        )
    labels = {how: np.array([table[int(key)] for key in numbers])[found.category] for how, table in possible.items()}
    if len(labels) == 1:
        (how,) = labels
        return labels[how], f"classes are numbered {how}"
    # The ids leave it open: the reading by which most predictions overlap a box of their class.
    hits = {how: _hits(image, label, found.boxes, truth) for how, label in labels.items()}
    how = max(hits, key=lambda each: hits[each])
    others = " and ".join(f"{hits[each]} {each}" for each in hits if each != how)
    return labels[how], f"classes are numbered {how}: so {hits[how]} predictions overlap a box of their class, {others}"


def _hits(image: np.ndarray, label: np.ndarray, boxes: np.ndarray, truth: Truth) -> int:
    """How many predictions overlap a box of their class."""
    return len(np.unique(_overlaps(image, label, boxes, np.zeros(len(image)), truth)[0]))


def _overlaps(
    image: np.ndarray, label: np.ndarray, boxes: np.ndarray, score: np.ndarray, truth: Truth
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a detection and a box of its image that overlap, as ``acmix_exp.outcomes.Boxes`` has them; IoU float64.

    The arithmetic is that of pycocotools' ``bbIou``.
    """
    counts = np.bincount(truth.image, minlength=len(truth.images))
    starts = np.cumsum(counts) - counts
    many = counts[image]
    ends = np.cumsum(many)
    parts = []
    first = 0
    while first < len(image):
        last = max(first + 1, int(np.searchsorted(ends, (ends[first - 1] if first else 0) + PAIRS_AT_ONCE, "right")))
        of_part = many[first:last]
        detection = np.repeat(np.arange(first, last), of_part)
        offset = np.arange(of_part.sum()) - np.repeat(np.cumsum(of_part) - of_part, of_part)
        target = starts[image[detection]] + offset
        mine, others = boxes[detection], truth.boxes[target]
        sides = np.minimum(mine[:, :2] + mine[:, 2:], others[:, :2] + others[:, 2:])
        sides = np.maximum(sides - np.maximum(mine[:, :2], others[:, :2]), 0)
        inner = sides[:, 0] * sides[:, 1]
        union = mine[:, 2] * mine[:, 3] + others[:, 2] * others[:, 3] - inner
        iou = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
        same = (label[detection] == truth.label[target]) & (iou >= THRESHOLDS[0])
        kept = same | ((score[detection] > CONFUSION_CONFIDENCE) & (iou > CONFUSION_IOU))
        parts.append((detection[kept], target[kept], iou[kept]))
        first = last
    empty = (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    detection, target, iou = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
    return detection.astype(np.uint32), target.astype(np.uint32), iou
