"""The table as a reader sees it, on terminals of several widths."""

import io

import pytest
from rich.console import Console

from acmix_exp.report import terminal as module
from acmix_exp.report.terminal import terminal

HEADING = (
    "yolov8n [b]from scratch on bccd, 12 epochs at 320 px, batch 16, AdamW lr0 0.002, fp32 on cpu, best.pt on test"
)
VERDICTS = (
    "reference",
    "n too small to tell (7 seeds would do)",
    "no difference shown",
    "better",
    "worse",
)
FIGURES = ("12", "0.352", "0.038", "0.584", "-0.012")
ALL_FIGURES = (*FIGURES, "-0.409 to +0.405", "13,290,725", "118.53")
SHORT_SWEEP = {"train.imgsz": 320, "block.kernel_att": 7}
LONG_SWEEP = {"model.placement": "[sppf,neck_p3]", "train.warmup_epochs": 3.125}


@pytest.fixture(autouse=True)
def _heading(monkeypatch):
    monkeypatch.setattr(module, "heading", lambda table: HEADING)


def table(swept, notes=()):
    figures = {
        "n": 12,
        "map50_95_mean": 0.352,
        "map50_95_std": 0.038,
        "map50_mean": 0.584,
        "delta_mean": -0.012,
        "delta_low": -0.409,
        "delta_high": 0.405,
        "parameters": 13_290_725,
        "gflops": 118.53,
    }
    rows = [{"arm": "attention", **swept, **figures, "verdict": verdict} for verdict in VERDICTS]
    return {"settings": {}, "swept_keys": list(swept), "rows": rows, "notes": list(notes)}


def lines(tables, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, record=True)
    console.print(terminal(tables, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("swept", [{}, SHORT_SWEEP, LONG_SWEEP], ids=["none", "short", "long"])
@pytest.mark.parametrize("width", [80, 100, 149, 150, 180, 200])
def test_every_figure_is_whole_and_in_its_row(swept, width):
    shown = lines([table(swept)], width)
    assert "…" not in "\n".join(shown)
    assert max(map(len, shown)) <= width
    rows = [line for line in shown if line.startswith("attention")]
    assert len(rows) == len(VERDICTS)
    for row in rows:
        for figure in ALL_FIGURES if width >= 150 else FIGURES:
            assert f"  {figure}" in row


@pytest.mark.parametrize("swept", [{}, SHORT_SWEEP], ids=["none", "short"])
def test_a_row_is_one_line_at_80_columns(swept):
    shown = lines([table(swept)], 80)
    first = next(number for number, line in enumerate(shown) if line.startswith("───")) + 1
    rows = shown[first : first + len(VERDICTS)]
    for row, verdict in zip(rows, ("reference", "n too small", "no difference shown", "better", "worse"), strict=True):
        assert row.endswith(verdict)


def test_what_is_left_out_is_named_where_it_is_left_out():
    assert lines([table({}), table({})], 80).count("all columns: summary.md") == 1
    assert lines([table({})], 150).count("all columns: summary.md") == 1
    wide = "\n".join(lines([table({})], 200))
    assert "summary.md" not in wide
    assert "of images" in wide
    assert all(verdict in wide for verdict in VERDICTS)
    assert "95 % interval" in wide


def test_headings_of_columns_fold():
    head = lines([table(SHORT_SWEEP)], 80)
    head = " ".join(head[: next(i for i, line in enumerate(head) if line.startswith("───"))])
    assert [word for word in ("train.", "imgsz", "block.", "kernel_", "att", "mAP50", "-95") if word not in head] == []


def test_text_from_outside_is_no_markup():
    swept = {"block.[red]x": "[/b]"}
    text = "\n".join(lines([table(swept, ["[red]mixed[/] is failed: [/boom]"])], 180))
    assert "· [red]mixed[/] is failed: [/boom]" in text
    assert HEADING in text
    assert "[/b]" in text
    assert "[red]x" in text


def test_the_title_starts_at_the_left_and_is_as_wide_as_the_terminal():
    first, second = lines([table({})], 80)[:2]
    assert f"{first} {second}" == HEADING
    assert lines([table({})], 120)[0] == HEADING


def test_no_tables_are_nothing():
    assert lines([], 80) == []
