"""``result.json`` as a W&B summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

AUDIT_KEYS = ("transferred", "rebuilt", "new")


def summarize(result: Mapping[str, Any]) -> dict[str, Any]:
    """The flat summary of a run's result; missing values are left out.

    Keys: map50, map50_95, precision, recall, split, checkpoint (the headline); val_best/* and val_last/*
    (epoch, map50, map50_95); parameters, gflops and the other costs by name; audit/transferred,
    audit/rebuilt, audit/new (numbers of tensors); per_class/<class>/<metric>. The tracker adds the last as a table,
    per_class.
    """
    flat: dict[str, Any] = {}
    for group, prefix in (("metrics", ""), ("cost", ""), ("val_best", "val_best/"), ("val_last", "val_last/")):
        for key, value in _mapping(result.get(group)).items():
            if isinstance(value, (bool, int, float, str)):
                flat[f"{prefix}{key}"] = value
    audit = _mapping(result.get("audit"))
    for key in AUDIT_KEYS:
        if key in audit:
            flat[f"audit/{key}"] = _count(audit[key])
    for name, metrics in per_class(result).items():
        for key, value in metrics.items():
            flat[f"per_class/{name}/{key}"] = value
    return flat


def per_class(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics by class name, or {}."""
    classes = _mapping(_mapping(result.get("metrics")).get("per_class"))
    return {str(name): dict(_mapping(metrics)) for name, metrics in classes.items()}


def table(classes: Mapping[str, Mapping[str, Any]]) -> tuple[list[str | int], list[list[Any]]]:
    """Columns (class first) and rows of the per-class table."""
    keys = sorted({key for metrics in classes.values() for key in metrics})
    return ["class", *keys], [[name, *(metrics.get(key) for key in keys)] for name, metrics in classes.items()]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    """Number of tensors: an audit holds their names or their number."""
    return len(value) if isinstance(value, Sequence | Mapping) and not isinstance(value, str) else int(value)
