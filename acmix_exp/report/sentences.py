"""The report's figures as text, and its findings as sentences."""

from __future__ import annotations

from statistics import fmean
from typing import Any

DASH = "–"
# Heading, key in summary.json, format. Of keys that a summary lacks, a dash is shown.
TABLE = (
    ("n", "n", "d"),
    ("mAP50-95", "map50_95_mean", ".4f"),
    ("std", "map50_95_std", ".4f"),
    ("mAP50", "map50_mean", ".4f"),
    ("delta", "delta_mean", "+.4f"),
    ("95 % from", "delta_low", "+.4f"),
    ("to", "delta_high", "+.4f"),
    ("verdict", "verdict", ""),
    ("p", "p", ".4f"),
    ("p adjusted", "p_adjusted", ".4f"),
    ("p at least", "p_floor", ".4f"),
    ("of images from", "image_low", "+.4f"),
    ("to", "image_high", "+.4f"),
    ("last on val", "val_last_mean", ".4f"),
    ("best on val", "val_best_mean", ".4f"),
)
# Heading, key in the runs' cost, format.
COSTS = (
    ("parameters", "parameters", ",.0f"),
    ("GFLOPs", "gflops", ".2f"),
    ("of blocks", "gflops_block", ".3f"),
    ("Stage I", "gflops_stage1", ".3f"),
    ("Stage II", "gflops_stage2", ".3f"),
    ("ultralytics says", "gflops_ultralytics", ".2f"),
    ("ms, batch 1", "latency_ms_b1", ".2f"),
    ("p95", "latency_ms_b1_p95", ".2f"),
    ("ms, batch 32", "latency_ms_b32", ".1f"),
    ("peak MB", "peak_memory_mb", ",.0f"),
    ("train min", "train_seconds", ".1f"),
)
TABLE_COLUMNS = [heading for heading, _, _ in TABLE]
COST_COLUMNS = [heading for heading, _, _ in COSTS]


def number(value: Any, form: str) -> str:
    """A number as text, a dash where there is none."""
    return format(value, form) if isinstance(value, (int, float)) and not isinstance(value, bool) else DASH


def table_cells(summary: dict[str, Any], swept: list[str]) -> list[dict[str, Any]]:
    """A row's cells: ``key`` and raw ``value`` as in summary.json, and ``text``."""
    cells = [{"key": key, "value": summary[key], "text": _text(summary[key]), "numeric": False} for key in swept]
    for _, key, form in TABLE:
        value = summary.get(key)
        text = number(value, form) if form else _text(value)
        cells.append({"key": key, "value": value, "text": text, "numeric": bool(form)})
    return cells


def cost_cells(row: dict[str, Any]) -> list[str]:
    """Means over a row's runs; of times one figure for each kind of machine, in the order of the runs. Latencies of
    ``task=profile`` where the summary has them from there."""
    summary = row["summary"]
    texts = []
    for _, key, form in COSTS:
        if key.startswith("latency") and summary["latency_from"] == "profile":
            texts.append(number(summary[key], form))
            continue
        machines: dict[str, list[float]] = {}
        for run in row["runs"]:
            value = run["cost"].get(key)
            if isinstance(value, (int, float)):
                measured = key.startswith("latency") or key in ("train_seconds", "peak_memory_mb")
                machines.setdefault(run["machine"] if measured else "", []).append(value)
        scale = 60 if key == "train_seconds" else 1
        texts.append(" / ".join(number(fmean(values) / scale, form) for values in machines.values()) or DASH)
    return texts


def latencies_by(rows: list[dict[str, Any]]) -> str:
    """Who measured the latencies of a table, in a sentence; empty where it has none."""
    found = {row["summary"]["latency_from"] for row in rows}
    if "profile" in found:
        return "Latencies are those of task=profile, in which the networks took turns."
    return "Latencies are the runs' own, measured at their end." if found - {None} else ""


def lead(rows: list[dict[str, Any]]) -> str:
    """The finding of a table in one or two sentences."""
    verdicts: dict[str, list[str]] = {}
    controls = []
    for row in rows:
        verdict = str(row["summary"]["verdict"] or "").split(" (")[0]
        if row["deltas"] and row["summary"]["in_family"]:
            verdicts.setdefault(verdict, []).append(row["label"])
        elif row["deltas"]:
            controls.append(f"{row['label']}, a test of the harness: {verdict}.")
    name = next((row["arm"] for row in rows if row["summary"]["verdict"] == "reference"), "the reference")
    parts = [
        f"{start} {name}: {', '.join(verdicts[key])}."
        for key, start in (
            ("better", "Better than"),
            ("worse", "Worse than"),
            ("no difference shown", "No difference shown to"),
        )
        if key in verdicts
    ]
    if "n too small to tell" in verdicts:
        parts.append(f"Too few seeds to tell: {', '.join(verdicts['n too small to tell'])}.")
    if parts or controls:
        return " ".join([*parts, *controls])
    if not any(row["runs"] for row in rows):
        return "No run is finished yet."
    return "There is nothing to compare with: no pair of finished runs of an arm and its reference shares a seed."


def conclusion(row: dict[str, Any], reference: str) -> str:
    """What the row's seeds say against the reference."""
    summary = row["summary"]
    text = f"{summary['delta_mean']:+.4f} mAP50-95 against {reference}"
    if summary["delta_low"] is not None:
        text += f", 95 % interval {summary['delta_low']:+.4f} to {summary['delta_high']:+.4f}"
    if summary["image_low"] is not None:
        text += f" over seeds and {summary['image_low']:+.4f} to {summary['image_high']:+.4f} over test images"
    if summary["p_adjusted"] is not None:
        text += f", adjusted p {summary['p_adjusted']:.3g}"
    count = len(row["deltas"])
    return f"{text}, {count} paired seed{'' if count == 1 else 's'}."


def _text(value: Any) -> str:
    return DASH if value is None else str(value)
