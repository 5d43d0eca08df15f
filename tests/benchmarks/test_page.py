"""The page agrees with its data."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmarks import compare, measure, memory, module, page, provenance, quiet, window_attention
from benchmarks.peers import Unavailable
from benchmarks.shapes import Case
from benchmarks.targets import assess
from benchmarks.verify import Contender

CASES = [Case(2, 16, 8, 5), Case(1, 8, 6, 3)]


@pytest.fixture(params=[window_attention.THEME, module.THEME], ids=lambda theme: theme.name)
def results(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    peaks = iter(range(1, 100))
    monkeypatch.setattr(measure, "COPY_BYTES", 2**22)
    monkeypatch.setattr(memory, "cpu_peaks", lambda *_: {"forward": next(peaks) / 3, "training": next(peaks) / 7})
    monkeypatch.setattr(quiet.Watch, "others", lambda _: 0.05)
    return compare.run(request.param, CASES, compiled=False, seconds=0.0, say=lambda _: None)


def section(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    body = text.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_page_has_the_numbers_of_the_data(results: dict[str, Any], tmp_path: Path) -> None:
    data, text = page.write(results, tmp_path)
    stored = json.loads(data.read_text())
    assert stored == results
    table = section(text.read_text(), "Against")
    rows = [(case["label"], name, row) for case in stored["cases"] for name, row in case["rows"].items()]
    assert [cells[:2] for cells in table] == [[label, name] for label, name, _ in rows]
    for cells, (label, _, row) in zip(table, rows, strict=True):
        base = next(case for case in stored["cases"] if case["label"] == label)["rows"][stored["baseline"]]
        steps = ("forward", "training")
        numbers = [base[step]["median_ms"] / row[step]["median_ms"] for step in steps]
        numbers += [row["memory_mb"][step] / base["memory_mb"][step] for step in steps]
        if stored["theme"] == "window_attention":
            case = next(case for case in stored["cases"] if case["label"] == label)
            seconds = [row[step]["median_ms"] / 1e3 for step in steps]
            moved = [case["traffic_mb"][step] / 1e3 for step in steps]
            numbers += [gb / s / stored["copy_gb_s"] for gb, s in zip(moved, seconds, strict=True)]
        assert len(cells) == 3 + len(numbers)
        for cell, number in zip(cells[2:], numbers, strict=False):
            assert float(cell) == pytest.approx(number, rel=6e-3, abs=6e-4)


def test_the_page_names_versions_hardware_and_load(results: dict[str, Any], tmp_path: Path) -> None:
    data, text = page.write(results, tmp_path)
    assert re.fullmatch(rf"{results['theme']}_cpu_\d{{4}}-\d\d-\d\d\.json", data.name)
    facts = dict(section(text.read_text(), "Made with"))
    assert facts["versions: torch"] == results["provenance"]["versions"]["torch"]
    assert facts["threads"] == "1"
    assert {"hardware: cpu", "usable cores", "load average before", "load average after", "date"} <= facts.keys()
    assert str(Path.home()) not in text.read_text() + data.read_text()


def test_the_stored_command_has_no_output_path() -> None:
    argv = ["/a/benchmarks/module.py", "--set", "cpu", "--output", "/a/b", "--output=/c", "--seconds=2"]
    assert provenance._command(argv) == "python -m benchmarks.module --set cpu --seconds=2"


def test_a_note_is_added_to_page_and_data(
    results: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, text = page.write(results, tmp_path)
    monkeypatch.setattr(sys, "argv", ["page", str(data), "--note", "the reason"])
    page.main()
    assert "## Notes\n\n- the reason\n" in text.read_text()
    assert json.loads(data.read_text())["notes"] == ["the reason"]


def test_a_form_that_fails_is_listed_and_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, case: Case) -> Contender:
        if name == "absent":
            raise Unavailable("not here")
        good = module.build("published", case)
        return good if name == "published" else Contender(name, lambda: good.call() * 1.01, good.leaves)

    monkeypatch.setattr(memory, "cpu_peaks", lambda *_: None)
    monkeypatch.setattr(measure, "COPY_BYTES", 2**22)
    names = ["published", "wrong", "absent"]
    theme = compare.Theme("m", "M", "published", "wrong", lambda *_: names, build, module.reference)
    results = compare.run(theme, CASES[1:], compiled=False, seconds=0.0, say=lambda _: None)
    case = results["cases"][0]
    assert list(case["rows"]) == ["published"]
    assert case["refused"]["absent"] == "not here"
    assert re.match("wrong result, wrong: output is off by 0.0", case["refused"]["wrong"])
    assert [row[:2] for row in page.tables(results)[-1].rows] == [[case["label"], name] for name in names[1:]]


@pytest.mark.parametrize(("taken", "notes"), [(None, 0), (0.05, 0), (0.8, 1)])
def test_a_disturbed_measurement_has_a_note(taken: float | None, notes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "cpu_peaks", lambda *_: None)
    monkeypatch.setattr(measure, "COPY_BYTES", 2**22)
    monkeypatch.setattr(quiet.Watch, "others", lambda _: taken)
    results = compare.run(module.THEME, CASES[1:], compiled=False, seconds=0.0, say=lambda _: None)
    assert len(results["notes"]) == notes


def test_the_table_fits_a_terminal(results: dict[str, Any]) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    for grid in page.tables(results):
        console.print(page.terminal(grid))
    lines = console.export_text().splitlines()
    for case in results["cases"]:
        assert any(line.strip() == case["label"] for line in lines)
        for name, row in case["rows"].items():
            speed = page.figure(row["ratios"]["training_speed"])
            assert any(line.split()[: len(name.split())] == name.split() and speed in line.split() for line in lines)


def test_images_per_second_if_they_are_counted(results: dict[str, Any]) -> None:
    name = "On this machine, forward + backward"
    assert name not in [grid.heading for grid in page.tables(results)]
    results["counts_images"] = True
    grid = next(grid for grid in page.tables(results) if grid.heading == name)
    first = results["cases"][0]["rows"]["published"]
    assert float(grid.rows[0][2]) == pytest.approx(2 / first["training"]["median_ms"] * 1e3, rel=6e-3)
    assert float(grid.rows[0][3]) == pytest.approx(first["memory_mb"]["training"], rel=6e-3, abs=6e-4)


def test_targets_are_compared_with_measurements() -> None:
    def row(ms: float, mb: float) -> dict[str, Any]:
        return {"training": {"median_ms": ms}, "forward": {"median_ms": ms}, "memory_mb": {"training": mb}}

    fields = {"batch": 4, "channels": 128, "side": 40, "kernel": 7, "dtype": "float32", "device": "cpu"}
    case = {"case": fields, "label": "c", "rows": {"published": row(70.0, 100.0), "acmix_exp": row(8.0, 20.0)}}
    speed, size = assess({"theme": "module", "ours": "acmix_exp", "cases": [case]})
    assert (speed["measured"], speed["met"]) == (pytest.approx(8.75), True)
    assert (size["measured"], size["met"], size["share"]) == (pytest.approx(0.2), False, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("value", "text"), [(123.4, "123"), (12.34, "12.3"), (9.996, "10.0"), (1.234, "1.23"), (0.0123, "0.012")]
)
def test_figure(value: float, text: str) -> None:
    assert page.figure(value) == text


def test_a_gpu_set_without_a_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks.module", "--set", "gpu"])
    with pytest.raises(SystemExit) as exit:
        compare.main(module.THEME)
    assert exit.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("--set gpu needs CUDA; --set cpu does not")
