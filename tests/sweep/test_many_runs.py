"""Sweeps of many runs: the work grows with the number of runs, not faster. Counted in calls, for time is not stable."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report import read_runs
from acmix_exp.report.write import write_summary
from acmix_exp.run.directory import Run, runs_in
from acmix_exp.sweep import compose, planning, progress
from acmix_exp.sweep.compose import Composed, compose_cells
from acmix_exp.sweep.progress import Progress, Survey, seconds_left
from tests.report.builders import add_runs

counted: Counter[str] | None = None


def _hook(event: str, values: tuple[Any, ...]) -> None:
    if counted is not None and event in ("open", "os.scandir", "os.listdir", "os.rename"):
        counted["write" if event == "open" and values[1] and set(values[1]) & set("wax+") else event] += 1


sys.addaudithook(_hook)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Counter[str]]:
    """Calls a function and counts what it asks of the file system, by kind."""

    def count(function: Callable[[], object]) -> Counter[str]:
        global counted
        counted = found = Counter[str]()
        with monkeypatch.context() as patch:
            for name in ("stat", "fsync"):
                original = getattr(os, name)
                patch.setattr(
                    os, name, lambda *args, _f=original, _n=name, **more: (found.update([_n]), _f(*args, **more))[1]
                )
            try:
                function()
            finally:
                counted = None
        return found

    return count


def cells_of(folder: Path, seeds: int, *more: str) -> list[Composed]:
    axes = ["arm=baseline,mixed", f"seed=range(0,{seeds})"]
    return compose_cells(["-m", *axes, "dataset=shapes", "hardware=cpu", "name=many", f"runs_dir={folder}", *more])


def plan_of(folder: Path, seeds: int, *more: str) -> planning.Plan:
    return planning.build(cells_of(folder, seeds, *more))


def prepared(folder: Path, seeds: int) -> planning.Plan:
    plan = plan_of(folder, seeds)
    planning.prepare(plan)
    return plan


def test_a_sweep_over_seeds_and_values_is_composed_once_by_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[object] = []
    original = compose.compose
    monkeypatch.setattr(compose, "compose", lambda *args, **more: (composed.append(args), original(*args, **more))[1])
    many = cells_of(tmp_path, 4, "train.lr0=0.001,0.002,0.003", "train.batch=4,8")
    assert len(many) == 2 * 4 * 3 * 2
    assert len(composed) <= 2 + 2  # for each arm, and of what all cells share


@pytest.mark.parametrize(
    "line",
    [
        "-m arm=baseline,mixed train.lr0=0.001,1e-2 seed=0,1 train.extra.mosaic=0",
        "-m block.kernel_att=3,5 model=yolov8 model.scale=n,s train.epochs=${seed} seed=3,4",
        pytest.param("-m tags=[a],[b] train.imgsz=64,96 block.head=4,8", marks=pytest.mark.slow),
        pytest.param(
            "-m model/placement=neck,sppf model.placement.norm=true,false train.keep=none", marks=pytest.mark.slow
        ),
        "-m train.extra={mosaic:0.1},{mosaic:0.2}",
        pytest.param("+experiment=window", marks=pytest.mark.slow),
        "-m train.lr0=abc,0.1",
        "-m train.nokey=1,2",
    ],
)
def test_shared_compositions_are_those_of_hydra(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cells() -> object:
        try:
            return [(cell.config, cell.overrides) for cell in compose_cells(line.split())]
        except compose.ConfigError as error:
            return error.lines

    shared = cells()
    monkeypatch.setattr(compose._Composer, "_composed_from_shared", lambda *_: None)
    assert repr(shared) == repr(cells())


def test_preparing_grows_with_the_runs_and_again_only_reads(tmp_path: Path, calls: Any) -> None:
    few, many = plan_of(tmp_path / "few", 3), plan_of(tmp_path / "many", 9)
    first, second = (calls(lambda plan=plan: planning.prepare(plan)) for plan in (few, many))
    assert len(list(many.folder.glob("labels-*.json"))) == (once := 1), "the statistics of the labels"
    assert (second["write"] - once) / len(many.runs) == (first["write"] - once) / len(few.runs)
    assert second["open"] <= 3 * first["open"]
    again = calls(lambda: planning.prepare(many))
    assert not {"write", "os.rename", "fsync"} & again.keys()
    assert again["open"] <= 6 * len(many.runs)


def test_finished_runs_are_only_read(tmp_path: Path, calls: Any) -> None:
    plan = prepared(tmp_path, 3)
    for run in plan.runs:
        finish(run)
    again = calls(lambda: planning.prepare(plan))
    assert not {"write", "os.rename", "fsync"} & again.keys()
    assert again["open"] <= 20 * len(plan.runs)


def test_a_look_reads_only_what_changed(tmp_path: Path, calls: Any) -> None:
    plan = prepared(tmp_path, 10)
    survey = Survey(plan)
    rows = survey.rows()
    nothing = calls(survey.rows)
    assert nothing == {"stat": 2 * len(plan.runs)}
    assert survey.rows() is rows
    plan.runs[3].set_status(status="failed", error="e")
    assert calls(survey.rows)["open"] <= 5
    assert [row.status for row in survey.rows()].index("failed") == 3


def test_a_look_at_very_many_runs_is_at_some_in_turn(
    tmp_path: Path, calls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOKED_AT", 4)
    plan = prepared(tmp_path, 10)
    plan.runs[19].set_status(status="running", owner={"host": "elsewhere", "pid": 1})
    survey = Survey(plan)
    assert len(survey.rows()) == 20
    assert calls(survey.rows)["stat"] <= 2 * (4 + 1) + 2  # those in turn and the one that runs
    for run in plan.runs:
        run.set_status(status="failed", error="e")
    seen = [sum(row.status == "failed" for row in survey.rows()) for _ in range(5)]
    assert seen[-1] == 20
    assert seen[0] <= 5
    plan.runs[0].set_status(status="pending", error=None)
    assert survey.rows(whole=True)[0].status == "pending"


def test_the_time_left_with_many_runs_at_once() -> None:
    rows = [Progress(Run(Path(str(n))), "a", "pending", 0, 5, left=float(n % 7)) for n in range(2000)]
    ends = [0.0] * 30
    for row in rows:
        ends[ends.index(min(ends))] += row.left or 0.0
    assert seconds_left(rows, 30) == max(ends)


def test_tables_read_each_run_once_and_later_only_what_changed(tmp_path: Path, calls: Any) -> None:
    add_runs(tmp_path / "few", seeds=2, pictures=False)
    add_runs(tmp_path / "many", seeds=6, pictures=False)
    read_runs._records.clear()
    few = calls(lambda: write_summary(tmp_path / "few"))
    many = calls(lambda: write_summary(tmp_path / "many"))
    assert many["open"] <= 3 * few["open"]
    assert many["stat"] <= 3 * few["stat"]
    runs = runs_in(tmp_path / "many")
    again = calls(lambda: write_summary(tmp_path / "many"))
    assert again["open"] <= 10  # of the folder
    runs[0].set_status(attempt=2)
    changed = calls(lambda: write_summary(tmp_path / "many"))
    assert changed["open"] <= again["open"] + 20


def finish(run: Run) -> None:
    metrics = {"map50_95": 0.5, "map50": 0.6}
    swept: dict[str, Any] = {}
    (run.path / "result.json").write_text(json.dumps({"metrics": metrics, "cost": {}, "swept": swept}))
    run.set_status(status="done", attempt=1)
