"""What of a run's JSON files can be used: a file that was edited, cut or made elsewhere must not end a report."""

from __future__ import annotations

import math
from typing import Any

HEADLINE = ("map50_95", "map50")
OF_NUMBERS = ("cost", "val_best", "val_last")
PROVENANCE_OBJECTS = ("identity", "dataset", "versions", "git", "hardware", "environment", "transfer")
IDENTITY_OBJECTS = ("block", "placement", "model", "train", "hardware")


def whole_result(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """result.json as read, parts of another type left out and numbers that are none None; None without a headline."""
    value = value or {}
    metrics, cost = value.get("metrics"), value.get("cost")
    if not isinstance(metrics, dict) or not isinstance(cost, dict):
        return None
    if not all(_is_number(metrics.get(key)) for key in HEADLINE):
        return None
    classes = metrics.get("per_class")
    if classes is not None:
        found = classes.items() if isinstance(classes, dict) else ()
        metrics = {**metrics, "per_class": {name: _numbers(entry) for name, entry in found if isinstance(entry, dict)}}
    kept = {key: part for key, part in value.items() if key not in ("swept", *OF_NUMBERS) or isinstance(part, dict)}
    return {**kept, **{key: _numbers(kept[key]) for key in OF_NUMBERS if key in kept}, "metrics": metrics}


def whole_provenance(value: dict[str, Any] | None) -> dict[str, Any]:
    """provenance.json as read, without parts of another type; without ``identity`` where that is no whole one."""
    found = {
        key: part
        for key, part in (value or {}).items()
        if key not in PROVENANCE_OBJECTS or part is None or isinstance(part, dict)
    }
    identity = found.get("identity") or {}
    if not all(isinstance(identity.get(key) or {}, dict) for key in IDENTITY_OBJECTS):
        found.pop("identity")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, bool) or _is_number(value) else None for key, value in part.items()}
