"""The stages of ``benchmarks.gpu``: one command each, in a separate process."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
OUT_OF_TIME = 124  # as timeout(1)
PARITY = ("tests/ops/test_window_attention_triton.py", "tests/ops/test_window_attention_nonfinite.py")
WORKERS = 12  # of the parity tests, whose time is mostly compilation on one core each


@dataclass(frozen=True)
class Stage:
    name: str
    command: tuple[str, ...]

    def run(self, folder: Path, seconds: float) -> int:
        """Run the command, with its output in NAME.log in ``folder``; returns its exit code.

        After ``seconds`` the command and the processes that it started are ended, and the result is OUT_OF_TIME.
        """
        path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "WANDB_MODE": "offline"}
        with open(folder / f"{self.name}.log", "ab") as log:
            child = subprocess.Popen(
                self.command, cwd=REPO, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(child)
            return OUT_OF_TIME


def _end(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(5)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def python(*words: object) -> tuple[str, ...]:
    return (sys.executable, "-m", *map(str, words))


def planned(out: Path, data: str | None, dry: bool) -> list[Stage]:
    """All stages, writing into ``out``; if ``dry``, each with tiny shapes on a CPU."""

    def theme(name: str, seconds: float) -> Stage:
        measured = ("--set", "tiny", "--seconds", 0) if dry else ("--set", "gpu", "--seconds", seconds)
        return Stage(name, python(f"benchmarks.{name}", *measured, "--output", out))

    return [
        Stage("parity", _parity(dry)),
        Stage("training", _training(out, data, dry)),
        theme("window_attention", 0.15),
        theme("module", 0.15),
        theme("blocks", 0.15),
        theme("train_step", 1.0),
        Stage("packing", _packing(out, data, dry)),
        Stage("tune", python("benchmarks.tune", "--output", out / "tune.json", *(["--dry-run"] if dry else []))),
    ]


def _parity(dry: bool) -> tuple[str, ...]:
    """The operator's tests of Triton, without the project's pytest settings, which may need other plugins."""
    options = ["-c", os.devnull, "--rootdir", REPO, "--import-mode=importlib", "-p", "no:cacheprovider", "-q"]
    if dry:
        return python("pytest", *options, f"{PARITY[0]}::test_which_variant", f"{PARITY[0]}::test_no_position")
    if importlib.util.find_spec("xdist"):
        options += ["-n", max(1, min(WORKERS, (os.cpu_count() or 1) - 2))]
    return python("pytest", *options, "-m", "not slow", *PARITY)


def _training(out: Path, data: str | None, dry: bool) -> tuple[str, ...]:
    """Baseline and ACmix, one seed each."""
    words = ["+experiment=ablation", "arm=baseline,mixed", "seed=0", "name=gpu", f"runs_dir={out / 'training'}"]
    words += ["logger=offline", "train.keep=none"]
    if data is not None:
        words += ["dataset=yolo", f"dataset.path={data}"]
    if dry:
        words += ["hardware=cpu", "dataset=shapes", "train=quick", "train.epochs=1", "train.imgsz=64"]
    elif data is None:
        words += ["hardware=gpu", "train=quick", "model/placement=bottleneck_p4p5"]
    else:
        words += ["hardware=gpu", "train.epochs=2", "model/placement=bottleneck_p4p5"]
    return python("acmix_exp", *words)


def _packing(out: Path, data: str | None, dry: bool) -> tuple[str, ...]:
    words = ["--dry-run", "--at-once", 1, 2, "--epochs", 1] if dry else [] if data is None else ["--data", data]
    return python("benchmarks.packing", *words, "--output", out / "packing.json")


def run_all(
    stages: Sequence[Stage], folder: Path, minutes: float, say: Callable[[str], object]
) -> dict[str, dict[str, float]]:
    """Exit code and seconds of every stage. After ``minutes`` the stage at work is ended and no other is started."""
    results: dict[str, dict[str, float]] = {}
    deadline = time.monotonic() + 60 * minutes
    for stage in stages:
        started = time.monotonic()
        if started >= deadline:
            results[stage.name] = {"status": OUT_OF_TIME, "seconds": 0.0}
            say(f"{stage.name}: not started, out of time")
            continue
        say(f"{stage.name}: started")
        status = stage.run(folder, deadline - started)
        seconds = time.monotonic() - started
        results[stage.name] = {"status": status, "seconds": round(seconds, 1)}
        outcome = {0: "done", OUT_OF_TIME: "out of time"}.get(status, f"exit code {status}, see {stage.name}.log,")
        say(f"{stage.name}: {outcome} after {seconds:.0f} s")
    return results
