"""Files of a run directory are written atomically and read robustly; one process holds the lock."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace

import pytest

from acmix_exp.child import start_time
from acmix_exp.files import write_json
from acmix_exp.run.directory import Run, runs_in
from acmix_exp.run.owner import Owner


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "status.json"
    write_json(path, {"status": "done"})
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"status": float("nan")})
    assert json.loads(path.read_text()) == {"status": "done"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "flying"}', '{"status": "done", "swept": null}'])
def test_a_corrupt_status_reads_as_none(tmp_path, text):
    (tmp_path / "status.json").write_text(text)
    assert Run(tmp_path).status() is None


def test_done_requires_a_result(tmp_path):
    run = Run(tmp_path)
    run.set_status(status="done")
    assert not run.is_done()
    assert run.state() == "pending"
    write_json(tmp_path / "result.json", {})
    assert not run.is_done()
    write_json(tmp_path / "result.json", {"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}})
    assert run.state() == "done"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null", "true", '"0.5"'])
@pytest.mark.parametrize("key", ["map50_95", "map50"])
def test_a_headline_that_is_not_finite_is_none(tmp_path, key, value):
    metrics = {"map50_95": "0.5", "map50": "0.7", key: value}
    text = ", ".join(f'"{name}": {number}' for name, number in metrics.items())
    (tmp_path / "result.json").write_text(f'{{"metrics": {{{text}}}, "cost": {{}}}}')
    assert Run(tmp_path).result() is None


def test_invalid_parts_of_a_result_are_left_out(tmp_path):
    text = (
        '{"metrics": {"map50_95": 0.5, "map50": 0.7, "recall": NaN, "per_class": {"a": {"map50_95": NaN}, "b": 3}},'
        ' "cost": {"gflops": 1e999, "parameters": "many", "latency_alone": true}, "val_best": [1], "swept": 3,'
        ' "val_last": {"map50_95": NaN, "epoch": 2}}'
    )
    (tmp_path / "result.json").write_text(text)
    assert Run(tmp_path).result() == {
        "metrics": {"map50_95": 0.5, "map50": 0.7, "recall": None, "per_class": {"a": {"map50_95": None}}},
        "cost": {"gflops": None, "parameters": None, "latency_alone": True},
        "val_last": {"map50_95": None, "epoch": 2},
    }


@pytest.mark.parametrize("text", ['{"git": [1], "seed_proof": "a"}', '{"identity": {"block": 3}, "seed_proof": "a"}'])
def test_invalid_parts_of_a_provenance_are_left_out(tmp_path, text):
    (tmp_path / "provenance.json").write_text(text)
    assert Run(tmp_path).provenance() == {"seed_proof": "a"}


def test_running_without_its_owner_is_interrupted(tmp_path):
    run, here = Run(tmp_path), Owner.here()
    run.set_status(status="running", owner=here.record())
    assert run.state() == "running"
    run.set_status(owner=replace(here, start=here.start - 1).record())
    assert run.state() == "interrupted", "its number now is another process's"
    run.set_status(owner=Owner("elsewhere", 1).record())
    assert run.state() == "running", "it was silent for less than minutes"
    os.utime(tmp_path / "status.json", (0, 0))
    assert run.state() == "interrupted"
    write_json(tmp_path / "status.json", {"status": "running"})
    assert run.state() == "interrupted", "nobody owns it"


def test_a_process_that_has_ended_is_dead_even_if_nobody_has_asked_how(tmp_path):
    """A zombie has the number and the start time that the process had."""
    process = subprocess.Popen(["sleep", "60"])
    owner = replace(Owner.here(), pid=process.pid, start=start_time(process.pid))
    run = Run(tmp_path)
    run.set_status(status="running", owner=owner.record())
    assert run.state() == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert run.state() == "interrupted"
    process.wait()


@pytest.mark.parametrize("pid", [1, os.getpid()], ids=["another process", "this process"])
def test_a_status_of_version_0_2_is_read(tmp_path, pid):
    """Its owner is a number, whose process may be another by now: the heartbeat decides."""
    run = Run(tmp_path)
    run.set_status(status="running", owner=pid, host=platform.node())
    assert run.state() == "running"
    os.utime(tmp_path / "status.json", (0, 0))
    assert run.state() == "interrupted"


def test_the_lock_is_held_by_one_process_and_freed_by_its_death(tmp_path):
    code = (
        "import sys; from pathlib import Path; from acmix_exp.run.directory import Run\n"
        "with Run(Path(sys.argv[1])).lock() as mine: print(bool(mine), flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "True\n"
    with Run(tmp_path).lock() as mine:
        assert not mine
    other.kill()
    other.wait()
    with Run(tmp_path).lock() as mine:
        assert mine


def test_clear_keeps_the_files_of_the_plan(tmp_path):
    for name in ("config.yaml", "status.json", "provenance.json", "history.csv", "weights/last.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    Run(tmp_path).clear()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml", "provenance.json", "status.json"]


def test_an_incomplete_last_row_of_history_is_left_out(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,map50_95\n1,0.5\n2")
    assert [row["epoch"] for row in Run(tmp_path).history()] == ["1"]


def test_a_folder_with_any_file_of_a_run_is_one(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "forest.png").touch()
    names = ["config.yaml", "provenance.json", "result.json", "status.json"]
    for name in names:
        (tmp_path / f"mixed-{name}").mkdir()
        (tmp_path / f"mixed-{name}" / name).touch()
    assert [run.name for run in runs_in(tmp_path)] == [f"mixed-{name}" for name in names]
    assert runs_in(tmp_path / "absent") == []
