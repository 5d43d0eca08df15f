"""SIGKILL of random processes at random moments: the same command ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from acmix_exp.files import read_json
from benchmarks import crash_storm
from benchmarks.crash_storm import Sweep, await_end, comparable, storm
from tests.conftest import REPO
from tests.robustness.cases import case

(MEASURED,) = (REPO / "benchmarks" / "results").glob("crash_storm_cpu_*.json")
COUNTS = read_json(MEASURED) or {}


@pytest.mark.slow
@case(
    "Interruptions and disks",
    have="SIGKILL of any process of a sweep (the command, a training, a loader, the report) at any moment",
    here="the same command goes on; files can be read, no epoch is lost or repeated, the results are those of the "
    f"undisturbed sweep, bit for bit, and no process is left: {COUNTS['kills']} kills in {COUNTS['sweeps']} sweeps",
)
def test_a_short_storm(tmp_path: Path) -> None:
    counts = storm(tmp_path, kills=6, seed=random.randrange(2**32))
    assert counts["kills"] == 6
    assert counts["sweeps"] >= 1


def test_the_published_storm_had_its_kills_at_every_stage() -> None:
    assert COUNTS["kills"] >= 60
    assert {"command", "worker train"} <= COUNTS["by_process"].keys()
    assert sum(COUNTS["by_process"].values()) == sum(COUNTS["by_stage"].values()) == COUNTS["kills"]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    run = tmp_path / crash_storm.NAME / "mixed-s0-0a1b2c3d"
    (run / "weights").mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    (run / "status.json").write_text(json.dumps({"status": "running", "arm": "mixed"}))
    (run / "history.csv").write_text("epoch,seconds\n1,2.0\n2,2.0\n")
    with zipfile.ZipFile(run / "weights" / "last.pt", "w") as archive:
        archive.writestr("last/data.pkl", b"0" * 1000)
    return Sweep(tmp_path, tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("status.json", b'{"status": "ru'),
        ("config.yaml", b"seed"),
        ("history.csv", b"epoch,seconds\n1,2.0\n2"),
        ("history.csv", b"epoch,seconds\n1,2.0\n3,2.0\n"),
        ("history.csv", b"epoch,seconds\n1,2.0\n1,2.0\n"),
        ("weights/last.pt", b"PK\x03\x04"),
    ],
)
def test_damage_is_found(sweep: Sweep, name: str, content: bytes) -> None:
    sweep.check_files()
    (sweep.folder / "mixed-s0-0a1b2c3d" / name).write_bytes(content)
    with pytest.raises(AssertionError):
        sweep.check_files()


def test_a_process_that_is_left_is_found(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_storm, "SECONDS_TO_END", 0.2)
    await_end(sweep.mark)
    environment = {crash_storm.MARK: sweep.mark}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment) as left:
        time.sleep(0.2)
        with pytest.raises(AssertionError, match="still there"):
            await_end(sweep.mark)
        left.communicate(b"\n")
    await_end(sweep.mark)


def test_what_may_differ_between_two_sweeps() -> None:
    result = {"metrics": {"map50": 0.1}, "cost": {"latency_ms_b1": 1.0, "train_seconds": 2.0}, "resumed": True}
    assert comparable([result]) == [{"metrics": {"map50": 0.1}, "cost": {}}]
