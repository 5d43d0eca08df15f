"""Runs as tasks of Ray: lost workers, runs of other commands, the job on a node, and what is refused.

A fake cluster, whose tasks end as the test says; the slow tests use a real one where Ray is installed.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import psutil
import pytest

from acmix_exp import executors, installed
from acmix_exp.config import HardwareConfig
from acmix_exp.errors import ConfigError
from acmix_exp.executors import ray, ray_driver
from acmix_exp.executors.job import CODES
from acmix_exp.executors.ray_job import main
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, DONE, KILLED
from acmix_exp.sweep import executor_keys
from acmix_exp.sweep.compose import compose_cells
from tests.robustness.commands import finish, only_run, start, tiny_data, wait_until

RAY = ("hardware=ray", "hardware.device=cpu", "hardware.workers=0")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")


class FakeRay:
    """A cluster whose tasks end at once. codes: of each run in turn an exit code, perhaps with a line, or an error."""

    def __init__(self, **codes: list[object]) -> None:
        self.codes, self.submitted, self.cancelled, self.most, self.said = codes, [], [], 0, []
        self.exceptions = SimpleNamespace(LocalRayletDiedError=ConnectionError)
        self.cloudpickle = SimpleNamespace(register_pickle_by_value=lambda module: None)

    def remote(self, function):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._submit))

    def _submit(self, command, environment, folder):
        self.submitted.append(os.path.basename(command[-1]))
        return len(self.submitted) - 1

    def wait(self, tasks, num_returns, timeout):
        self.most = max(self.most, len(tasks))
        return tasks[:1], tasks[1:]

    def get(self, task):
        outcome = self.codes[self.submitted[task]].pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome if isinstance(outcome, tuple) else (outcome, "")

    def cancel(self, task):
        self.cancelled.append(task)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Finish the tasks of a fake cluster with one run per name of its codes; the runs by name."""
    monkeypatch.setattr(ray_driver, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(ray_driver, "BUSY_SECONDS", 0.01)

    def finish(ray, runs_at_once=8, retries=1, **status):
        runs = {name: Run(tmp_path / name) for name in ray.codes}
        for run in runs.values():
            run.path.mkdir()
            run.set_status(**{"status": "pending", "attempt": 0, **status})
        request = {"runs": [str(run.path) for run in runs.values()], "runs_at_once": runs_at_once, "retries": retries}
        request |= {"cpus": 1, "gpus": 0, "command": [], "environment": {}, "folder": "."}
        ray_driver.Tasks(ray, request, say=ray.said.append).finish()
        return runs

    return finish


def test_every_run_is_a_task_and_few_are_submitted_at_a_time(finished):
    ray = FakeRay(a=[0], b=[3], c=[130], d=[0])
    finished(ray, runs_at_once=2)
    assert ray.submitted == ["a", "b", "c", "d"], "none is repeated: their statuses say how they ended"
    assert ray.most == 2


@pytest.mark.parametrize("loss", [RuntimeError("The worker died unexpectedly"), -9])
def test_a_lost_worker_is_one_run_that_is_tried_again(finished, loss):
    ray = FakeRay(a=[loss, 0], b=[0])
    runs = finished(ray)
    assert ray.submitted == ["a", "b", "a"]
    assert runs["a"].status()["status"] == "pending"
    assert "it is tried again, for the 1. time" in ray.said[0]


def test_a_run_whose_workers_are_always_lost_has_failed(finished):
    runs = finished(FakeRay(a=[RuntimeError("lost")] * 3, b=[0]), retries=2)
    assert runs["a"].state() == "failed"
    error = runs["a"].status()["error"]
    assert error.endswith("loss of its Ray worker, 3 times (hardware.ray.retries=2): RuntimeError: lost")
    assert error.startswith(KILLED), "the same command resumes it"


def test_the_losses_of_a_run_count_on_while_its_last_worker_is_taken_for_alive(finished):
    """The host of a lost node counts as at work for minutes."""
    lost = RuntimeError("lost")
    ray = FakeRay(a=[lost, CODES[BUSY], lost, CODES[BUSY], lost])
    assert finished(ray, retries=2)["a"].state() == "failed"


def test_a_run_at_work_on_a_node_that_was_taken_for_lost_is_left_to_it(finished, monkeypatch):
    ray = FakeRay(a=[RuntimeError("lost"), 0])
    monkeypatch.setattr(ray_driver.Run, "lock", lambda run: nullcontext(None))
    assert finished(ray, retries=0)["a"].state() == "pending"
    assert ray.submitted == ["a", "a"]


@pytest.mark.parametrize("status", ["pending", "interrupted"])
def test_a_job_that_ends_before_the_run_begins_is_told(finished, status):
    """Such as on a node that lacks the folder of the runs. What the run had is not lost."""
    ray = FakeRay(a=[(1, "/runs/a is not on node7; every node needs the folder of the runs")])
    run = finished(ray, status=status)["a"]
    assert run.state() == ("failed" if status == "pending" else "interrupted")
    assert run.status()["error"].startswith("its job ended before the run began: /runs/a is not on node7")
    assert len(ray.said) == (status == "interrupted")


def test_a_lost_cluster_is_no_fault_of_a_run(finished):
    with pytest.raises(ConnectionError):
        finished(FakeRay(a=[ConnectionError("raylet died")], b=[0]))


def test_a_run_that_another_command_trains_is_asked_for_again(finished):
    ray = FakeRay(a=[CODES[BUSY], CODES[BUSY], 0])
    finished(ray, retries=0)
    assert ray.submitted == ["a"] * 3


def test_tasks_are_cancelled_when_the_command_is_stopped(finished):
    ray = FakeRay(a=[0], b=[KeyboardInterrupt()], c=[0])
    with pytest.raises(KeyboardInterrupt):
        finished(ray)
    assert ray.cancelled == [2], "the one whose end is not known"


def test_a_cancelled_task_ends_its_job():
    code = "import time; time.sleep(60)"
    threading.Timer(2.0, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ray_driver.run_job([sys.executable, "-c", code], {}, ".")
    assert time.monotonic() - began < 20
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert ray_driver.run_job([sys.executable, "-c", "import sys; sys.exit(75)"], {}, ".") == (75, "")


def test_a_task_tells_the_last_line_of_its_job(tmp_path):
    code = "print(1); raise ImportError('no module')"
    try:
        assert ray_driver.run_job([sys.executable, "-c", code], {}, ".") == (1, "ImportError: no module")
        code, said = ray_driver.run_job(["/gone/python"], {}, ".")
        assert (code, "/gone/python" in said) == (1, True)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_the_job_says_how_the_run_ended(tmp_path, monkeypatch, capsys):
    run = Run(tmp_path / "a")
    arguments = [str(run.path), str(os.getppid())]
    monkeypatch.setattr("acmix_exp.executors.ray_job.die_with_parent", lambda parent: None)
    assert main(arguments) not in CODES.values()
    assert "every node needs the folder of the runs" in capsys.readouterr().err
    assert not run.path.exists()
    run.path.mkdir()
    (run.path / "config.yaml").touch()
    for outcome, code in CODES.items():
        monkeypatch.setattr("acmix_exp.executors.job.supervise", lambda *_, outcome=outcome: outcome)
        assert main(arguments) == code


def test_finished_runs_need_no_cluster(tmp_path):
    run = Run(tmp_path / "a")
    run.path.mkdir()
    (run.path / "result.json").write_text(json.dumps({"metrics": {"map50": 0.5, "map50_95": 0.3}, "cost": {}}))
    run.set_status(status=DONE, attempt=1)
    executor = executors.create([run], HardwareConfig("ray"))
    executor.start()
    assert executor.wait(10)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("hardware.ray.address=here", "hardware.ray.address=here: must be auto, or HOST:PORT"),
        ("hardware.ray.cpus=0", "hardware.ray.cpus=0: must be a number above 0"),
        ("hardware.ray.retries=-1", "hardware.ray.retries=-1: must be a whole number from 0"),
        ("hardware.gpus_per_run=1.5", "must be a whole number from 1, or a part of a GPU such as 0.5"),
        ("hardware.device=0", "hardware.device=0: must be cuda or cpu with hardware.executor=ray"),
        ("task=profile", "hardware=ray: task=profile runs on this machine"),
        ("hardware.slurm.partition=a", "hardware.executor=ray has no use for it; add hardware=slurm"),
    ],
)
def test_refused(argument, said, monkeypatch):
    monkeypatch.setattr(executor_keys, "find_spec", lambda name: SimpleNamespace(origin="ray/__init__.py"))
    with pytest.raises(ConfigError) as caught:
        compose_cells(["hardware=ray", argument])
    assert said in caught.value.lines[0]


@pytest.mark.parametrize("spec", [None, SimpleNamespace(origin=None)], ids=["nothing", "a folder called ray"])
def test_without_ray_the_line_says_what_to_install(monkeypatch, spec):
    monkeypatch.setattr(executor_keys, "find_spec", lambda name: spec)
    with pytest.raises(ConfigError, match=r"pip install 'acmix_exp\[ray\]'"):
        compose_cells(["hardware=ray"])
    compose_cells(["hardware=ray", "task=plan"])


def test_a_part_of_a_gpu_is_for_ray_alone():
    for number in ("0.5", "2"):
        (cell,) = compose_cells(["hardware=ray", "task=plan", f"hardware.gpus_per_run={number}"])
        assert cell.config.hardware.gpus_per_run == float(number)
    with pytest.raises(ConfigError, match=r"hardware.gpus_per_run=0.5: must be a whole number from 1"):
        compose_cells(["hardware=multi_gpu", "task=plan", "hardware.device=cpu", "hardware.gpus_per_run=0.5"])


def test_a_job_gets_the_variables_of_the_command(monkeypatch, tmp_path):
    """A cluster that runs already has the environment of whoever started it. PYTHONPATH is not needed if installed."""
    for key in [key for key in os.environ if key.startswith(("WANDB", "YOLO", "XDG", "PYTHONPATH"))]:
        monkeypatch.delenv(key)
    monkeypatch.setattr(installed, "_installed_folders", lambda: [installed._OWN_PARENT])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    request = ray._request([Run(tmp_path)], HardwareConfig("ray", "cpu"))
    assert request["environment"] == {"WANDB_MODE": "disabled"}


@needs_ray
@pytest.mark.slow
def test_a_sweep_is_the_one_of_this_machine(tmp_path):
    data = tiny_data(tmp_path / "data")
    sweep = ("-m", "seed=0,1", "train.epochs=2")
    for name, arguments in (("here", ()), ("ray", RAY)):
        code, _, err = finish(tmp_path, data, *sweep, f"name={name}", *arguments)
        assert code == 0, err
    results = {
        name: [json.loads(path.read_text()) for path in sorted((tmp_path / "runs" / name).glob("*/result.json"))]
        for name in ("here", "ray")
    }
    assert len(results["ray"]) == 2
    for here, of_ray in zip(results["here"], results["ray"], strict=True):
        assert here["metrics"] == of_ray["metrics"]


@needs_ray
@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_run_resumes(tmp_path):
    process = start(tmp_path, tiny_data(tmp_path / "data"), "train.epochs=40", *RAY)
    history = lambda: list(tmp_path.glob("runs/default/*/history.csv"))  # noqa: E731
    wait_until(history, process)
    _job_of(tmp_path).parent().kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    status = only_run(tmp_path).status()
    assert (status["status"], status["attempt"], status["resumed"]) == ("done", 2, True)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_interrupts_its_runs(tmp_path, number, code):
    data = tiny_data(tmp_path / "data")
    process = start(tmp_path, data, "train.epochs=40", *RAY)
    wait_until(lambda: list(tmp_path.glob("runs/default/*/history.csv")), process)
    job = _job_of(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert only_run(tmp_path).status()["status"] == "interrupted"
    assert not job.is_running() or job.status() == psutil.STATUS_ZOMBIE


@needs_ray
@pytest.mark.slow
def test_a_lost_cluster_ends_the_command_with_true_statuses(tmp_path):
    process = start(tmp_path, tiny_data(tmp_path / "data"), "train.epochs=200", *RAY)
    wait_until(lambda: list(tmp_path.glob("runs/default/*/history.csv")), process)
    children = psutil.Process(process.pid).children(recursive=True)
    (head,) = [child for child in children if "gcs_server" in child.name()]
    head.kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "the Ray cluster was lost" in err
    assert only_run(tmp_path).state() == "interrupted"


@needs_ray
@pytest.mark.slow
def test_an_address_that_does_not_answer(tmp_path):
    began = time.monotonic()
    code, _, err = finish(tmp_path, tiny_data(tmp_path / "data"), *RAY, "hardware.ray.address=127.0.0.1:1")
    assert code == 2
    assert err.splitlines()[-1] == "acmix_exp: hardware.ray.address=127.0.0.1:1: no answer within 10 seconds"
    assert time.monotonic() - began < 120
    assert not (tmp_path / "runs").exists()


def _job_of(folder) -> psutil.Process:
    (job,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"acmix_exp.executors.ray_job"} <= set(process.info["cmdline"] or ())
        and str(folder) in " ".join(process.info["cmdline"])
    ]
    return job
