"""The lines of the live view, on terminals of several sizes."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from acmix_exp.run.directory import Run
from acmix_exp.sweep.live_view import View
from acmix_exp.sweep.planning import Plan
from acmix_exp.sweep.progress import Progress

LONG = "attention_with_a_very_long_name_of_its_own-s10-0a1b2c3d"


def progress(name, status, epoch=40, left=43_500.0, *, resumed=False):
    scores = {"map50": 0.584, "map50_95": 0.352} if epoch else {}
    return Progress(Run(Path(name)), "mixed", status, epoch, 100, scores, left, None, resumed)


@pytest.fixture
def screen():
    """``screen(rows, width, height)``: the lines of one frame."""

    def draw(rows, width=80, height=24, name="bccd", terminal=True):
        view = View(Plan(name, Path("runs") / name, [], []), lambda: 1)
        view.console = Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, record=True)
        if terminal:
            view.console.print(view._table(rows))
        else:
            view._print_changes(rows)
        return [line.rstrip() for line in view.console.export_text().splitlines()]

    return draw


EVERY_STATUS = [
    progress("attention-s0-0a1b2c3d", "done", 100, 0.0, resumed=True),
    progress("mixed-s0-0a1b2c3d", "running", resumed=True),
    progress("mixed-s1-0a1b2c3d", "failed", 3),
    progress("mixed-s2-0a1b2c3d", "interrupted"),
    progress("mixed-s3-0a1b2c3d", "pending", 0, None),
]


@pytest.mark.parametrize("width", [80, 99, 100, 180])
def test_no_text_is_truncated(screen, width):
    lines = screen(EVERY_STATUS, width)
    text = "\n".join(lines)
    assert "…" not in text
    assert len(lines) <= 4 + len(EVERY_STATUS)
    for whole in ("done (resumed)", "running (resumed)", "interrupted", "100/100", "0.584", "0.352", "12 h 05 min"):
        assert whole in text
    assert ("━" in text) == (width >= 100)


def test_only_a_long_name_is_shortened(screen):
    lines = screen([progress(LONG, "running", resumed=True)])
    (row,) = [line for line in lines if "attention" in line]
    cut, *rest = row.split()
    assert cut.endswith("…")
    assert LONG.startswith(cut[:-1])
    assert " ".join(rest) == "running (resumed) 40/100 0.584 0.352 12 h 05 min"
    assert LONG in "\n".join(screen([progress(LONG, "running")], 180))


def test_markup_in_names_is_text(screen):
    text = "\n".join(screen([progress("[red]x-s0-[bold]", "running")], name="[b]sweep"))
    assert "[red]x-s0-[bold]" in text
    assert "[b]sweep: 0 of 1 runs done" in text


def test_a_long_sweep_fits_the_screen_with_running_and_failed_runs_first(screen):
    rows = [progress(f"done-s{i}", "done", 100, 0.0) for i in range(30)]
    rows += [progress(f"pending-s{i}", "pending", 0, 60.0) for i in range(5)]
    rows += [progress("failed-s0", "failed"), progress("running-s0", "running"), progress("running-s1", "running")]
    lines = screen(rows)
    assert len(lines) < 24
    names = [line.split()[0] for line in lines if "-s" in line]
    assert names[:8] == ["running-s0", "running-s1", "failed-s0", *(f"pending-s{i}" for i in range(5))]
    assert names[8:] == [f"done-s{i}" for i in range(20, 30)]
    assert lines[-1] == "and 20 more"


def test_many_pending_runs_do_not_hide_running_ones(screen):
    rows = [progress(f"pending-s{i}", "pending", 0, 60.0) for i in range(50)] + [progress("running-s0", "running")]
    lines = screen(rows, height=10)
    assert len(lines) < 10
    assert [line.split()[0] for line in lines if "-s" in line] == ["running-s0", *(f"pending-s{i}" for i in range(3))]
    assert lines[-1] == "and 47 more"


def test_the_title_is_one_line_with_the_name_the_count_and_the_time(screen):
    assert screen(EVERY_STATUS[:2], 120)[0] == "bccd: 1 of 2 runs done, 12 h 05 min left"
    first, second = screen(EVERY_STATUS, name="n" * 90)[:2]
    assert first.endswith("…: 1 of 5 runs done, ? left")
    assert len(first) == 80
    assert "n" * 5 not in second


def test_without_a_terminal_a_change_is_one_plain_line(screen):
    assert screen([progress(LONG, "running")], terminal=False) == [
        f"{LONG}: running, epoch 40/100, mAP50 0.584, mAP50-95 0.352, 12 h 05 min left in all"
    ]
