"""Kill random processes of a sweep at random moments; the same command must always end as the undisturbed one.

    python -m benchmarks.crash_storm --kills 200 --output storm.json

A sweep of tiny runs is trained undisturbed. Then it is started again and again, and after a random time a random one
of its processes (the command, a training process, a loader, the one that makes the report) gets SIGKILL. A finished
sweep is compared with the undisturbed one, bit for bit, and begun anew, until there were as many kills as asked for.
A fault ends it with an AssertionError. No GPU is used.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
import yaml

from acmix_exp.data.shapes import NAMES, draw_scene, encode_png
from acmix_exp.files import write_json
from acmix_exp.run.directory import Run, runs_in
from benchmarks.provenance import collect

NAME = "storm"
EPOCHS = 3
SWEEP = (
    *("-m", f"name={NAME}", "arm=baseline,mixed", "seed=0,1", "dataset=yolo", f"train.epochs={EPOCHS}"),
    *("train.imgsz=64", "train.batch=4", "hardware=pool", "hardware.device=cpu"),
    *("hardware.precision=fp32", "hardware.workers=1", "logger=disabled"),
)
MARK = "CRASH_STORM"  # environment variable
OF_AN_ATTEMPT = ("seconds", "latency", "memory", "resumed")  # parts of the names of what may differ
KILLS_A_SWEEP = 8  # about: the mean time between two kills is that part of the undisturbed sweep's, and grows with
GROWTH = 0.25  # each kill of a sweep, so that one on a busy machine finishes too
SECONDS_TO_END = 30.0  # for the other processes after the command was killed
GIVE_UP = 40  # kills after which a sweep must have finished


class Kill(NamedTuple):
    process: str  # which one
    stage: str  # of the sweep
    seconds: float  # since the command was started


def make_data(folder: Path) -> Path:
    """Eight training and four validation images of shapes; returns the data.yaml."""
    generator = np.random.RandomState(0)
    for split, count in (("train", 8), ("val", 4)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            pixels, boxes = draw_scene(generator)
            (folder / "images" / split / f"{number}.png").write_bytes(encode_png(pixels))
            lines = (f"{int(box[0])} {' '.join(str(value) for value in box[1:])}\n" for box in boxes)
            (folder / "labels" / split / f"{number}.txt").write_text("".join(lines))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames: {list(NAMES.values())}\n")
    return folder / "data.yaml"


class Sweep:
    """The sweep below one folder: it is started, watched and checked."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder / NAME
        self.arguments = [*SWEEP, f"dataset.path={data}", f"runs_dir={folder}"]
        self.log = folder / "command.log"
        self.mark = str(folder)
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> subprocess.Popen[bytes]:
        """The command; the environment of all of its processes has the sweep's mark."""
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "acmix_exp", *self.arguments],
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark},
            )

    def runs(self) -> list[Run]:
        return runs_in(self.folder) if self.folder.exists() else []

    def stage(self) -> str:
        """What the sweep is at, from its files."""
        states = collections.Counter(run.state() for run in self.runs())
        if not states:
            return "planning"
        if states["done"] == sum(states.values()):
            return "table and report"
        return "training" if states["running"] else "between runs"

    def check_files(self) -> None:
        """Every file can be read, and the epochs of each run are 1, 2, 3 and so on."""
        for path in self.folder.rglob("*") if self.folder.exists() else ():
            if path.is_file() and not path.name.startswith("."):
                try:
                    parse(path)
                except Exception as error:
                    raise AssertionError(f"{path.relative_to(self.folder)} is damaged: {error}") from error
        for run in self.runs():
            epochs = [int(row["epoch"]) for row in rows(run.path / "history.csv")]
            assert epochs == list(range(1, len(epochs) + 1)), f"{run.name}: epochs {epochs}"

    def check_log(self) -> None:
        text = self.log.read_text(errors="replace")
        assert "Traceback" not in text, text

    def results(self) -> dict[str, Any]:
        """All that must not depend on interruptions, by name of run and file."""
        found: dict[str, Any] = {"summary": comparable(rows(self.folder / "summary.csv"))}
        for run in self.runs():
            epochs = rows(run.path / "history.csv")
            assert len(epochs) == EPOCHS, f"{run.name}: {len(epochs)} epochs"
            found[f"{run.name} history"] = comparable(epochs)
            found[f"{run.name} result"] = comparable(json.loads((run.path / "result.json").read_text()))
            with np.load(run.path / "outcomes.npz") as arrays:
                found[f"{run.name} outcomes"] = {key: arrays[key].tolist() for key in arrays.files}
            for name in ("best.pt", "last.pt"):
                state = torch.load(run.path / "weights" / name, weights_only=False)["model"].state_dict()
                found[f"{run.name} {name}"] = {key: value.numpy().tobytes() for key, value in state.items()}
        return found


def parse(path: Path) -> None:
    """Raises an exception of any kind if a file of a known kind is damaged."""
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".yaml":
        assert isinstance(yaml.safe_load(path.read_text()), dict)
    elif path.suffix == ".csv":
        assert all(None not in row and None not in row.values() for row in rows(path)), "a row is cut"
    elif path.suffix in (".npz", ".pt", ".state"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".html":
        assert path.read_text().rstrip().endswith("</html>")


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: comparable(v) for key, v in value.items() if not any(word in key for word in OF_AN_ATTEMPT)}
    return [comparable(entry) for entry in value] if isinstance(value, list) else value


def members(mark: str) -> list[psutil.Process]:
    """The living processes whose environment has the mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def kind(process: psutil.Process, command: int) -> str:
    if process.pid == command:
        return "command"
    words = process.cmdline()
    if "acmix_exp.worker" not in words:
        return "helper process"
    if process.parent() and process.parent().cmdline() == words:
        return "loader"
    return f"worker {words[words.index('acmix_exp.worker') + 1]}"


def await_end(mark: str) -> None:
    """Wait until no process with the mark is left."""
    deadline = time.monotonic() + SECONDS_TO_END
    while left := members(mark):
        assert time.monotonic() < deadline, f"still there: {[process.cmdline() for process in left]}"
        time.sleep(0.05)


def disturb(sweep: Sweep, pauses: random.Random, mean: float, most: int) -> tuple[int, list[Kill]]:
    """Start the command and kill its processes until it has ended; its exit code and the kills."""
    command, began, kills = sweep.start(), time.monotonic(), []
    try:
        while len(kills) < most:
            try:
                command.wait(pauses.expovariate(1 / mean))
                break
            except subprocess.TimeoutExpired:
                stage = sweep.stage()
                victim = pauses.choice(members(sweep.mark) or [psutil.Process(command.pid)])
                try:
                    process = kind(victim, command.pid)
                    victim.send_signal(signal.SIGKILL)
                except psutil.Error:
                    continue  # it has just ended
                kills.append(Kill(process, stage, round(time.monotonic() - began, 2)))
                print(f"  {kills[-1].seconds:6.1f} s, {stage}: {process}", flush=True)
        code = command.wait()
    finally:
        if command.poll() is None:
            command.kill()
    await_end(sweep.mark)
    assert code in (0, 1, -signal.SIGKILL), f"exit code {code}: {sweep.log.read_text(errors='replace')}"
    return code, kills


def storm(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """The kills that were survived, and how many sweeps finished among them. Raises AssertionError at a fault."""
    data = make_data(folder / "data")
    whole = Sweep(folder / "undisturbed", data)
    began = time.monotonic()
    assert whole.start().wait() == 0, whole.log.read_text(errors="replace")
    alone = time.monotonic() - began
    print(f"undisturbed: {alone:.1f} s", flush=True)
    expected, pauses = whole.results(), random.Random(seed)
    survived: list[Kill] = []
    commands, sweeps = 0, 0
    while len(survived) < kills:
        sweep = Sweep(folder / f"disturbed{sweeps}", data)
        code, before = 1, len(survived)
        while code != 0:
            assert len(survived) - before < GIVE_UP, f"unfinished after {GIVE_UP} kills"
            mean = alone / KILLS_A_SWEEP * (1 + GROWTH * (len(survived) - before))
            code, more = disturb(sweep, pauses, mean, kills - len(survived))
            survived += more
            commands += 1
            sweep.check_files()
            sweep.check_log()
        actual = sweep.results()
        differ = [key for key in expected | actual if actual.get(key) != expected.get(key)]
        assert not differ, f"differs from the undisturbed sweep: {differ}"
        sweeps += 1
        print(f"sweep {sweeps} equals the undisturbed one, {len(survived)} kills so far", flush=True)
    return {
        "kills": len(survived),
        "sweeps": sweeps,
        "commands": commands,
        "undisturbed_seconds": round(alone, 1),
        "by_process": dict(collections.Counter(kill.process for kill in survived).most_common()),
        "by_stage": dict(collections.Counter(kill.stage for kill in survived).most_common()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the choice of processes")
    parser.add_argument("--output", type=Path, help="a JSON file for the counts")
    options = parser.parse_args()
    facts = collect("cpu")
    with tempfile.TemporaryDirectory(prefix="crash_storm-", ignore_cleanup_errors=True) as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder  # reading a checkpoint imports ultralytics, which writes its settings
        counts = storm(Path(folder), options.kills, options.seed)
    print(json.dumps(counts, indent=1))
    if options.output:
        write_json(options.output, {"provenance": facts, **counts})


if __name__ == "__main__":
    main()
