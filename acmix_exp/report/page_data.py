"""What the script of report.html draws: learning curves of every run, and the stored images with their boxes.

Kept small by whole numbers and by limits; what a limit leaves out is said in ``left_out``.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from acmix_exp.files import read_json
from acmix_exp.report.figures.style import INK, Look, looks
from acmix_exp.report.language import tr
from acmix_exp.report.records import Record, Table

METRICS = {
    "map50_95": "mAP50-95 on val",
    "map50": "mAP50 on val",
    "precision": "precision on val",
    "recall": "recall on val",
    "top1": "top-1 on val",
    "top5": "top-5 on val",
}
MOST_NUMBERS = 100_000  # in the curves of a table: about 700 kB
MOST_BYTES = 900_000  # of boxes, in a table
LARGEST_IMAGE = 90_000  # bytes of a stored JPEG that is embedded as it is
LONGEST = 416  # pixels of the longer side of an image that is larger
IOU = 0.5  # from which a detection claims a box of its class
Content = dict[str, Any]
Predicted = list[list[list[int]] | None]  # boxes by image; None where a run stored another one


def page_data(tables: Sequence[Table], words: Mapping[str, str] = MappingProxyType({})) -> str:
    """JSON for a ``<script type="application/json">``: ``photos`` by name, and per table its arms, curves and images.

    ``words``: sentences of the script in another language.

    A run without history or stored images, or with damaged ones, is left out.
    """
    photos: dict[str, str] = {}
    content = {"tables": [_table(table, photos) for table in tables], "photos": photos, "words": dict(words)}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _table(table: Table, photos: dict[str, str]) -> Content:
    look = looks(table.rows)
    return {
        "reference": table.reference,
        "arms": [{"label": row.label, **_style(look[row.label])} for row in table.rows],
        "curves": curves(table),
        "images": images(table, photos),
    }


def _style(look: Look) -> Content:
    dash = "" if look.line == "solid" else " ".join(f"{2 * part:g}" for part in look.line[1])
    return {"colour": "currentColor" if look.colour == INK else look.colour, "dash": dash}


def curves(table: Table) -> Content | None:
    """``metrics``: title by key. ``runs``: by label and seed ``epochs`` and the values by key; None without any."""
    records = [(row.label, record) for row in table.rows for record in row.runs.records if record.history]
    keys = [key for key in dict.fromkeys(key for _, record in records for key in record.history[0]) if _is_drawn(key)]
    numbers = {id(record): _numbers(record, keys) for _, record in records}
    rows = [values for by_epoch in numbers.values() for values in by_epoch.values()]
    keys = [key for key in keys if any(values[key] is not None for values in rows)]
    keys.sort(key=lambda key: ([*METRICS, key].index(key), key))
    if not keys:
        return None
    last = max(epoch for by_epoch in numbers.values() for epoch in by_epoch)
    most = max(MOST_NUMBERS // (len(records) * len(keys)), 2)
    kept = {round(epoch) for epoch in np.linspace(1, last, min(most, last))}
    runs: dict[str, dict[int, Content]] = {}
    for label, record in records:
        by_epoch = {epoch: values for epoch, values in numbers[id(record)].items() if epoch in kept}
        lines = {key: [values[key] for values in by_epoch.values()] for key in keys}
        runs.setdefault(label, {})[record.seed] = {"epochs": list(by_epoch), **lines}
    left_out = tr("Of {all} epochs {some} are drawn.", all=last, some=len(kept)) if len(kept) < last else ""
    titles = {key: tr(METRICS.get(key, key)).replace("mAP", f"{table.metric} mAP".lstrip()) for key in keys}
    return {"metrics": titles, "runs": runs, "left_out": left_out}


def _is_drawn(key: str) -> bool:
    return key in METRICS or key.endswith("loss")


def _numbers(record: Record, keys: Sequence[str]) -> dict[int, dict[str, float | None]]:
    """By epoch the values by key."""
    return {int(float(row["epoch"])): {key: _number(row.get(key)) for key in keys} for row in record.history}


def _number(text: str | None) -> float | None:
    """With four digits; None for what is no finite number."""
    try:
        value = float(f"{float(text or ''):.4g}")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def images(table: Table, photos: dict[str, str]) -> Content | None:
    """The stored images of a table with ground truth, and by label, seed and image the predictions; None without any.

    Boxes are x1, y1, x2, y2 in ten-thousandths of the image and an index into ``classes``; a prediction has its
    confidence in thousandths and the index of the box that it claims, or -1, as well. ``photos`` gets the pictures.
    """
    stored = {
        (row.label, record.seed): content
        for row in table.rows
        for record in row.runs.records
        if (content := _stored(record))
    }
    classes: dict[str, int] = {}
    entries: dict[str, Content] = {}
    for of_run, folder in stored.values():
        for entry in of_run["images"]:
            if entry["name"] in entries or not (key := _photo(folder / Path(entry["file"]).name, photos)):
                continue
            truth = [[*_whole(box["box"]), _index(box["class"], classes)] for box in entry["truth"]]
            facts = {"name": entry["name"], "width": entry["width"], "height": entry["height"]}
            entries[entry["name"]] = {**facts, "photo": key, "truth": truth}
    if not entries:
        return None
    by_seed: dict[int, dict[str, Predicted]] = {}
    for (label, seed), (of_run, _) in stored.items():
        predicted = {
            entry["name"]: _predicted(entry, entries[entry["name"]]["truth"], classes)
            for entry in of_run["images"]
            if entry["name"] in entries
        }
        by_seed.setdefault(seed, {})[label] = [predicted.get(name) for name in entries]
    kept, left_out = _within_limit(by_seed)
    lowest = min(int(1000 * float(of_run.get("lowest_confidence", 0))) for of_run, _ in stored.values())
    split = next(iter(stored.values()))[0].get("split")
    return {
        "images": list(entries.values()),
        "classes": list(classes),
        "seeds": kept,
        "lowest": lowest,
        "classified": table.classifies,
        "split": split,
        "left_out": left_out,
    }


def _stored(record: Record) -> tuple[Content, Path] | None:
    """The images.json of a run and its folder, if every part of it that is drawn can be read."""
    folder = record.run.path / "images"
    content = read_json(folder / "images.json")
    try:
        assert content is not None
        for entry in content["images"]:
            for box in (*entry["truth"], *entry["predictions"]):
                x1, y1, x2, y2 = map(float, box["box"])
                assert np.isfinite([x1, y1, x2, y2, float(box.get("confidence", 0))]).all()
            sides = float(entry["width"]), float(entry["height"])
            assert min(sides) > 0
            assert all(isinstance(entry[key], str) for key in ("name", "file"))
        return (content, folder) if content["images"] else None
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _photo(path: Path, photos: dict[str, str]) -> str | None:
    """The key in ``photos`` of a JPEG file, which is added where it is new; None if it cannot be read."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if image.format != "JPEG" or len(data) > LARGEST_IMAGE:
                image.thumbnail((LONGEST, LONGEST))
                small = io.BytesIO()
                image.convert("RGB").save(small, "JPEG", quality=80)
                data = small.getvalue()
    except (OSError, ValueError, SyntaxError, ImportError, Image.DecompressionBombError):
        return None
    address = f"data:image/jpeg;base64,{base64.b64encode(data).decode('ascii')}"
    key = next((key for key, value in photos.items() if value == address), str(len(photos)))
    photos[key] = address
    return key


def _predicted(entry: Content, truth: Sequence[Sequence[int]], classes: dict[str, int]) -> list[list[int]]:
    boxes = sorted(entry["predictions"], key=lambda box: -float(box["confidence"]))
    found = [[*_whole(box["box"]), _index(box["class"], classes)] for box in boxes]
    claimed = claimed_boxes(np.array(found, dtype=float).reshape(-1, 5), np.array(truth, dtype=float).reshape(-1, 5))
    confidences = [round(1000 * float(box["confidence"])) for box in boxes]
    return [[*box, confidence, int(of)] for box, confidence, of in zip(found, confidences, claimed, strict=True)]


def claimed_boxes(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The box of its class that each detection claims, or -1: int [N].

    found: [N, 5], truth: [T, 5]: x1, y1, x2, y2 and class, detections in descending confidence. Those of lower
    confidence never change a claim, so that it holds at any threshold. As :func:`acmix_exp.matching.claims`.
    """
    corners = np.maximum(found[:, None, :2], truth[None, :, :2]), np.minimum(found[:, None, 2:4], truth[None, :, 2:4])
    shared = np.clip(corners[1] - corners[0], 0, None).prod(2)
    areas = [np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None).prod(1) for boxes in (found, truth)]
    iou = shared / np.maximum(areas[0][:, None] + areas[1][None, :] - shared, 1e-9)
    iou[(found[:, None, 4] != truth[None, :, 4]) | (iou < IOU)] = 0
    claimed = np.full(len(found), -1)
    for detection in np.flatnonzero(iou.any(1)):
        last_of_best = len(truth) - 1 - int(iou[detection, ::-1].argmax())
        if iou[detection, last_of_best] > 0:
            claimed[detection] = last_of_best
            iou[:, last_of_best] = 0
    return claimed


def _whole(box: Sequence[float]) -> list[int]:
    return [round(10_000 * float(value)) for value in box]


def _index(name: Any, classes: dict[str, int]) -> int:
    return classes.setdefault(str(name), len(classes))


def _within_limit(by_seed: Mapping[int, dict[str, Predicted]]) -> tuple[dict[int, dict[str, Predicted]], str]:
    """The seeds that most arms have first, as long as they fit; and a sentence on the others."""
    kept: dict[int, dict[str, Predicted]] = {}
    size = 0
    for seed in sorted(by_seed, key=lambda seed: (-len(by_seed[seed]), seed)):
        size += len(json.dumps(by_seed[seed], separators=(",", ":")))
        if kept and size > MOST_BYTES:
            break
        kept[seed] = by_seed[seed]
    left_out = sorted(by_seed.keys() - kept.keys())
    numbers = ", ".join(map(str, left_out))
    words = tr("Left out for their size: seeds {numbers}.", numbers=numbers) if left_out else ""
    return {seed: kept[seed] for seed in sorted(kept)}, words
