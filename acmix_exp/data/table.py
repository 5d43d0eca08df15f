"""What an inspection found, on one screen."""

from __future__ import annotations

import os
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from acmix_exp.data.inspection import Inspection

_MOST_CLASSES = 8  # rows; the rest is summed up in one
_MOST_WARNINGS = 4


def report_table(inspection: Inspection) -> RenderableType:
    """Boxes by class and split, images, problems and the first warnings: at most a screen of 24 lines."""
    splits = list(inspection.images)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    rows = _class_rows(inspection)
    for name, counts in rows:
        table.add_row(escape(name), *(f"{count:,}" for count in counts))
    table.add_section()
    table.add_row("boxes", *(f"{inspection.boxes[split]:,}" for split in splits))
    table.add_row("images", *(f"{inspection.images[split]:,}" for split in splits))
    title = Text(f"{inspection.name}  ({_short(inspection.source)})", overflow="ellipsis", no_wrap=True)
    lines: list[RenderableType] = [title, table]
    if inspection.problems:
        summary = "; ".join(f"{count:,} {kind}" for kind, count in inspection.problems.items())
        lines.append(Text(summary, style="yellow"))
        shown = inspection.warnings[:_MOST_WARNINGS]
        place = f"{inspection.source if inspection.source.is_dir() else inspection.source.parent}{os.sep}"
        lines += [Text(f"  {line.removeprefix(place)}", overflow="ellipsis", no_wrap=True) for line in shown]
        if len(inspection.warnings) > len(shown):
            lines.append(Text(f"  and {len(inspection.warnings) - len(shown):,} more"))
    else:
        lines.append(Text("no problems found", style="green"))
    lines.append(Text(f"fingerprint {inspection.fingerprint[:16]}", style="dim"))
    return Group(*lines)


def _class_rows(inspection: Inspection) -> list[tuple[str, list[int]]]:
    """Every class in its own order; of many, the commonest in train, and one row for all others together."""
    splits = list(inspection.images)
    names = list(inspection.counts[splits[0]])
    rows = [(name, [inspection.counts[split][name] for split in splits]) for name in names]
    if len(rows) <= _MOST_CLASSES:
        return rows
    ranked = sorted(rows, key=lambda row: -row[1][0])
    rest = ranked[_MOST_CLASSES - 1 :]
    fewest, most = rest[-1][1][0], rest[0][1][0]
    label = f"{len(rest)} others ({fewest:,} to {most:,} in {splits[0]})"
    return [
        *ranked[: _MOST_CLASSES - 1],
        (label, [sum(row[1][i] for row in rest) for i in range(len(splits))]),
    ]


def _short(path: Path) -> str:
    """A path as one would type it from here."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith(os.path.join("..", "..")) else str(path)
