"""hardware=slurm on a real Slurm of two nodes: whatever happens to a job, its run's status says so, and it resumes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from acmix_exp.executors import slurm_queue
from acmix_exp.run.devices import cuda_devices
from acmix_exp.run.directory import Run, runs_in
from tests.executors import slurm_cluster
from tests.robustness.commands import tiny_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(slurm_cluster.missing() is not None, reason=str(slurm_cluster.missing())),
]
LONG = 3000  # epochs of a run that does not end by itself
SECONDS = 400.0


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    folder = Path(tempfile.mkdtemp(prefix="acmix_exp-slurm-"))  # the path of a socket is short
    with slurm_cluster.cluster(folder) as variables:
        yield variables
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def login(variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Login]:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    yield Login(tmp_path)
    subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
    wait_until(lambda: not slurm("squeue", "--noheader"))


class Login:
    """A login node: the command in a folder with a tiny data set, and the runs of the experiment."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.experiment = folder, folder / "runs" / "default"
        self._data = tiny_data(folder / "data")

    def start(self, *arguments: str, epochs: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "acmix_exp", "dataset=yolo", f"dataset.path={self._data}", "train.imgsz=64"]
        command += ["train.batch=4", "hardware=slurm", "hardware.device=cpu", "hardware.workers=0", "logger=disabled"]
        command += ["hardware.slurm.time_min=20", "report.auto=false", f"train.epochs={epochs}", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, text=True, stdout=pipe, stderr=pipe, start_new_session=True)

    def finish(self, *arguments: str, epochs: int) -> tuple[int, str]:
        return end(self.start(*arguments, epochs=epochs))

    @property
    def runs(self) -> list[Run]:
        return runs_in(self.experiment)

    @property
    def run(self) -> Run:
        (run,) = self.runs
        return run

    def job(self) -> str:
        """The id of the one job of the experiment."""
        (job,) = slurm_queue.queue(self.experiment).values()
        return job.id

    def trains(self, attempt: int = 1) -> bool:
        """Whether the run is in this attempt, and has saved an epoch."""
        status = (self.runs[0].status() or {}) if self.runs else {}
        epochs = len(self.runs[0].history()) if self.runs else 0
        return status.get("status") == "running" and status.get("attempt") == attempt and epochs > 0

    def resumes(self) -> None:
        """Wait until the run is in its second attempt, which goes on where the first was."""
        wait_until(lambda: self.trains(attempt=2))
        status = self.run.status() or {}
        assert status["resumed"]
        assert status["owner"]["requeues"] == 1


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and all that it printed."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out + err


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, slurm("squeue", "--states=all")
        time.sleep(0.2)


def test_a_sweep_of_two_arms(login: Login) -> None:
    arguments = ("-m", "arm=baseline,mixed")
    code, text = login.finish(*arguments, "hardware.slurm.wait=false", epochs=2)
    assert code == 0, text
    job = re.search(r"2 runs submitted as Slurm job (\d+)", text)
    assert job is not None
    assert f"'scancel {job[1]}' ends what is left: 2 jobs" in text
    code, plan = login.finish(*arguments, "task=plan", epochs=2)
    assert code == 0
    assert re.search(rf"{job[1]}_0 (RUNNING|PENDING)", plan)
    code, text = login.finish(*arguments, epochs=2)
    assert code == 0, text
    assert "in the queue already" in text
    assert [run.state() for run in login.runs] == ["done", "done"]
    assert (login.experiment / "summary.md").is_file()
    assert {(run.status() or {})["owner"]["job"] for run in login.runs} <= {str(int(job[1]) + i) for i in range(3)}
    code, text = login.finish(*arguments, epochs=2)
    assert code == 0
    assert "submitted" not in text


@pytest.mark.parametrize("processes", [1, 2], ids=["one process", "two ranks"])
def test_scancel_interrupts_and_the_same_command_resumes(login: Login, processes: int) -> None:
    arguments = ("arm=baseline", f"hardware.gpus_per_run={processes}", "hardware.slurm.cpus=1")
    process = login.start(*arguments, epochs=15)
    wait_until(login.trains)
    slurm("scancel", login.job())
    code, text = end(process)
    assert code == 1, text
    assert "interrupted; rerun the same command to resume" in text
    assert login.run.state() == "interrupted"
    code, text = login.finish(*arguments, epochs=15)
    assert code == 0, text
    status = login.run.status() or {}
    assert (status["status"], status["attempt"], status["resumed"]) == ("done", 2, True)
    assert [row["epoch"] for row in login.run.history()] == [str(epoch) for epoch in range(1, 16)]


def test_a_time_limit_requeues_and_the_run_resumes(login: Login) -> None:
    limits = ("hardware.slurm.time_min=2", "hardware.slurm.signal_s=60", "hardware.slurm.requeues=1")
    process = login.start("arm=baseline", *limits, epochs=LONG)
    login.resumes()
    code, text = end(process)  # after its second time limit it is not requeued
    assert code == 1, text
    assert login.run.state() == "interrupted"
    (log,) = (login.experiment / ".slurm").glob("*.log")
    assert "requeued, for the 1. time" in log.read_text()
    assert "not requeued: hardware.slurm.requeues=1" in log.read_text()


def test_preemption_requeues_and_the_run_resumes(login: Login) -> None:
    process = login.start("arm=baseline", epochs=LONG)
    wait_until(login.trains)
    other = slurm("sbatch", "--parsable", "--partition=high", "--nodes=2", "--output=/dev/null", "--wrap=sleep 1")
    wait_until(lambda: login.run.state() == "interrupted")
    wait_until(lambda: other not in slurm("squeue", "--noheader", "--format=%A").split())
    login.resumes()
    slurm("scancel", login.job())
    assert end(process)[0] == 1


def test_a_lost_node_requeues_and_the_run_resumes_on_another(login: Login) -> None:
    process = login.start("arm=baseline", epochs=LONG)
    wait_until(login.trains)
    node = slurm("squeue", "--noheader", "--format=%N")
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        login.resumes()
        assert slurm("squeue", "--noheader", "--format=%N") != node
        slurm("scancel", login.job())
        assert end(process)[0] == 1
    finally:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")


def test_ctrl_c_leaves_the_jobs_and_the_same_command_attaches(login: Login) -> None:
    arguments = ("-m", "arm=baseline,mixed", "hardware.runs_at_once=1")
    process = login.start(*arguments, epochs=4)
    wait_until(lambda: login.runs and any(run.state() == "running" for run in login.runs))
    assert "PENDING" in slurm("squeue", "--noheader", "--array", "--format=%T")
    process.send_signal(signal.SIGINT)
    code, text = end(process)
    assert code == 130, text
    job = re.search(r"detached; the same command attaches again, and 'scancel (\d+)' ends what is left", text)
    assert job is not None, text
    both = [login.start(*arguments, epochs=4) for _ in range(2)]
    for process in both:
        code, text = end(process)
        assert code == 0, text
        assert "submitted" not in text
    assert [run.state() for run in login.runs] == ["done", "done"]
    assert {(run.status() or {})["attempt"] for run in login.runs} == {1}


def test_a_job_that_dies_before_it_begins_is_a_failed_run(login: Login) -> None:
    code, text = login.finish("arm=baseline", "hardware.slurm.setup=[no_such_program]", epochs=1)
    assert code == 1
    assert re.search(r"failed: job \d+_0 ended before the run began: .*no_such_program: command not found", text), text
    assert login.finish("arm=baseline", epochs=1)[0] == 0


def test_a_pending_job_that_is_cancelled_is_an_interrupted_run(login: Login) -> None:
    process = login.start("arm=baseline", "hardware.slurm.extra=[--hold]", epochs=1)
    wait_until(lambda: login.runs and slurm("squeue", "--noheader"))
    slurm("scancel", login.job())
    code, text = end(process)
    assert code == 1, text
    assert "JobHeldUser" in text
    assert "left the queue before the run began" in str((login.run.status() or {})["error"])


@pytest.mark.parametrize("killed", ["training", "job"])
def test_sigkill(login: Login, killed: str) -> None:
    process = login.start("arm=baseline", epochs=LONG)
    wait_until(login.trains)
    status = login.run.status() or {}
    os.kill(status["pid"] if killed == "training" else status["owner"]["pid"], signal.SIGKILL)
    code, text = end(process)
    assert code == 1, text
    if killed == "training":
        assert "failed: the training process was killed by SIGKILL (out of memory?)" in text
    else:
        assert login.run.state() == "interrupted"
        assert "interrupted; rerun the same command to resume" in text


def test_what_slurm_refuses_is_one_line_and_nothing_is_written(login: Login) -> None:
    for override, words in {
        "hardware.slurm.partition=nowhere": "hardware.slurm.partition=nowhere: Partition nowhere not found",
        "hardware.slurm.time_min=600": "hardware.slurm.time_min=600: partition low allows 60 at most",
        "hardware.slurm.mem_gb=9999": "Requested node configuration is not available",
    }.items():
        code, text = login.finish("arm=baseline", override, epochs=1)
        assert code == 2
        assert words in text
        assert slurm("squeue", "--noheader") == ""
        assert not login.experiment.exists()


def test_long_sweeps_are_several_arrays(login: Login) -> None:
    """The cluster allows arrays of four jobs."""
    arguments = ("-m", "arm=baseline", "seed=range(0,6)", "hardware.slurm.extra=[--hold]", "hardware.slurm.wait=false")
    assert login.finish(*arguments, epochs=1)[0] == 0
    jobs = slurm_queue.queue(login.experiment)
    arrays = sorted({job.array for job in jobs.values()})
    assert len(jobs) == 6
    assert len(arrays) == 2
    assert f"afterany:{arrays[0]}_*" in slurm("scontrol", "show", "job", str(arrays[1]))
    assert login.finish(*arguments, epochs=1)[0] == 0
    assert slurm_queue.queue(login.experiment) == jobs


@pytest.mark.skipif(cuda_devices() > 0, reason="the GPUs of this cluster are no GPUs")
def test_a_gpu_is_requested_and_a_node_that_offers_none_is_an_error_of_the_run(login: Login) -> None:
    process = login.start("arm=baseline", "hardware.device=cuda", epochs=1)
    wait_until(lambda: login.runs and slurm_queue.queue(login.experiment))
    assert "gres:gpu:1" in slurm("scontrol", "show", "job", login.job())
    code, text = end(process)
    assert code == 1
    assert re.search(r"failed: hardware.device=cuda: no CUDA GPU on \S+ for this job \(CUDA_VISIBLE_DEVICES=0\)", text)
