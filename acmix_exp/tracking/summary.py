"""``result.json`` as a W&B summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summarize(result: Mapping[str, Any]) -> dict[str, Any]:
    """The flat summary of a run's result; missing values are left out.

    Keys: map50, map50_95, precision, recall, split, checkpoint (the headline); of another task than detection task and
    metric, and of masks and keypoints box/* with the metrics of the boxes; of a network with two heads also head,
    heads/nms/* and heads/nms_free/* with the metrics of each; val_best/* and val_last/*
    (epoch, map50, map50_95); parameters, gflops and the other costs by name; audit/transferred, audit/rebuilt,
    audit/new and, if there are any, audit/converted and audit/unused (numbers of tensors); per_class/<class>/<metric>.
    The tracker adds the last as a table, per_class.
    """
    flat: dict[str, Any] = {}
    for group, prefix in (("metrics", ""), ("cost", ""), ("val_best", "val_best/"), ("val_last", "val_last/")):
        for key, value in (result.get(group) or {}).items():
            if isinstance(value, (bool, int, float, str)):
                flat[f"{prefix}{key}"] = value
    boxes = (result.get("metrics") or {}).get("box") or {}
    flat |= {f"box/{key}": value for key, value in boxes.items()}
    heads = (result.get("metrics") or {}).get("heads") or {}
    flat |= {f"heads/{name}/{key}": value for name, metrics in heads.items() for key, value in metrics.items()}
    flat |= {f"audit/{key}": len(tensors) for key, tensors in (result.get("audit") or {}).items()}
    for name, metrics in per_class(result).items():
        flat |= {f"per_class/{name}/{key}": value for key, value in metrics.items()}
    return flat


def per_class(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics by class name, or {}."""
    return (result.get("metrics") or {}).get("per_class") or {}


def table(classes: Mapping[str, Mapping[str, Any]]) -> tuple[list[str | int], list[list[Any]]]:
    """Columns (class first) and rows of the per-class table."""
    keys = sorted({key for metrics in classes.values() for key in metrics})
    return ["class", *keys], [[name, *(metrics.get(key) for key in keys)] for name, metrics in classes.items()]
