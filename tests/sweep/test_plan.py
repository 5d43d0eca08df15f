"""Run directories are prepared once; existing files are kept or reported."""

import json
import os
import platform
import threading
from dataclasses import replace

import pytest

from acmix_exp.config import load
from acmix_exp.files import write_json
from acmix_exp.report.read_runs import read
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.training import _add_provenance
from acmix_exp.sweep import arm
from acmix_exp.sweep.planning import Cell, Plan, prepare
from acmix_exp.sweep.progress import Survey, duration, seconds_left


@pytest.fixture
def plan(tmp_path, make_config):
    """One cell, not prepared yet."""
    config = arm.apply(
        make_config("arm=mixed", "hardware=cpu", "train.epochs=4", "dataset=yolo", "dataset.path=d.yaml")
    )
    run = Run(tmp_path / "runs" / "test" / "mixed-s0-00000000")
    cell = Cell(config, "mixed", {"data": "f"}, "d", {"block.kernel_att": 7}, run)
    return Plan("test", run.path.parent, [cell], [])


def test_a_new_run_is_pending_with_its_config_and_provenance(plan):
    prepare(plan)
    (run,) = plan.runs
    assert run.status() == {
        "status": "pending",
        "attempt": 0,
        "resumed": False,
        "pid": None,
        "error": None,
        "arm": "mixed",
        "seed": 0,
        "swept": {"block.kernel_att": 7},
    }
    config = load(run.path / "config.yaml")
    assert config.block == plan.cells[0].config.block
    assert config.dataset.path.startswith("/")
    assert run.provenance()["dataset"] == {"name": "d", "fingerprint": "f"}


def _of_seed(plan, seed):
    """The plan's one cell for another seed."""
    (cell,) = plan.cells
    run = Run(plan.folder / f"mixed-s{seed}-0000000{seed}")
    return replace(cell, config=replace(cell.config, seed=seed), identity={**cell.identity, "seed": seed}, run=run)


def test_a_run_keeps_the_seeds_that_it_was_planned_with(plan):
    """A finished run keeps its list; a pending one gets that of the newest command. No run is another one for it."""
    first = replace(plan, cells=[_of_seed(plan, seed) for seed in (2, 0, 1)])
    prepare(first)
    assert [run.provenance()["planned_seeds"] for run in first.runs] == [[0, 1, 2]] * 3
    done = first.runs[1]
    done.set_status(status="done")
    write_json(done.path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}, "swept": {}})
    _add_provenance(done, {"seed_proof": "a"})  # as the child does
    before = done.provenance()
    assert before["planned_seeds"] == [0, 1, 2]
    more = replace(plan, cells=[_of_seed(plan, seed) for seed in range(4)])
    prepare(more)
    assert done.provenance() == before
    assert [run.provenance()["planned_seeds"] for run in more.runs if run != done] == [[0, 1, 2, 3]] * 3
    assert "planned_seeds" not in str(more.cells[0].identity)


def test_a_report_reads_the_planned_seeds(plan):
    prepare(replace(plan, cells=[_of_seed(plan, seed) for seed in (1, 0)]))
    records = read(plan.folder)
    assert [record.planned_seeds for record in records] == [[0, 1]] * 2
    for wrong in (None, "0", [0, "1"], {"0": 1}):
        assert replace(records[0], provenance={"planned_seeds": wrong}).planned_seeds == []


def test_runs_whose_samples_were_drawn_in_another_way_are_named_once(plan, capsys, make_run):
    """Of another arm or other settings, or planned again, they are not."""
    now = {"data": "f", "seed": 0, "hardware": {"device": "cpu"}, "sampling": 2}
    before = {"data": "f", "seed": 0, "hardware": {"device": "cpu", "workers": 4}}
    others = [{**before, "data": "g"}, {**before, "seed": 1}, {**before, "sampling": 2}]
    for number, parts in enumerate([before] * 6 + others):
        run = make_run(f"mixed-s0-0000000{number + 1}", status="interrupted")
        write_json(run.path / "provenance.json", {"identity": parts})
    done = Run(plan.folder / "mixed-s0-00000006")
    done.set_status(status="done")
    write_json(done.path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}})
    (cell,) = plan.cells
    plan = replace(plan, cells=[replace(cell, identity=now)])
    prepare(plan)
    assert capsys.readouterr().err == (
        "acmix_exp: mixed-s0-00000001, mixed-s0-00000002, mixed-s0-00000003 and 2 more: not continued, but "
        "started anew, because this version draws samples in another way (protocol 2)\n"
        "acmix_exp: mixed-s0-00000006: kept, and trained anew, because this version draws samples in another way "
        "(protocol 2)\n"
    )
    prepare(plan)
    assert not capsys.readouterr().err


def test_a_run_that_another_command_prepares_is_waited_for(plan):
    (run,) = plan.runs
    with run.lock(Owner("elsewhere", 1)) as claim:
        assert claim
        waiting = threading.Thread(target=prepare, args=(plan,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        run.set_status(status="running", attempt=1)
        waiting.join(10)
        assert not waiting.is_alive()
    assert run.status() == {"status": "running", "attempt": 1}


def test_a_corrupt_status_is_reported_and_the_run_restarts(plan, capsys):
    prepare(plan)
    (run,) = plan.runs
    (run.path / "status.json").write_text("{")
    (run.path / "history.csv").write_text("epoch\n1\n")
    prepare(plan)
    assert "status.json is corrupt" in capsys.readouterr().err
    assert run.status()["status"] == "pending"
    assert run.history() == []


def test_a_finished_run_gets_only_a_new_axis(plan):
    prepare(plan)
    (run,) = plan.runs
    run.set_status(status="done")
    result = {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}
    write_json(run.path / "result.json", {**result, "swept": {}})
    before = (run.path / "config.yaml").stat().st_mtime_ns
    prepare(plan)
    assert (run.path / "config.yaml").stat().st_mtime_ns == before
    assert json.loads((run.path / "result.json").read_text()) == {**result, "swept": {"block.kernel_att": 7}}


def test_a_run_shared_by_another_arm_records_that_arm(plan):
    other = replace(plan.cells[0], alias="conv3x3")
    prepare(replace(plan, cells=[*plan.cells, other]))
    (run,) = plan.runs
    assert run.status()["arm"] == "mixed"
    assert run.status()["serves"] == ["conv3x3"]
    prepare(plan)
    assert run.status()["serves"] == ["conv3x3"]
    run.set_status(status="done")
    write_json(run.path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}, "swept": {}})
    prepare(replace(plan, cells=[replace(other, alias="plain")]))
    assert run.status()["serves"] == ["conv3x3", "plain"]


def test_a_broken_config_of_a_finished_run_is_rewritten(plan):
    prepare(plan)
    (run,) = plan.runs
    run.set_status(status="done")
    write_json(run.path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}, "swept": {}})
    (run.path / "config.yaml").write_text("seed: [")
    prepare(plan)
    assert load(run.path / "config.yaml").block == plan.cells[0].config.block
    assert run.is_done()


def test_an_interrupted_run_keeps_its_attempts(plan):
    prepare(plan)
    (run,) = plan.runs
    run.set_status(status="interrupted", attempt=2)
    prepare(plan)
    assert (run.status()["status"], run.status()["attempt"]) == ("interrupted", 2)


def test_progress_counts_epochs_and_seconds(plan):
    prepare(plan)
    (run,) = plan.runs
    (row,) = Survey(plan).rows()
    assert (row.status, row.epoch, row.left) == ("pending", 0, None)
    assert seconds_left([row], 1) is None
    run.set_status(status="running", owner=os.getpid(), host=platform.node())
    (run.path / "history.csv").write_text("epoch,map50,map50_95,seconds\n1,0.5,0.25,30\n")
    (row,) = Survey(plan).rows()
    assert (row.status, row.epoch, row.scores["map50_95"], row.left) == ("running", 1, 0.25, 90.0)
    assert seconds_left([row, row, row], 2) == 180.0


def test_the_time_left_counts_the_start_and_the_evaluation(plan):
    prepare(plan)
    (run,) = plan.runs
    epochs, third = plan.cells[0].config.train.epochs, run.path.with_name("third")
    rows = "".join(f"{epoch},0.5,0.25,30\n" for epoch in range(1, epochs + 1))
    survey = Survey(replace(plan, cells=[plan.cells[0], replace(plan.cells[0], run=Run(third))]))
    run.set_status(status="running", owner=os.getpid(), host=platform.node(), started=1000.0)
    (run.path / "history.csv").write_text("epoch,map50,map50_95,seconds\n1,0.5,0.25,30\n")
    os.utime(run.path / "history.csv", (1042.0, 1042.0))  # 12 seconds before the first epoch
    running, pending = survey.rows()
    assert (running.left, pending.left) == (30.0 * (epochs - 1), 30.0 * epochs + 12)
    (run.path / "history.csv").write_text(f"epoch,map50,map50_95,seconds\n{rows}")
    write_json(run.path / "provenance.json", {"seconds_in_all": 30.0 * epochs + 50})
    write_json(run.path / "result.json", {"metrics": {"map50": 0.5, "map50_95": 0.25}, "cost": {}})
    run.set_status(status="done")
    done, pending = survey.rows(whole=True)
    assert (done.left, pending.left) == (0.0, 30.0 * epochs + 50)
    assert seconds_left([done, pending], 1) == 30.0 * epochs + 50


def test_the_time_left_is_told_by_the_runs_of_this_start(plan):
    """What finished earlier may have trained beside other work, or on another machine."""
    epochs = plan.cells[0].config.train.epochs
    cells = [_of_seed(plan, seed) for seed in range(3)]
    of_old, of_new = (
        "epoch,map50,map50_95,seconds\n" + "".join(f"{epoch},0.5,0.25,{seconds}\n" for epoch in range(1, epochs + 1))
        for seconds in (90, 10)
    )
    plan = replace(plan, cells=cells)
    prepare(plan)

    def finish(run, history, seconds):
        (run.path / "history.csv").write_text(history)
        _add_provenance(run, {"seconds_in_all": seconds})
        write_json(run.path / "result.json", {"metrics": {"map50": 0.5, "map50_95": 0.25}, "cost": {}})
        run.set_status(status="done")

    finish(plan.runs[0], of_old, 90 * epochs + 60)
    survey = Survey(plan)
    assert survey.rows()[2].left == 90 * epochs + 60
    finish(plan.runs[1], of_new, 10 * epochs + 8)
    assert survey.rows(whole=True)[2].left == 10 * epochs + 8


def test_durations():
    assert [duration(seconds) for seconds in (None, 40, 720, 3900)] == ["?", "40 s", "12 min", "65 min"]
    assert duration(6000) == "1 h 40 min"
