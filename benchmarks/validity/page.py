"""The table of docs/validity.md, between two markers, from the committed result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.validity.scenarios import GROUPS

REPO = Path(__file__).resolve().parents[2]
RESULTS = REPO / "benchmarks" / "results"
PAGE = REPO / "docs" / "validity.md"
BEGIN, END = "<!-- begin: python -m benchmarks.validity -->", "<!-- end -->"


def latest() -> Path:
    (path,) = RESULTS.glob("validity_cpu_*.json")
    return path


def rewritten(path: Path) -> str:
    """The page with the tables of a result."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(json.loads(path.read_text(encoding='utf-8')), path.name)}\n{END}{after}"


def tables(content: dict[str, Any], name: str) -> str:
    """Markdown: a table per group, and below them how they were made."""
    facts, lines = content["provenance"], []
    for group, heading in GROUPS.items():
        of_group = [result for result in content["results"] if result["group"] == group]
        for measures in dict.fromkeys(tuple(result["measures"]) for result in of_group):
            alike = [result for result in of_group if tuple(result["measures"]) == measures]
            lines += _table(heading, measures, alike)
    versions = facts["versions"]
    lines.append(
        f"Data: [{name}](../benchmarks/results/{name}), by `{facts['command']}`, {facts['date'][:10]}, numpy "
        f"{versions['numpy']}, {content['wall_s'] / 60:.1f} minutes on {facts['usable_cores']} cores."
    )
    return "\n".join([*lines, ""])


def _table(heading: str, measures: Sequence[str], results: Sequence[dict[str, Any]]) -> list[str]:
    rows = [
        [result["setting"], *(_share(result["measures"][name]) for name in measures), f"{result['repeats']:,d}"]
        for result in results
    ]
    header = [heading, *measures, "repeats"]
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return [*(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)), ""]


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"
