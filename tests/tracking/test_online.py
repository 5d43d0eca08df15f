"""Online runs against a local server: what is sent, and how long a bad network can delay a run."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from acmix_exp.config import Config
from acmix_exp.tracking import Tracker, settings
from acmix_exp.tracking import tracker as tracker_module
from acmix_exp.tracking.settings import PROBE_SECONDS
from tests.tracking import wandb_file
from tests.tracking.conftest import FAKE_KEY
from tests.tracking.fake_server import FakeServer
from tests.tracking.test_offline import logged, row, track
from tests.tracking.test_summary import RESULT

ALLOWED = 30.0  # seconds that a missing network may cost a run, in all


def test_a_run_arrives_and_its_resume_continues_it(config: Config, run_dir: Path, server: FakeServer) -> None:
    first = track(config, run_dir, range(1, 4))
    assert (first.mode, first.warnings) == ("online", [])
    first.fail("killed")
    second = track(config, run_dir, range(4, 6), resumed=True)
    assert second.url == first.url or second.url is not None
    second.finish(RESULT)
    assert second.warnings == []

    (identity,) = server.runs
    run = server.runs[identity]
    assert (run["displayName"], run["groupName"], run["jobType"]) == (run_dir.name, "window", "mixed")
    assert (run["project"], run["tags"], run["program"]) == ("acmix_exp", ["first", "second"], "acmix_exp")
    assert "host" not in run
    assert "commit" not in run
    sent = [{key: value for key, value in found.items() if key[0] != "_"} for found in server.history[identity]]
    assert sent == [row(epoch) for epoch in range(1, 6)]
    assert server.exit_codes[identity] == 0
    assert server.tables == [f"run-{identity}-per_class"]
    assert not any(FAKE_KEY.encode() in path.read_bytes() for path in run_dir.rglob("*") if path.is_file())


def test_an_epoch_repeated_by_a_resume_keeps_its_first_row(config: Config, run_dir: Path, server: FakeServer) -> None:
    track(config, run_dir, range(1, 4)).fail("killed")
    track(config, run_dir, range(3, 5), resumed=True).finish(RESULT)
    (history,) = server.history.values()
    assert [found["epoch"] for found in history] == [1, 2, 3, 4]


def test_no_network_is_offline_at_once(config: Config, run_dir: Path) -> None:
    os.environ.update(WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=FAKE_KEY)
    began = time.monotonic()
    tracker = track(config, run_dir, range(1, 4))
    tracker.finish(RESULT)
    assert time.monotonic() - began < 10.0
    assert tracker.mode == "offline"
    assert tracker.warnings == ["http://127.0.0.1:9 cannot be reached: W&B stays offline"]
    assert logged(wandb_file.read_run(run_dir)) == [row(epoch) for epoch in range(1, 4)]


def test_a_key_that_the_server_rejects(config: Config, run_dir: Path, server: FakeServer) -> None:
    server.status = 401
    tracker = track(config, run_dir, range(1, 3))
    tracker.finish(RESULT)
    assert tracker.mode == "offline"
    assert len(tracker.warnings) == 1
    assert "401" in tracker.warnings[0]
    (path,) = wandb_file.find(run_dir)  # the attempt left nothing behind
    assert path.parent.name.startswith("offline-run-")
    assert logged(wandb_file.read(path)) == [row(1), row(2)]


@pytest.mark.slow
def test_a_server_that_never_answers(config: Config, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "INIT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        os.environ.update(WANDB_BASE_URL=f"http://127.0.0.1:{hole.getsockname()[1]}", WANDB_API_KEY=FAKE_KEY)
        began = time.monotonic()
        tracker = track(config, run_dir, range(1, 3))
        tracker.finish(RESULT)
        assert time.monotonic() - began < 8.0
    assert tracker.mode == "offline"
    assert logged(wandb_file.read_run(run_dir)) == [row(1), row(2)]


def test_a_network_lost_during_the_run(
    config: Config, run_dir: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "FINISH_SECONDS", 1.0)
    monkeypatch.setattr(tracker_module, "TABLE_SECONDS", 1.0)
    tracker = track(config, run_dir, range(1, 3))
    server.silent.set()
    began = time.monotonic()
    for epoch in (3, 4):
        tracker.epoch(row(epoch))
    assert time.monotonic() - began < 1.0
    tracker.finish(RESULT)
    assert time.monotonic() - began < 8.0
    assert len(tracker.warnings) == 1
    (path,) = wandb_file.find(run_dir)
    assert f"wandb sync {path.parent}" in tracker.warnings[0]
    file = wandb_file.read(path)
    assert logged(file) == [row(epoch) for epoch in range(1, 5)]
    assert file.summary["map50"] == 0.5


def test_the_sum_of_all_time_limits_is_below_30_seconds() -> None:
    limits = (PROBE_SECONDS, settings.INIT_SECONDS, settings.TABLE_SECONDS, settings.FINISH_SECONDS)
    assert sum(limits) < ALLOWED


@pytest.mark.slow
def test_a_lost_network_with_the_real_limits(config: Config, run_dir: Path, server: FakeServer) -> None:
    tracker = Tracker.start(config, run_dir, resumed=False, resolved={})
    server.silent.set()
    began = time.monotonic()
    tracker.epoch(row(1))
    tracker.finish(RESULT)
    assert time.monotonic() - began < ALLOWED - PROBE_SECONDS - settings.INIT_SECONDS
