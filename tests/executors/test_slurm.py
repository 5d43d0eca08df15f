"""Arrays of a queue that is a JSON file: what is submitted, once; how runs end; what is refused, and written then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading

import pytest

from acmix_exp import executors, installed
from acmix_exp.config import HardwareConfig, SlurmConfig
from acmix_exp.errors import ConfigError
from acmix_exp.executors import job, slurm, slurm_job, slurm_queue, slurm_script
from acmix_exp.run import devices, supervise
from acmix_exp.run.directory import Run
from acmix_exp.run.owner import Owner
from acmix_exp.run.supervise import BUSY, DONE, FAILED, INTERRUPTED
from tests.executors.fake_slurm import FakeSlurm

NAMES = [f"mixed-s{seed}-0000000{seed}" for seed in range(4)]
RESULT = {"metrics": {"map50": 0.5, "map50_95": 0.3}, "cost": {}}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "cluster")
    monkeypatch.setenv("PATH", fake.on_path())
    monkeypatch.setattr(slurm, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    return fake


@pytest.fixture
def runs(tmp_path):
    """Four pending runs."""
    made = [Run(tmp_path / "runs" / "test" / name) for name in NAMES]
    for run in made:
        run.path.mkdir(parents=True)
        run.set_status(status="pending", attempt=0, error=None)
    return made


def hardware(device="cuda", runs_at_once=8, **slurm):
    """The hardware of conf/hardware/slurm.yaml."""
    return HardwareConfig("slurm", device, runs_at_once=runs_at_once, slurm=SlurmConfig(**slurm))


@pytest.fixture
def started(cluster, runs):
    def start(of=None, **options):
        executor = executors.create(runs if of is None else of, hardware(**options))
        executor.start()
        return executor

    return start


def finish(run):
    (run.path / "result.json").write_text(json.dumps(RESULT))
    run.set_status(status="done", attempt=1)


def test_one_array_of_the_unfinished_runs(cluster, runs, started):
    finish(runs[1])
    started(runs_at_once=2, partition="long", mem_gb=2.5)
    (options,) = cluster.submitted()
    assert options["array"] == "0-2%2"
    assert (options["partition"], options["mem"], options["gres"]) == ("long", "2560M", "gpu:1")
    assert (options["time"], options["signal"], options["cpus-per-task"]) == ("240", "B:USR1@120", "5")
    assert {"requeue", "parsable"} <= options.keys()
    assert options["open-mode"] == "append"
    assert not {"account", "qos", "constraint"} & options.keys()
    folder = runs[0].path.parent
    assert options["output"] == f"{folder}/.slurm/%A_%a.log"
    content = options["job-name"].rpartition(".")[2]
    assert slurm_queue.read_list(folder, content) == [NAMES[0], NAMES[2], NAMES[3]]
    script = (folder / ".slurm" / f"{content}.sh").read_text()
    assert script.endswith(f'.slurm/{content}.json "${{SLURM_ARRAY_TASK_ID:-0}}" 10\n')
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_nothing_is_submitted_if_all_are_done(cluster, runs, started):
    for run in runs:
        finish(run)
    assert started().wait(10)
    assert cluster.state["calls"] == []


def test_a_run_that_diverged_is_not_submitted(cluster, runs, started):
    runs[0].set_status(status="failed", attempt=1, error="NonFiniteLoss: the loss is nan")
    started()
    assert [options["array"] for options in cluster.submitted()] == ["0-2%8"]


def test_the_same_command_attaches_and_submits_only_new_runs(cluster, runs, started, capsys):
    started(of=runs[:3])
    again = started()
    assert [options["array"] for options in cluster.submitted()] == ["0-2%8", "0-0%8"]
    assert "3 jobs of this command in the queue already (100)" in capsys.readouterr().err
    assert again.interrupt() == (
        "detached; the same command attaches again, and 'scancel 100 103' ends what is left: 4 jobs"
    )
    started()
    assert len(cluster.submitted()) == 2


def test_two_commands_at_once_submit_each_run_once(cluster, started):
    threads = [threading.Thread(target=started) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [options["array"] for options in cluster.submitted()] == ["0-3%8"]


def test_a_run_whose_job_has_ended_is_submitted_again(cluster, runs, started):
    started()
    cluster.jobs("CANCELLED", 1)
    cluster.jobs("COMPLETED", 0)
    started()
    folder = runs[0].path.parent
    contents = [options["job-name"].rpartition(".")[2] for options in cluster.submitted()]
    assert [slurm_queue.read_list(folder, content) for content in contents] == [NAMES, NAMES[:2]]
    jobs = slurm_queue.queue(folder)
    assert {name: job.id for name, job in jobs.items()} == dict(
        zip(NAMES, ["104_0", "104_1", "100_2", "100_3"], strict=True)
    )


def test_jobs_of_a_copied_folder_are_not_its_own(cluster, runs, started, tmp_path):
    started()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(runs[0].path.parent), str(copy)], check=True)
    assert slurm_queue.queue(copy) == {}
    link = tmp_path / "link"
    link.symlink_to(runs[0].path.parent)
    assert len(slurm_queue.queue(link)) == 4


def test_arrays_are_no_longer_than_the_cluster_allows(cluster, started):
    cluster.set(max_array_size=3)
    started()
    first, second = cluster.submitted()
    assert (first["array"], second["array"]) == ("0-2%8", "0-0%8")
    assert "dependency" not in first
    assert second["dependency"] == "afterany:100"


def test_a_cluster_without_arrays(cluster, runs, started):
    cluster.set(max_array_size=0)
    started(of=runs[:2])
    first, second = cluster.submitted()
    assert "array" not in first
    assert "array" not in second
    assert first["output"].endswith("%j_0.log")


def test_arrays_over_the_limit_of_jobs_are_left_for_later(cluster, runs, started, capsys):
    cluster.set(max_array_size=3, refuse={"--dependency": "sbatch: error: Job violates accounting/QOS policy"})
    executor = started()
    assert "1 runs are not submitted" in (err := capsys.readouterr().err)
    assert "Job violates accounting/QOS policy" in err
    for run in runs[:3]:
        finish(run)
    cluster.jobs("COMPLETED")
    assert executor.wait(1)


def test_the_end_of_all_runs_is_seen(cluster, runs, started):
    executor = started()
    assert not executor.wait(0)
    assert executor.notes() == dict.fromkeys(NAMES, "Priority")
    cluster.jobs("RUNNING")
    for run in runs:
        run.set_status(status="running", attempt=1)
    assert not executor.wait(0)
    assert executor.notes() == {}
    for run in runs:
        finish(run)
    assert executor.wait(0)
    assert executor.interrupt() is None


def test_a_job_that_dies_before_it_begins_is_a_failed_run(cluster, runs, started):
    executor = started(of=runs[:1])
    cluster.jobs("FAILED")
    log = runs[0].path.parent / ".slurm" / "100_0.log"
    log.write_text("bash: line 3: module: command not found\n\n")
    assert executor.wait(1)
    status = runs[0].status()
    assert status["status"] == "failed"
    assert status["error"] == (
        f"job 100_0 ended before the run began: bash: line 3: module: command not found; see {log}"
    )


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_job_that_is_cancelled_before_it_begins_is_an_interrupted_run(cluster, runs, started, forgotten):
    executor = started()
    cluster.jobs("CANCELLED")
    if forgotten:
        cluster.forget()
    assert executor.wait(1)
    assert {run.state() for run in runs} == {"interrupted"}
    assert runs[0].status()["error"] == "job 100_0 left the queue before the run began"


@pytest.mark.parametrize(
    ("state", "status", "error"), [("NODE_FAIL", "interrupted", None), ("OUT_OF_MEMORY", "failed", "out of memory")]
)
def test_a_job_that_is_killed_with_its_supervisor(cluster, runs, started, state, status, error):
    executor = started(of=runs[:1])
    cluster.jobs("RUNNING")
    there = Owner("node7", 1, 5, "boot there", "pids there", job="100")
    (runs[0].path / ".claim-there").write_text(json.dumps(there.record()))
    runs[0].set_status(status="running", attempt=1, owner=there.record())
    assert not executor.wait(0.05)
    cluster.jobs(state)
    assert executor.wait(1)
    found = runs[0].status()
    assert found["status"] == status
    assert supervise._scratch_reason(runs[0], found) == "no checkpoint was saved", "otherwise it would resume"
    assert (error is None and found["error"] is None) or error in found["error"]


def test_a_run_that_was_interrupted_by_scancel_keeps_its_status(cluster, runs, started):
    executor = started(of=runs[:1])
    cluster.jobs("CANCELLED")
    (runs[0].path.parent / ".slurm" / "100_0.log").write_text("slurmstepd: error: *** JOB 100 CANCELLED ***\n")
    runs[0].set_status(status="interrupted", attempt=1, error="the training process was killed by SIGTERM")
    assert executor.wait(1)
    assert runs[0].status()["error"] == "the training process was killed by SIGTERM"


@pytest.mark.parametrize(
    ("state", "error"), [("CANCELLED", None), ("FAILED", "job 100_0 ended before the run began: module: not found")]
)
def test_a_run_that_waits_to_go_on_is_never_begun_anew(cluster, runs, started, capsys, state, error):
    """A command attaches to its requeued job, which then ends in the queue, or by a line of ``setup``."""
    started(of=runs[:1])
    runs[0].set_status(status="interrupted", attempt=1)
    (runs[0].path.parent / ".slurm" / "100_0.log").write_text("requeued, for the 1. time\nmodule: not found\n")
    again = started(of=runs[:1])
    cluster.jobs(state)
    assert again.wait(1)
    status = runs[0].status()
    assert status["status"] == "interrupted"
    assert (error is None and status["error"] is None) or status["error"].startswith(error)
    assert (f"{NAMES[0]}: {error}" in capsys.readouterr().err) == (error is not None)


def test_a_requeued_job_is_waited_for(cluster, runs, started):
    executor = started(of=runs[:1])
    runs[0].set_status(status="interrupted", attempt=1)
    cluster.jobs("PENDING", reason="BeginTime")
    assert not executor.wait(0.05)
    assert executor.notes() == {NAMES[0]: "BeginTime"}


def test_a_queue_that_cannot_be_read_for_a_while_ends_nothing(cluster, runs, started, capsys):
    executor = started()
    cluster.set(refuse={"squeue": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"})
    assert not executor.wait(0.05)
    assert "Unable to contact slurm controller (connect failure)" in capsys.readouterr().err


def test_what_another_command_trains_is_left_to_it(cluster, runs, started):
    runs[0].set_status(status="running", attempt=1, owner=Owner.here().record())
    executor = started()
    assert [options["array"] for options in cluster.submitted()] == ["0-2%8"]
    for run in runs[1:]:
        finish(run)
    cluster.jobs("COMPLETED")
    assert not executor.wait(0.05)
    runs[0].set_status(status="interrupted")
    assert executor.wait(1)


@pytest.mark.parametrize(
    ("slurm", "refuse", "line"),
    [
        ({"partition": "none"}, {}, "hardware.slurm.partition=none: Partition none not found"),
        ({"time_min": 9999}, {}, "hardware.slurm.time_min=9999: partition gpu allows 1440 at most"),
        (
            {"account": "me"},
            {"--test-only": "sbatch: error: Invalid account\nsbatch: error: Invalid account"},
            "hardware=slurm: sbatch refuses: Invalid account (asked of partition gpu: 5 cores, mem_gb=None, 1 GPU; "
            "hardware.device=cpu asks for none)",
        ),
        ({}, {"squeue": "squeue: error: no controller"}, "hardware=slurm: the queue cannot be read: no controller"),
        ({}, {"--parsable": "sbatch: error: limit"}, "hardware=slurm: sbatch refuses: limit"),
    ],
)
def test_refusals_are_one_line_with_the_words_of_slurm(cluster, started, slurm, refuse, line):
    cluster.set(refuse=refuse)
    with pytest.raises(ConfigError) as error:
        started(**slurm)
    assert error.value.lines == [line]
    assert cluster.state["jobs"] == []


def test_nodes_that_are_down_may_come_back(cluster, started, capsys):
    cluster.set(refuse={"--test-only": "allocation failure: Requested node configuration is not available"})
    cluster.set(nodes="idle\ndown*\n")
    started()
    assert "Slurm says now: Requested node configuration is not available" in capsys.readouterr().err
    assert len(cluster.submitted()) == 1


def test_a_cpu_requests_no_gpu_and_raw_options_win(tmp_path):
    def gpu_options(**options):
        given = slurm_script.options(hardware(**options), tmp_path, "n", 2)
        return [option for option in given if option.startswith(("--gres", "--gpus"))]

    assert gpu_options(device="cpu") == []
    assert gpu_options(device="auto") == gpu_options() == ["--gres=gpu:1"]
    assert gpu_options(extra=["#SBATCH --gpus=a100:1 --exclusive"]) == ["--gpus=a100:1"]


def test_the_script_sets_what_a_site_may_not_export(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for key in [key for key in os.environ if key.startswith(("WANDB", "YOLO"))]:
        monkeypatch.delenv(key)
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": "secret", "XDG_CACHE_HOME": "/a b", "PYTHONPATH": "/p"}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    lines = slurm_script.script(hardware(setup=["module load cuda"]), tmp_path / "l")
    assert "secret" not in lines
    first, _, *body, command = lines.splitlines()
    assert first == "#!/bin/bash"
    assert body == [
        "set -e",
        f"cd {tmp_path}",
        "export WANDB_MODE=offline",
        "export XDG_CACHE_HOME='/a b'",
        f"export PYTHONPATH={installed.python_path()}",
        "module load cuda",
    ]
    assert command.startswith("exec ")


def test_jobs_in_words_for_the_plan(cluster, runs, started):
    folder = runs[0].path.parent
    assert executors.jobs(folder) == {}
    started()
    cluster.jobs("RUNNING", 0)
    cluster.jobs("COMPLETED", 1)
    assert executors.jobs(folder) == {
        NAMES[0]: "100_0 RUNNING",
        NAMES[2]: "100_2 PENDING (Priority)",
        NAMES[3]: "100_3 PENDING (Priority)",
    }


class TestJob:
    """The side of the node."""

    @pytest.fixture
    def job(self, cluster, runs, monkeypatch):
        """``job(supervise, restarts)``: the exit code of the job of the second run."""

        def work(supervise, restarts=0):
            monkeypatch.setenv("SLURM_JOB_ID", "100")
            monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
            monkeypatch.setattr(job, "supervise", supervise)
            folder = runs[0].path.parent
            content = slurm_queue.write_list(folder, NAMES)
            return slurm_job.main([str(slurm_queue.list_path(folder, content)), "1", "3"])

        return work

    @pytest.mark.parametrize(("outcome", "code"), [(DONE, 0), (FAILED, 3), (INTERRUPTED, 130), (BUSY, 75)])
    def test_exit_codes(self, job, monkeypatch, outcome, code):
        monkeypatch.setattr(slurm_job, "BUSY_SECONDS", 0)
        seen = []

        def supervise(run, command):
            seen.append((run.name, command.scheduled))
            return outcome

        assert job(supervise) == code
        assert seen == [(NAMES[1], True)]

    @pytest.mark.parametrize(
        ("number", "state", "preempted", "restarts", "requeued"),
        [
            (signal.SIGUSR1, "RUNNING", False, 0, True),
            (signal.SIGUSR1, "RUNNING", False, 2, True),
            (signal.SIGUSR1, "RUNNING", False, 3, False),
            (signal.SIGTERM, "CANCELLED", False, 0, False),
            (signal.SIGTERM, "RUNNING", True, 0, True),
            (signal.SIGTERM, "RUNNING", False, 0, False),
            (signal.SIGTERM, "TIMEOUT", False, 0, True),
            (signal.SIGTERM, "PENDING", False, 0, False),
        ],
    )
    def test_requeue(self, cluster, job, number, state, preempted, restarts, requeued):
        time = "2026-01-01T00:00:00" if preempted else "None"
        cluster.set(job=f"JobId=100 JobState={state} Reason=None\n PreemptEligibleTime=2026-01-01 PreemptTime={time}")

        def supervise(run, command):
            os.kill(os.getpid(), number)
            assert command.stop.wait(5)
            return INTERRUPTED

        assert job(supervise, restarts) == 130
        assert (["requeue", "100"] in cluster.calls("scontrol")) == requeued

    def test_a_full_disk_is_one_line(self, job, capsys):
        def supervise(run, command):
            raise OSError(28, "No space left on device", "weights/last.pt")

        assert job(supervise) == 130
        assert "interrupted: No space left on device: weights/last.pt" in capsys.readouterr().out

    def test_the_owner_whose_job_has_ended(self, cluster, job):
        asked = {}

        def supervise(run, command):
            for owner in (Owner("n1", job="100"), Owner("n1", job="999"), Owner("n1")):
                asked[owner.job] = command.has_ended(owner)
            return DONE

        jobs = [{"array": 100, "index": 0, "number": 100, "name": "n", "state": "RUNNING", "reason": "None"}]
        cluster.set(jobs=jobs, refuse={"--jobs=999": "slurm_load_jobs error: Invalid job id specified"})
        job(supervise)
        assert asked == {"100": False, "999": True, None: False}
        cluster.jobs("NODE_FAIL")
        job(supervise)
        assert asked["100"]

    def test_a_node_without_a_gpu_is_a_failed_run_and_the_line_says_why(self, make_run, monkeypatch):
        monkeypatch.setattr(devices, "cuda_devices", lambda: 0)
        run = make_run("gpu-s0-00000000", "hardware=slurm")
        assert supervise.supervise(run, supervise.Command(scheduled=True)) == FAILED
        assert "hardware.device=cuda: no CUDA GPU on" in run.status()["error"]
