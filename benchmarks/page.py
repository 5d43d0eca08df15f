"""Results as a table on the terminal, as JSON, and as a page of ratios.

python -m benchmarks.page results/FILE.json [--note TEXT]    rewrites the page of a file
"""

from __future__ import annotations

import argparse
import json
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

STEP_NAMES = {"forward": "forward", "training": "forward + backward"}


class Grid(NamedTuple):
    """A table of texts. The first ``left`` columns are left-aligned, the others are numbers."""

    heading: str
    columns: list[str]
    rows: list[list[str]]
    left: int


def figure(value: float | None) -> str:
    """Three significant digits without an exponent."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.9995 else 3
    return f"{value:.{digits}f}"


def tables(results: dict[str, Any]) -> list[Grid]:
    grids = [_targets(results), _speed(results), _absolute(results), _refused(results)]
    return [grid for grid in grids if grid.rows]


def _targets(results: dict[str, Any]) -> Grid:
    rows = []
    for row in results["targets"]:
        metric = row["metric"].replace("training", "forward + backward").replace("_", " ")
        against = f", against {row['against']}" if row["against"] else ""
        verdict = "reached" if row["met"] else f"missed: {row['share']:.0%} of it"
        rows.append(
            [row["case"], metric + against, f"{row['sense']} {row['goal']:.3g}", figure(row["measured"]), verdict]
        )
    return Grid("Figures to reach", ["case", "figure", "goal", "measured", ""], rows, 2)


def _speed(results: dict[str, Any]) -> Grid:
    roofline = any("roofline" in row for case in results["cases"] for row in case["rows"].values())
    steps = {step: STEP_NAMES[step] for step in results["steps"]}
    columns = ["case", "form", *(f"{name}, × as fast" for name in steps.values())]
    columns += [f"{name}, memory" for name in steps.values()]
    columns += [f"{name}, of the roofline" for name in steps.values()] if roofline else []
    rows = []
    for case in results["cases"]:
        for name, row in case["rows"].items():
            ratios = row.get("ratios", {})
            keys = [f"{step}_{what}" for what in ("speed", "memory") for step in steps]
            cells = [figure(ratios.get(key)) for key in keys]
            cells += [figure(row["roofline"][step]) for step in steps] if roofline else []
            rows.append([case["label"], name, *cells, f"{row['error']:.0e}"])
    return Grid(f"Against the form “{results['baseline']}”", [*columns, "largest error"], rows, 2)


def _absolute(results: dict[str, Any]) -> Grid:
    """Images per second and memory, if the theme counts images."""
    rows = []
    for case in results["cases"] if results.get("counts_images") else []:
        for name, row in case["rows"].items():
            speed = case["case"]["batch"] / row["training"]["median_ms"] * 1e3
            peak = (row["memory_mb"] or {}).get("training")
            rows.append([case["label"], name, figure(speed), figure(peak)])
    return Grid("On this machine, forward + backward", ["case", "form", "images a second", "peak MB"], rows, 2)


def _refused(results: dict[str, Any]) -> Grid:
    rows = [[case["label"], name, why] for case in results["cases"] for name, why in case["refused"].items()]
    return Grid("Not timed", ["case", "form", "why"], rows, 3)


def terminal(grid: Grid) -> RenderableType:
    """For a terminal of 80 columns: short headings, and one table per case for comparisons of forms."""
    if grid.columns[:2] != ["case", "form"]:
        return Group(Text(grid.heading, "bold"), _rich_table(grid))
    parts: list[RenderableType] = [Text(grid.heading, "bold")]
    for label, rows in groupby(grid.rows, key=lambda row: row[0]):
        part = Grid("", grid.columns[1:], [row[1:] for row in rows], grid.left - 1)
        parts += [Text(label), _rich_table(part)]
    return Group(*parts)


SHORT = {"forward + backward": "f+b", "forward": "fwd", "of the roofline": "roof", "× as fast": "speed", ", ": "\n"}


def _rich_table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(grid.columns):
        for long, short in SHORT.items():
            name = name.replace(long, short)
        table.add_column(name, justify="right" if index >= grid.left else "left", no_wrap=name == "form")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table


def markdown(results: dict[str, Any], data: str) -> str:
    """The page; ``data`` is the name of the file with its numbers."""
    facts = results["provenance"]
    lines = [f"# {results['title']} · {hardware_name(results)} · {facts['date'][:10]}", ""]
    lines += [
        "Ratios of medians, measured in turn in one process, after output and gradients had matched the reference in "
        f"float64. Milliseconds, quartiles and megabytes: [{data}]({data}). How it is measured: "
        "[docs/benchmarks.md](../../docs/benchmarks.md).",
        "",
    ]
    for grid in tables(results):
        lines += [f"## {grid.heading}", "", *markdown_table(grid), ""]
    if results["notes"]:
        lines += ["## Notes", "", *(f"- {note}" for note in results["notes"]), ""]
    others = [case["cores_of_others"] for case in results["cases"]]
    facts = {**facts, "cores taken by others, case by case": ["unknown" if n is None else n for n in others]}
    facts["measured copy, GB/s"] = results["copy_gb_s"]
    lines += ["## Made with", "", *markdown_table(Grid("", ["", ""], _flat(facts), 2)), ""]
    return "\n".join(lines)


def markdown_table(grid: Grid) -> list[str]:
    rule = ["---:" if index >= grid.left else "---" for index in range(len(grid.columns))]
    rows = [grid.columns, rule, *([cell.replace("|", "\\|") for cell in row] for row in grid.rows)]
    return [f"| {' | '.join(row)} |" for row in rows]


def _flat(facts: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list):
            rows.append([name, " ".join(f"{item:.2f}" if isinstance(item, float) else str(item) for item in value)])
        else:
            rows.append([name, f"{value:.1f}" if isinstance(value, float) else str(value)])
    return rows


def hardware_name(results: dict[str, Any]) -> str:
    """ "cpu", or the GPU's name as a part of a file name."""
    return str(results["provenance"]["hardware"].get("gpu", "cpu")).lower().replace(" ", "-")


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """THEME_HARDWARE_DATE.json and .md in ``folder``."""
    stem = f"{results['theme']}_{hardware_name(results)}_{results['provenance']['date'][:10]}"
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / f"{stem}.json", folder / f"{stem}.md"
    data.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text.write_text(markdown(results, data.name), encoding="utf-8")
    return [data, text]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Rewrite the page of a result.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--note", action="append", default=[], help="a line for the page, stored in the data")
    arguments = parser.parse_args()
    results = json.loads(arguments.file.read_text(encoding="utf-8"))
    results["notes"] += arguments.note
    write(results, arguments.file.parent)


if __name__ == "__main__":
    main()
