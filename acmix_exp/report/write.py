"""summary.json, summary.csv, summary.md, and table.tex, which is summary.tex too, of an experiment's folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from acmix_exp.files import locked, write_json, write_text
from acmix_exp.report.latex import latex
from acmix_exp.report.table import COLUMNS, REFERENCE, summarise

HEADINGS = (
    "n",
    "mAP50-95",
    "std",
    "mAP50",
    "delta",
    "95 % interval",
    "of images",
    "verdict",
    "val last",
    "val best",
    "parameters",
    "GFLOPs",
)


def write_summary(folder: Path, reference: str = REFERENCE) -> list[dict[str, Any]]:
    """Write the five files for all finished runs so far, one writer at a time, and return the tables.

    ``reference``: the arm that the others are compared with.
    """
    with locked(folder / ".summary.lock"):
        tables = summarise(folder, reference)
        write_json(folder / "summary.json", {"name": folder.name, "tables": tables})
        write_text(folder / "summary.csv", _csv(tables))
        write_text(folder / "summary.md", markdown(folder.name, tables))
        paper = latex(folder.name, tables, [heading(table) for table in tables])
        for name in ("table.tex", "summary.tex"):  # the name that a paper's \input takes, and the summary's own
            write_text(folder / name, paper)
    return tables


def digest(tables: list[dict[str, Any]]) -> str:
    """Tells the tables of one summary.json from those of another."""
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _csv(tables: list[dict[str, Any]]) -> str:
    """All tables below one another; a ``table`` column tells them apart where there is more than one."""
    swept = list(dict.fromkeys(key for table in tables for key in table["swept_keys"]))
    several = ["table"] if len(tables) > 1 else []
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=["arm", *swept, *COLUMNS, *several], extrasaction="ignore")
    writer.writeheader()
    for number, table in enumerate(tables, 1):
        writer.writerows({**row, "table": number} for row in table["rows"])
    return text.getvalue()


def heading(table: dict[str, Any]) -> str:
    """What the rows of a table have in common, in one line."""
    s = table["settings"]
    model, train, hardware = s["model"], s["train"], s["hardware"]
    name = str(model.get("name", ""))
    parts = [f"{name}{' ' if '_' in name else ''}{model.get('scale', '')}" or "several models"]
    if "pretrained" in s:
        parts.append(f"from {Path(str(s['pretrained'])).name}" if s["pretrained"] else "from scratch")
    if s["dataset"]:
        parts.append(f"on {s['dataset']}")
    words = {"epochs": "{} epochs", "imgsz": "{} px", "batch": "batch {}", "optimizer": "{}", "lr0": "lr0 {}"}
    details = [text.format(train[key]) for key, text in words.items() if key in train]
    details += [f"{key} {value}" for key, value in (train.get("extra") or {}).items()]
    details += (
        [f"{hardware['precision']} on {hardware['device']}"] if {"precision", "device"} <= hardware.keys() else []
    )
    if s["split"]:
        details.append(f"{s['checkpoint']} on {s['split']}")
    return f"{' '.join(parts)}, {', '.join(details)}{_inserted(s)}"


def _inserted(settings: dict[str, Any]) -> str:
    """What the inserting arms share: the block's options and where it sits."""
    block, placement = settings.get("block") or {}, settings.get("placement") or {}
    text = ", ".join(f"{key} {value}" for key, value in block.items() if (key, value) != ("backend", "auto"))
    if "sites" in placement:
        text += f" {'in' if placement.get('mode') == 'replace' else 'after'} {', '.join(placement['sites'])}"
        usual = {"norm": True, "act": True, "residual": True, "zero_init": False}
        text += "".join(f", {key} {placement[key]}" for key in usual if placement.get(key, usual[key]) != usual[key])
    return f"; blocks: {text.strip()}" if text else ""


def cells(row: dict[str, Any], swept: list[str]) -> list[str]:
    """One row as text: the arm, the swept values, then HEADINGS."""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    def interval(low: float | None, high: float | None) -> str:
        return "–" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"

    return [
        str(row["arm"]),
        *("–" if row[key] is None else str(row[key]) for key in swept),
        str(row["n"]),
        number(row["map50_95_mean"], ".3f"),
        number(row["map50_95_std"], ".3f"),
        number(row["map50_mean"], ".3f"),
        number(row["delta_mean"], "+.3f"),
        interval(row["delta_low"], row["delta_high"]),
        interval(row.get("image_low"), row.get("image_high")),
        row["verdict"] or "–",
        number(row.get("val_last_mean"), ".3f"),
        number(row.get("val_best_mean"), ".3f"),
        number(row["parameters"], ",d"),
        number(row["gflops"], ".2f"),
    ]


def markdown(name: str, tables: list[dict[str, Any]]) -> str:
    lines = [f"# {name}", ""]
    for table in tables:
        swept = table["swept_keys"]
        lines += [f"{heading(table)}.", ""]
        lines.append("| " + " | ".join(["arm", *swept, *HEADINGS]) + " |")
        lines.append("| " + " | ".join(["---"] * (1 + len(swept)) + ["---:"] * len(HEADINGS)) + " |")
        lines += ["| " + " | ".join(cells(row, swept)) + " |" for row in table["rows"]]
        lines += ["", *(f"- {note}" for note in table["notes"]), ""]
    lines += [
        "Deltas are paired by seed against the reference, in mAP50-95, with a 95 % t interval over seeds and, of "
        "images, one over resampled test images with the seeds as they are; the verdict rests on exact sign-flip p "
        "values over seeds, adjusted by Holm. Val last and val best are mAP50-95 on val, of the last epoch and of the "
        "best, which is biased upward. GFLOPs are at 640 px, our blocks counted analytically.",
        "",
    ]
    return "\n".join(lines)
