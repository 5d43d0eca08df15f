"""Child processes: what they are given, how they answer, and how they end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from acmix_exp import child
from acmix_exp.child import Child, child_environment, describe_exit, require, run_child, spare, take_spare
from acmix_exp.errors import ChildError, ConfigError
from acmix_exp.worker import TASKS

HEAD = """
import os, signal, sys, time
from pathlib import Path
from acmix_exp.errors import ConfigError
from acmix_exp.worker import leave, serve
"""
TAIL = """
leave(serve(lambda: work))
"""


@pytest.fixture
def work(monkeypatch):
    """``work("return 1")``: the body of the task's function in the child, which finds ``job``."""

    def put(body: str) -> None:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        code = f"{HEAD}def work(job):\n{lines}{TAIL}"
        monkeypatch.setattr(child, "command", lambda task, folder: [sys.executable, "-c", code, str(folder)])

    return put


def test_request_steps_and_answer(work, tmp_path):
    work('job.step("adding"); print("said"); return {"sum": sum(job.request["numbers"]), "device": job.device}')
    steps: list[str] = []
    answer = run_child("any", tmp_path, {"numbers": [1, 2]}, on_step=steps.append)
    assert (answer.code, answer.error, answer.value) == (0, None, {"sum": 3, "device": "cpu"})
    assert steps == ["adding"]
    assert answer.output == "said\n"
    assert require(answer, "the sum") == {"sum": 3, "device": "cpu"}


def test_a_request_larger_than_a_pipe(work, tmp_path):
    work('return len(job.request["text"])')
    assert run_child("any", tmp_path, {"text": "x" * 10**6}).value == 10**6


def test_printed_text_goes_to_the_log(work, tmp_path):
    work('print("one")\nos.write(2, b"two\\n")')
    log = tmp_path / "log"
    log.write_text("zero\n")
    with Child("any", tmp_path) as process:
        process.send({}, log=log, append=True)
        assert process.answer().output == ""
    assert log.read_text() == "zero\none\ntwo\n"
    assert run_child("any", tmp_path, log=log).error is None
    assert log.read_text() == "one\ntwo\n"


def test_what_its_own_children_append_to_the_log_is_kept(work, tmp_path):
    work("""
import subprocess
print("one", flush=True)
with open(job.folder / "log", "ab") as log:
    subprocess.run([sys.executable, "-c", "print('two')"], stdout=log)
print("three")""")
    assert run_child("any", tmp_path, log=tmp_path / "log").error is None
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\n"


def test_it_can_have_several_gpus(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = lambda gpu: child.own_variables(1, gpu)["CUDA_VISIBLE_DEVICES"]  # noqa: E731
    assert [seen(gpu) for gpu in (None, 2, [0, 3], ())] == ["-1", "2", "0,3", "-1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b,GPU-c")
    assert [seen(gpu) for gpu in (1, [0, 2])] == ["GPU-b", "GPU-a,GPU-c"]


def test_variables_of_distributed_training_are_not_passed_on(monkeypatch):
    for name in child.RANK_VARIABLES:
        monkeypatch.setenv(name, "0")
    with child_environment(1, None, {}) as environment:
        assert not environment.keys() & set(child.RANK_VARIABLES)
    with child_environment(1, None, {"RANK": "1"}) as environment:
        assert environment["RANK"] == "1"


def test_the_settings_folder_of_a_child_s_child_is_within_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv(child.USER_SETTINGS_VARIABLE, "users")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    with child_environment(1, None, {}) as environment:
        assert Path(environment["YOLO_CONFIG_DIR"]).parent == tmp_path
        assert environment[child.USER_SETTINGS_VARIABLE] == "users"


def test_a_spare_child_is_taken_once_and_told_its_folder(work, tmp_path):
    work("return str(job.folder)")
    assert take_spare("any", 1) is None
    with spare("any", tmp_path, 1):
        assert take_spare("any", 2) is None
        taken = take_spare("any", 1)
        assert take_spare("any", 1) is None
        with taken as process:
            process.send({}, folder=tmp_path / "run")
            assert process.answer().value == str(tmp_path / "run")


def test_a_spare_child_that_nobody_takes_or_that_died_is_none(work, tmp_path):
    work("time.sleep(60)")
    others = set(psutil.Process().children())
    with spare("any", tmp_path, 1):
        pass
    assert take_spare("any", 1) is None
    assert set(psutil.Process().children()) <= others
    with spare("any", tmp_path, 1):
        (process,) = set(psutil.Process().children()) - others
        process.kill()
        time.sleep(0.2)
        assert take_spare("any", 1) is None


@pytest.mark.parametrize(
    ("body", "code", "error", "kind"),
    [
        ('raise ValueError("a  b\\nc")', 1, "ValueError: a b c", "ValueError"),
        ('raise ConfigError("a=1: must be 2", "b=1: must be 3")', 1, "a=1: must be 2; b=1: must be 3", "ConfigError"),
        ("os._exit(3)", 3, "exited with 3", ""),
        ('print("no memory", flush=True); os._exit(3)', 3, "no memory", ""),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "was killed by SIGKILL (out of memory?)", ""),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -11, "was killed by SIGSEGV", ""),
    ],
)
def test_how_it_ended_is_one_line(work, tmp_path, body, code, error, kind):
    work(body)
    answer = run_child("any", tmp_path)
    assert (answer.code, answer.error, answer.kind, answer.value) == (code, error, kind, None)


def test_a_fault_of_the_config_is_raised_as_one_and_any_other_end_is_not(work, tmp_path, capsys):
    work('raise ConfigError("a=1: must be 2")')
    with pytest.raises(ConfigError, match=r"^a=1: must be 2$"):
        require(run_child("any", tmp_path), "the check")
    work('print("details"); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)')
    with pytest.raises(ChildError, match=r"^the check failed: was killed by SIGKILL \(out of memory\?\)$"):
        require(run_child("any", tmp_path), "the check")
    assert capsys.readouterr().err == "details\n"


def test_a_time_limit(work, tmp_path):
    work("time.sleep(60)")
    answer = run_child("any", tmp_path, seconds=1)
    assert (answer.error, answer.kind) == ("did not finish within 1 seconds", "TimeoutError")


def signal_when_filled(path: Path) -> None:
    while not (path.exists() and path.read_text()):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGALRM)


def test_an_interrupt_ends_the_child_and_its_children(work, tmp_path):
    work("""
import subprocess
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
(job.folder / "pids").write_text(f"{os.getpid()} {grandchild.pid}")
time.sleep(60)""")

    def interrupt(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    threading.Thread(target=signal_when_filled, args=(tmp_path / "pids",), daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_child("any", tmp_path)
    finally:
        signal.signal(signal.SIGALRM, previous)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + 5
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, pids))


def running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_files_threads_and_descriptors_remain(work, tmp_path):
    work('Path(os.environ["YOLO_CONFIG_DIR"], "settings.json").write_text("{}"); return os.environ["YOLO_CONFIG_DIR"]')
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    answer = run_child("any", tmp_path / "missing")
    assert answer.error is None
    assert not Path(answer.value).exists()
    assert not (tmp_path / "missing").exists()
    assert threading.active_count() == 1
    assert not files or len(os.listdir("/proc/self/fd")) == files


def test_temporary_folders_that_a_library_keeps_to_its_exit_are_removed(work, tmp_path):
    work("import tempfile; tempfile.kept = tempfile.TemporaryDirectory(); return tempfile.kept.name")
    assert not Path(run_child("any", tmp_path).value).exists()


def test_the_command_line_is_short_and_holds_the_full_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "a"
    assert child.command("train", Path("runs/b/../a"))[1:] == ["-m", "acmix_exp.worker", "train", str(folder)]


def test_an_unknown_task_is_an_error_in_one_line(tmp_path):
    with Child("nothing", tmp_path) as process:
        assert process.answer().error == "KeyError: 'nothing'"


def test_every_task_names_a_function():
    from importlib import import_module

    for target in TASKS.values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))


def test_the_environment_is_the_childs_alone(monkeypatch):
    before = dict(os.environ)
    with child_environment(2, None, {"MORE": "1"}) as environment:
        assert dict(os.environ) == before
        assert Path(environment["YOLO_CONFIG_DIR"]).is_dir()
        assert (environment["OMP_NUM_THREADS"], environment["MORE"]) == ("2", "1")
        assert (environment["YOLO_AUTOINSTALL"], environment["CUDA_VISIBLE_DEVICES"]) == ("false", "-1")
    assert not Path(environment["YOLO_CONFIG_DIR"]).exists()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with child_environment(1, 1, {}) as environment:
        assert environment["CUDA_VISIBLE_DEVICES"] == "5"


def test_how_an_exit_is_described():
    assert describe_exit(2) == "exited with 2"
    assert describe_exit(-15) == "was killed by SIGTERM"
