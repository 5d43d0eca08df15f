"""The table of docs/scale.md is that of the committed measurement, and what it claims of it holds."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.many_runs import tables

REPO = Path(__file__).resolve().parents[2]
(MEASURED,) = (REPO / "benchmarks" / "results").glob("many_runs_cpu_*.json")


def test_the_tables_of_the_page_are_those_of_the_measurement() -> None:
    results = json.loads(MEASURED.read_text(encoding="utf-8"))["results"]
    page = (REPO / "docs" / "scale.md").read_text(encoding="utf-8")
    assert tables(results) in page
    assert MEASURED.name in page


def test_no_step_grows_faster_than_the_runs() -> None:
    results = json.loads(MEASURED.read_text(encoding="utf-8"))["results"]
    for shape in ("seeds", "grid"):
        steps = {entry["runs"]: entry["steps"] for entry in results if entry["shape"] == shape}
        few, many = min(steps), max(steps)
        for name, cost in steps[many].items():
            most = 1.5 * many / few * steps[few][name]["cpu_s"]
            assert cost["cpu_s"] <= most or cost["cpu_s"] < 0.5, (shape, name)
