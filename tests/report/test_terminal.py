"""The table as a reader sees it, on terminals of several widths."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from acmix_exp.report.columns import chosen, columns
from acmix_exp.report.records import Cost, Spread
from acmix_exp.report.statistics import Verdict
from acmix_exp.report.terminal import terminal
from tests.report import rows

HEADING = (
    "yolov8n [b]from scratch on bccd, 12 epochs at 320 px, batch 16, AdamW lr0 0.002, fp32 on cpu, best.pt on test"
)
WORDS = {
    Verdict.REFERENCE: "reference",
    Verdict.TOO_FEW_SEEDS: "too few seeds (7 needed)",
    Verdict.NO_DIFFERENCE: "no significant difference",
    Verdict.HARNESS_OK: "harness check passed",
    Verdict.HARNESS_FAULT: "harness check FAILED",
    Verdict.BETTER: "better",
    Verdict.WORSE: "worse",
}
NUMBERS = ("12", "0.352 ± 0.038", "0.584", "-0.012")
ALL_NUMBERS = (*NUMBERS, "-0.409 to +0.405", "13.291", "118.53")
SHORT_SWEEP = {"train.imgsz": 320, "block.kernel_att": 7}
LONG_SWEEP = {"model.placement": "[sppf,neck_p3]", "train.warmup_epochs": 3.125}


def table(swept, notes=()):
    delta = {"n": 12, "mean": -0.012, "low": -0.409, "high": 0.405, "p": 0.1}
    shared = {"maps": [0.352] * 12, "std": 0.038, "delta": delta, "seeds_needed": 7, "swept": swept}
    made = [rows.row("attention", 0.352, verdict, cost=Cost(13_290_725, 118.53), **shared) for verdict in WORDS]
    made = [replace(row, map50=Spread(0.584, None), comparison=replace(row.comparison, **delta)) for row in made]
    return rows.table(made, HEADING, notes)


def lines(tables, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, record=True)
    console.print(terminal(tables, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("swept", [{}, SHORT_SWEEP, LONG_SWEEP], ids=["none", "short", "long"])
@pytest.mark.parametrize("width", [80, 100, 149, 150, 180, 250])
def test_every_number_is_whole_and_in_its_row(swept, width):
    shown = lines([table(swept)], width)
    assert "…" not in "\n".join(shown)
    assert max(map(len, shown)) <= width
    found = [line for line in shown if line.startswith("attention")]
    assert len(found) == len(WORDS)
    for line in found:
        for number in ALL_NUMBERS if width >= 150 else NUMBERS:
            assert f"  {number}" in line


@pytest.mark.parametrize("swept", [{}, SHORT_SWEEP], ids=["none", "short"])
def test_a_row_is_one_line_at_80_columns(swept):
    shown = lines([table(swept)], 80)
    first = next(number for number, line in enumerate(shown) if line.startswith("───")) + 1
    found = shown[first : first + len(WORDS)]
    for line, verdict in zip(found, WORDS, strict=True):
        assert line.endswith((verdict.replace("_", " "), WORDS[verdict]))


def test_the_columns_left_out_are_named_with_the_file_that_has_them():
    shown = " ".join(lines([table({}), table({})], 80))
    assert shown.count("All columns: summary.md") == 1
    assert shown.count("detectable") == 1
    wide = "\n".join(lines([table({})], 250))
    assert "summary.md" not in wide
    assert "95 % CI (images)" in wide
    assert all(words in wide for words in WORDS.values())


@pytest.mark.parametrize("width", range(64, 260, 16))
def test_no_word_is_broken_at_any_width(width):
    shown = lines([table({})], width)
    head = shown[: next(i for i, line in enumerate(shown) if line.startswith("───"))]
    whole = {word for title in (column.title for column in columns("md")) for word in title.split()}
    beginning = HEADING.split()
    assert {word for line in head for word in line.split()} <= {*whole, *beginning, "arm"}
    assert len([line for line in shown if line.startswith("attention ")]) == len(WORDS)


@pytest.mark.parametrize("preset", ["thesis", "paper"])
def test_the_columns_asked_for_are_shown(preset):
    asked = replace(table({}), columns=chosen(preset))
    titles = [column.title for column in columns("md", asked)]
    head = " ".join(lines([asked], 160))
    assert [title for title in titles if title not in head] == []
    assert "not shown" not in head
    narrow = " ".join(lines([asked], 80))
    assert "mAP50-95" in narrow


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


def test_the_title_is_left_aligned_and_as_wide_as_the_terminal():
    first, second = lines([table({})], 80)[:2]
    assert f"{first} {second}" == HEADING
    assert lines([table({})], 120)[0] == HEADING


def test_without_tables_nothing_is_printed():
    assert lines([], 80) == []
