"""Targets, and how far a measurement is from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """A target of one theme: in the cases whose fields match ``where``, ``metric`` of our form must be at least
    ``at_least`` or at most ``at_most``. Speeds and memory are relative to the form ``against``.
    """

    theme: str
    device: str
    where: dict[str, Any]
    metric: str
    against: str = "published"
    at_least: float | None = None
    at_most: float | None = None


def _cpu(metric: str, batch: int, channels: int, side: int, kernel: int, **goal: float) -> Target:
    where = {"batch": batch, "channels": channels, "side": side, "kernel": kernel, "dtype": "float32"}
    return Target("module", "cpu", where, metric, **goal)  # type: ignore[arg-type]


FP16 = {"batch": 16, "dtype": "float16"}
OPERATOR = "window_attention"
TARGETS = (
    _cpu("training_speed", 4, 128, 40, 7, at_least=7.0),
    _cpu("training_memory", 4, 128, 40, 7, at_most=0.1),
    _cpu("training_speed", 1, 64, 80, 7, at_least=6.0),
    _cpu("training_speed", 4, 128, 40, 3, at_least=3.0),
    Target("export", "cpu", {"channels": 64, "side": 40, "kernel": 7}, "forward_speed", at_least=3.0),
    Target(OPERATOR, "cuda", FP16, "training_speed", at_least=10.0),
    Target(OPERATOR, "cuda", FP16, "training_speed", "published, compiled", at_least=3.0),
    Target(OPERATOR, "cuda", FP16, "training_speed", "flex_attention", at_least=2.0),
    *(Target(OPERATOR, "cuda", FP16 | {"kernel": 7, "side": s}, "forward_roofline", at_least=0.4) for s in (80, 40)),
    *(Target(OPERATOR, "cuda", FP16 | {"kernel": 3, "side": s}, "forward_roofline", at_least=0.7) for s in (80, 40)),
    Target(OPERATOR, "cuda", FP16, "memory_over_tensors", at_most=1.3),
    *(
        Target("blocks", device, {}, f"{step}_speed", "straightforward", at_least=1 / 1.1)
        for device in ("cpu", "cuda")
        for step in ("forward", "training")
    ),
    Target("train_step", "cuda", {"scale": "n", "placement": "bottleneck_p4p5"}, "training_speed", "stock", 1 / 1.15),
)


def assess(results: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for every target of the theme and every case that it applies to, if both forms were measured."""
    rows = []
    for index, target in enumerate(TARGETS):
        for case in results["cases"]:
            fields = case["case"]
            if target.theme != results["theme"] or target.device != fields["device"]:
                continue
            if any(fields[key] != value for key, value in target.where.items()):
                continue
            measured = _measured(target, case, results["ours"])
            if measured is not None:
                rows.append({"case": case["label"], "target": index, **_verdict(target, measured)})
    return rows


def where(target: Target) -> str:
    """The cases that it applies to, in words."""
    return ", ".join(f"{key} {value}" for key, value in target.where.items())


def _measured(target: Target, case: dict[str, Any], ours: str) -> float | None:
    rows = case["rows"]
    row, other = rows.get(ours), rows.get(target.against)
    if row is None:
        return None
    step, _, what = target.metric.partition("_")
    if what == "roofline":
        return float(row["roofline"][step])
    if target.metric == "memory_over_tensors":
        tensors = case["traffic_mb"]["inputs, outputs and gradients"]
        # The peak is above the inputs and the output's gradient, which are half of the tensors.
        return float((row["memory_mb"]["training"] + tensors / 2) / tensors)
    if other is None:
        return None
    if what == "memory":
        return row["memory_mb"][step] / other["memory_mb"][step] if row["memory_mb"] and other["memory_mb"] else None
    return float(other[step]["median_ms"] / row[step]["median_ms"])


def _verdict(target: Target, measured: float) -> dict[str, Any]:
    at_least = target.at_least is not None
    goal = target.at_least if at_least else target.at_most
    assert goal is not None
    return {
        "metric": target.metric,
        "against": None if "_memory" not in target.metric and "_speed" not in target.metric else target.against,
        "goal": goal,
        "sense": "at least" if at_least else "at most",
        "measured": measured,
        "met": measured >= goal if at_least else measured <= goal,
        "share": measured / goal if at_least else goal / measured,
    }
