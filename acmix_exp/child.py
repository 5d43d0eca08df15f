"""Child processes: how they are started, answered and ended. Their own side is ``acmix_exp/worker.py``.

Every child is ``python -m acmix_exp.worker TASK FOLDER``. It leads its own process group, so Ctrl-C reaches the parent
alone, which then ends the group; the kernel kills it if the parent disappears. A child's own children stay in its
group, so that whatever ends it ends them. The parent writes two JSON lines to its stdin: at the start which device to
use, and, perhaps while the child still imports, what to do. Steps and the answer come back as JSON lines through a
pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from acmix_exp import installed
from acmix_exp.errors import ChangedError, ChildError, ConfigError, StorageError

GRACE_SECONDS = 3.0
POLL_SECONDS = 0.2
# Names the user's YOLO_CONFIG_DIR to a child, which gets a private YOLO_CONFIG_DIR.
USER_SETTINGS_VARIABLE = "ACMIX_EXP_USER_YOLO_CONFIG_DIR"
# Of distributed training. A cluster may set them in every job, and ultralytics would take them for its own.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Job:
    """What a task's function gets in the child.

    folder: the run or experiment folder. request: what the parent sent. device: ``"cpu"`` or the CUDA index 0, the
    first GPU that the child sees. step: shows the parent, in a few words, what begins now. environment: the variables
    that the child was started with; packages add some when they are imported.
    """

    folder: Path
    request: dict[str, Any]
    device: int | str
    step: Callable[[str], None]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """How a child ended.

    code: exit code; negative: the signal that killed it. value: what the task's function returned. error: why there is
    no value, in one line, else None. kind: class name of the exception, TimeoutError after ``seconds``. output: what
    the child printed, if that did not go to a log file.
    """

    code: int
    value: Any = None
    error: str | None = None
    kind: str = ""
    output: str = ""


def run_child(task: str, folder: Path, request: Mapping[str, Any] | None = None, **options: Any) -> Answer:
    """Start a child, wait for its end and return its answer; the arguments are those of :class:`Child`."""
    with Child(task, folder, request or {}, **options) as child:
        return child.answer()


class Child:
    """A child process at work on ``folder``, which need not exist. Leaving the context ends it and its group.

    request: plain data for the task; None: it follows by :meth:`send`, while the child imports. threads: of torch,
    OpenMP and MKL. gpu: index of the GPU, or indices of the GPUs, it may use, None for none. log: see :meth:`send`.
    on_step: called, from another thread, with each step's text. seconds: time limit. variables: more environment
    variables. own_group: false for a child of a child, which stays in the group of its parent.
    """

    def __init__(
        self,
        task: str,
        folder: Path,
        request: Mapping[str, Any] | None = None,
        *,
        threads: int = 1,
        gpu: int | Sequence[int] | None = None,
        log: Path | None = None,
        on_step: Callable[[str], None] | None = None,
        seconds: float | None = None,
        variables: Mapping[str, str] | None = None,
        own_group: bool = True,
    ) -> None:
        self._command = command(task, folder)
        self._folder, self._request = folder, request
        self._header: dict[str, Any] = {"device": "cpu" if gpu is None else 0, "parent": os.getpid()}
        self._header["foreign"] = [[module.name, module.path] for module in installed.in_children()]
        self._environment = child_environment(threads, gpu, variables or {})
        self._log = log
        self._on_step, self._seconds, self._own_group = on_step, seconds, own_group
        self._answer: dict[str, Any] = {}
        self._started = self._ended = False
        self._cleanup = contextlib.ExitStack()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Child:
        if self._started:
            return self
        with self._cleanup:
            environment = self._cleanup.enter_context(self._environment)
            self._output: IO[bytes] = self._cleanup.enter_context(tempfile.TemporaryFile())
            read_end, write_end = os.pipe()
            self._reader = threading.Thread(target=self._read, args=(read_end,), daemon=True)
            self._reader.start()
            # Of a cluster's signals those are for the parent alone, but are sent to every process of a job.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGUSR2))
            try:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=(write_end,),
                    start_new_session=self._own_group,
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                os.close(write_end)
            self._cleanup.callback(self.end)
            self._write({**self._header, "answers": write_end})
            if self._request is not None:
                self.send(self._request, log=self._log)
            self._deadline = time.monotonic() + self._seconds if self._seconds else None
            self._cleanup = self._cleanup.pop_all()
        self._started = True
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def send(
        self,
        request: Mapping[str, Any],
        *,
        folder: Path | None = None,
        log: Path | None = None,
        append: bool = False,
        claim: Path | None = None,
    ) -> None:
        """Give the child its request, and another folder than it was started with.

        log: file for its output (``append`` keeps what is in it); without one the output is in the answer. claim: file
        that the child keeps alive (run/claim.py); if it is deleted, the child ends.
        """
        self._log = log
        order = {"request": dict(request), "folder": os.path.abspath(folder or self._folder), "append": append}
        paths = {name: path and os.path.abspath(path) for name, path in (("log", log), ("claim", claim))}
        self._write({**order, **paths})

    def ended(self, seconds: float = POLL_SECONDS) -> bool:
        """Whether it has ended; waits for that, up to ``seconds``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    @property
    def code(self) -> int | None:
        """Its exit code, once :meth:`ended`; negative: the signal that killed it."""
        return self._process.returncode

    def answer(self) -> Answer:
        """Wait for the end and say how it went."""
        while not self.ended():
            if self._deadline and time.monotonic() > self._deadline:
                self.end()
                late = f"did not finish within {self._seconds:g} seconds"
                return Answer(self._process.returncode, error=late, kind=TimeoutError.__name__)
        self.end()  # its own children, which hold the pipe open
        self._reader.join(GRACE_SECONDS)
        code, output = self._process.returncode, ""
        if not self._log:
            self._output.seek(0)
            output = self._output.read().decode(errors="replace")
        error = self._answer.get("error")
        if error is None and (code or "value" not in self._answer):
            lines = output.strip().splitlines() if code >= 0 else []
            error = lines[-1] if lines else describe_exit(code)
        return Answer(code, self._answer.get("value"), error, self._answer.get("kind", ""), output)

    def end(self) -> None:
        """Terminate the process and its group, wait, and kill what is left of them after a grace period."""
        if self._ended:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self.signal(signal.SIGTERM)
            self.ended(GRACE_SECONDS)
            self.signal(signal.SIGKILL)
        self._process.wait()
        self._ended = True
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def signal(self, number: int) -> None:
        """Send a signal to the process, and to its group if it leads one. Raises ProcessLookupError."""
        if self._own_group:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)

    def _read(self, pipe: int) -> None:
        with open(pipe, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # a line that a kill cut
                    message = json.loads(line)
                    if "step" not in message:
                        self._answer = message
                    elif self._on_step:
                        self._on_step(message["step"])

    def _write(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which its answer tells
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()


_spares: dict[tuple[str, int], Child] = {}


@contextlib.contextmanager
def spare(task: str, folder: Path, threads: int) -> Iterator[None]:
    """Start a child that imports its packages, to be taken by :func:`take_spare` while the context lasts."""
    with Child(task, folder, threads=threads) as child:
        _spares[task, threads] = child
        try:
            yield
        finally:
            _spares.pop((task, threads), None)


def take_spare(task: str, threads: int) -> Child | None:
    """The child of :func:`spare`, once; None if there is none. It waits for :meth:`Child.send`."""
    child = _spares.pop((task, threads), None)
    return None if child is None or child.ended(0) else child


def command(task: str, folder: Path) -> list[str]:
    """A child's command line. It holds the folder's full path, so that ``ps`` tells what it works on."""
    return [sys.executable, "-m", "acmix_exp.worker", task, os.path.abspath(folder)]


# Whatever loads a checkpoint in a child, ultralytics or torch, does so by restricted unpickling.
RESTRICTED = {
    "ULTRALYTICS_SAFE_LOAD": "true",
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "0",
}
FULL = {"ULTRALYTICS_SAFE_LOAD": "false", "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "0"}


def unpickling(allow_unsafe_checkpoint: bool) -> dict[str, str]:
    """The variables of a child that reads checkpoints: empty for the restricted unpickling that every child has."""
    return FULL if allow_unsafe_checkpoint else {}


def own_variables(threads: int, gpu: int | Sequence[int] | None) -> dict[str, str]:
    """What a child's environment differs in from the user's, but for its private settings folder."""
    gpus = [] if gpu is None else [gpu] if isinstance(gpu, int) else list(gpu)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = (
        [name.strip() for name in visible.split(",")] if visible else [str(i) for i in range(max(gpus, default=0) + 1)]
    )
    return {
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_VERBOSE": "false",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
        **RESTRICTED,
        **({"PYTHONPATH": path} if (path := installed.python_path()) else {}),
        **({"CUBLAS_WORKSPACE_CONFIG": os.environ.get("CUBLAS_WORKSPACE_CONFIG", ":4096:8")} if gpus else {}),
        "CUDA_VISIBLE_DEVICES": ",".join(names[i] for i in gpus) or "-1",
    }


@contextlib.contextmanager
def child_environment(
    threads: int, gpu: int | Sequence[int] | None, variables: Mapping[str, str]
) -> Iterator[dict[str, str]]:
    """The user's environment with our changes; ultralytics gets a settings folder that is removed afterwards.

    Within a child it is in the child's own, which is removed even if the child is killed.
    """
    settings = os.environ.get(USER_SETTINGS_VARIABLE, os.environ.get("YOLO_CONFIG_DIR", ""))
    outer = os.environ.get("YOLO_CONFIG_DIR") if USER_SETTINGS_VARIABLE in os.environ else None
    users = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    with tempfile.TemporaryDirectory(prefix="acmix_exp-settings-", dir=outer, ignore_cleanup_errors=True) as private:
        private_settings = {"YOLO_CONFIG_DIR": private, USER_SETTINGS_VARIABLE: settings}
        yield {**users, **own_variables(threads, gpu), **private_settings, **variables}


def describe_exit(code: int) -> str:
    """How a process ended, to follow its name."""
    if code >= 0:
        return f"exited with {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def require(answer: Answer, what: str) -> Any:
    """The answer's value. Raises the child's ConfigError or StorageError; for other errors ChildError, which
    names ``what``, after the child's output. That of a ChangedError begins with ``changed:``.
    """
    if answer.error is None:
        return answer.value
    if answer.kind == StorageError.__name__:
        raise StorageError(answer.error)
    if answer.kind == ConfigError.__name__:
        raise ConfigError(answer.error)
    if answer.kind == ChangedError.__name__:
        raise ChildError(answer.error)
    sys.stderr.write(answer.output)
    raise ChildError(f"{what} failed: {answer.error}")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the one that spawned it is gone; exit at once if it is gone already.

    Linux only (prctl PR_SET_PDEATHSIG); elsewhere a no-op. The signal follows the spawning thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def is_alive(pid: int, start: int | None = None) -> bool:
    """Whether there is a process of this number, and of this :func:`start_time` if that is known.

    One that has ended, but whose parent has not asked how (a zombie), is not alive.
    """
    state = _proc_stat(pid)
    if state is not None:
        return state[0] not in ("Z", "X") and start in (None, int(state[19]))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0


def start_time(pid: int) -> int | None:
    """When a process began, in ticks of the kernel since the machine's start; None where that is not known."""
    state = _proc_stat(pid)
    return None if state is None else int(state[19])


def _proc_stat(pid: int) -> list[str] | None:
    """Fields of Linux's /proc/PID/stat from the third, the state, on. The second, a name, may hold blanks."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].decode("ascii").split()
    except (OSError, IndexError):
        return None
