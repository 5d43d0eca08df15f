"""The stages of ``benchmarks.gpu``: one command each, in a process of its own, with a share of the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
GRACE = 20.0  # seconds from the end of a stage's budget, in which it is to stop by itself, to its end by force
PARITY = ("tests/ops/test_window_attention_triton.py", "tests/ops/test_window_attention_nonfinite.py")


@dataclass(frozen=True)
class Stage:
    """``share`` of the whole time; the commands run side by side, each with ``{budget}`` put in, in seconds."""

    name: str
    share: float
    commands: tuple[tuple[str, ...], ...]

    def run(self, folder: Path, seconds: float) -> int:
        """The first exit status that is not 0, or 0. What is printed goes to NAME.log in ``folder``."""
        children = []
        with open(folder / f"{self.name}.log", "ab") as log:
            for command in self.commands:
                words = [word.replace("{budget}", f"{max(seconds - GRACE, 1.0):.0f}") for word in command]
                children.append(
                    subprocess.Popen(
                        words, cwd=REPO, stdout=log, stderr=log, start_new_session=True, env=_environment()
                    )
                )
            ends = time.monotonic() + seconds
            codes = [_wait(child, ends) for child in children]
        return next((code for code in codes if code), 0)


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "WANDB_MODE": "offline"}


def _wait(child: subprocess.Popen[bytes], ends: float) -> int:
    """Its exit status; where its time is up, 124, and it is ended with what it has started."""
    try:
        return child.wait(max(0.1, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
                child.wait(5)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        child.wait()
        return 124


def python(*words: object) -> tuple[str, ...]:
    return (sys.executable, "-m", *map(str, words))


def planned(out: Path, data: str | None, dry: bool) -> list[Stage]:
    """All stages, writing into ``out``. ``dry``: every one of them on tiny shapes and a CPU."""
    sizes = "tiny" if dry else "gpu"

    def theme(name: str, seconds: float) -> tuple[tuple[str, ...], ...]:
        measured = ("--seconds", 0 if dry else seconds, "--budget", "{budget}", "--output", out)
        return (python(f"benchmarks.{name}", "--set", sizes, *measured),)

    tune = ("--budget", "{budget}", "--output", out / "tune.json", *(["--dry-run"] if dry else []))
    return [
        Stage("parity", 0.20, _parity(dry)),
        Stage("window_attention", 0.28, theme("window_attention", 0.15)),
        Stage("module", 0.10, theme("module", 0.15)),
        Stage("blocks", 0.10, theme("blocks", 0.15)),
        Stage("train_step", 0.12, theme("train_step", 1.0)),
        Stage("training", 0.12, (_training(out, data, dry),)),
        Stage("tune", 0.08, (python("benchmarks.tune", *tune),)),
    ]


def _parity(dry: bool) -> tuple[tuple[str, ...], ...]:
    """The operator's tests of Triton, cut into parts: on a GPU most of their time is compiling, on one core each."""
    # Not the project's settings: the machine's pytest may be another, and lack the plugins that they name.
    options = ("-c", os.devnull, "--rootdir", REPO, "--import-mode=importlib", "-p", "no:cacheprovider", "-q")
    if dry:
        return (python("pytest", *options, f"{PARITY[0]}::test_which_variant", f"{PARITY[0]}::test_no_position"),)
    parts = max(1, min(12, (os.cpu_count() or 1) - 2))
    return tuple(
        python("pytest", *options, "-p", "benchmarks.part_of_tests", f"--part={part}/{parts}", *PARITY)
        for part in range(parts)
    )


def _training(out: Path, data: str | None, dry: bool) -> tuple[str, ...]:
    """Baseline and ACmix, one seed each, one after the other."""
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


def run_all(
    stages: Sequence[Stage], folder: Path, minutes: float, say: Callable[[str], object]
) -> dict[str, dict[str, float]]:
    """Exit status and seconds of every stage. What one stage leaves of its time the later ones share."""
    ended: dict[str, dict[str, float]] = {}
    ends = time.monotonic() + 60 * minutes
    for index, stage in enumerate(stages):
        began = time.monotonic()
        share = stage.share / sum(each.share for each in stages[index:])
        seconds = max(0.0, ends - began) * share
        say(f"{stage.name}: up to {seconds:.0f} s")
        status = stage.run(folder, seconds)
        taken = time.monotonic() - began
        ended[stage.name] = {"status": status, "seconds": round(taken, 1)}
        verdict = {0: "done", 124: "out of time"}.get(status, f"failed with status {status}, see {stage.name}.log")
        say(f"{stage.name}: {verdict} after {taken:.0f} s")
    return ended
