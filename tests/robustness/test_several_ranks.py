"""One run that several processes train: whatever of it is killed, nothing of it goes on, and the status is true."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from acmix_exp.run.directory import runs_in
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import finish, only_run, start, temporaries, tiny_data, wait_until

SECTION = "Interruptions and disks"
RANKS = ("hardware=multi_cpu", "hardware.workers=0", "train.epochs=40")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


def command(folder: Path, data: Path, *arguments: str, **options):
    """As ``start``, but hardware=cpu, which is among the common arguments, is replaced."""
    return start(folder, data, *RANKS, *arguments, **options)


def alive(processes) -> list[psutil.Process]:
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


WAYS = {  # what is killed, by which signal, the run's state, the exit code, what is said
    "SIGKILL of a rank": ("rank", signal.SIGKILL, "failed", 1, "rank 1 was killed by SIGKILL (out of memory?)"),
    "SIGKILL of the process that started the ranks": (
        "coordinator",
        signal.SIGKILL,
        "failed",
        1,
        "the training process was killed by SIGKILL (out of memory?)",
    ),
    "SIGKILL of the command": ("command", signal.SIGKILL, "interrupted", -9, ""),
    "SIGTERM of a rank, as earlyoom sends it": (
        "rank",
        signal.SIGTERM,
        "interrupted",
        1,
        "the training process was killed by SIGTERM",
    ),
    "SIGTERM of the command and all ranks, as by scancel": ("all", signal.SIGTERM, "interrupted", 143, ""),
}
for way, (_, _, state, _, _) in WAYS.items():
    add(
        Row(
            SECTION,
            f"a run on several GPUs: {way}",
            f"all its ranks end in seconds; the run is {state}; the same command resumes it",
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS)
def test_nothing_of_a_killed_run_goes_on(tmp_path, data, how):
    what, number, state, code, says = WAYS[how]
    process = command(tmp_path, data)
    wait_until(lambda: list((tmp_path / "runs" / "default").glob("*/history.csv")), process, 300)
    run = only_run(tmp_path)
    whole = psutil.Process(process.pid)
    children = whole.children(recursive=True)
    ranks = [child for child in children if "train_rank" in child.cmdline()]
    assert len(ranks) == 2
    (coordinator,) = [child for child in children if child.pid == run.status()["pid"]]
    last = max(ranks, key=lambda rank: int(rank.environ()["RANK"]))
    victims = {"rank": [last], "coordinator": [coordinator], "command": [whole], "all": [*ranks, coordinator, whole]}
    for victim in victims[what]:
        victim.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    _, left = psutil.wait_procs(children, timeout=10)
    assert not alive(left)
    assert run.state() == state
    assert says in (err if state == "failed" else str(run.status().get("error")))
    assert "Traceback" not in err
    if what != "command":
        assert not temporaries(tmp_path)


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("train.batch=5", "train.batch=5: must be a multiple of hardware.gpus_per_run=2"),
        ("train.extra.rect=true", "train.extra.rect=true: shapes of batches are of one process"),
    ],
)
@case(
    "Command line",
    have="`hardware.gpus_per_run=2` with an odd `train.batch`, or with `train.extra.rect=true`",
    here="one line, exit code 2, before anything starts: a batch is of all GPUs together, its shape of one process",
)
def test_batches_that_cannot_be_shared(tmp_path, data, setting, line):
    code, _, err = finish(tmp_path, data, "hardware=multi_cpu", setting)
    assert code == 2
    assert line in err
    assert not runs_in(tmp_path / "runs" / "default")


@pytest.mark.slow
@case(
    SECTION,
    have="RANK and WORLD_SIZE in the environment, as some clusters set them in every job",
    here="not passed on to trainings, which ultralytics would take for parts of a distributed one",
)
def test_variables_of_distributed_training_do_not_reach_a_training(tmp_path, data):
    environment = {**os.environ, "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}
    code, _, err = finish(tmp_path, data, "train.epochs=1", env=environment)
    assert code == 0, err
    assert only_run(tmp_path).is_done()
