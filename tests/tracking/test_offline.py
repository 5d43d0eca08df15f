"""Offline runs, read from their .wandb files."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.config import Config
from acmix_exp.tracking import Tracker
from tests.tracking import wandb_file
from tests.tracking.conftest import FAKE_KEY
from tests.tracking.test_summary import RESULT

RESOLVED = {"name": "window", "seed": 0, "train": {"epochs": 4, "extra": {}}, "model": {"pretrained": None}}


def row(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch,
        "train/box_loss": 3.0 / epoch,
        "val/dfl_loss": 1.5 / epoch,
        "map50": 0.1 * epoch,
        "map50_95": 0.05 * epoch,
        "lr": 0.002,
        "seconds": 7.25,
        "rates/backbone_p4/rate1": 1.0 - 0.01 * epoch,
        "rates/backbone_p5.1/rate2": 1.0 + 0.01 * epoch,
    }


def logged(file: wandb_file.WandbFile) -> list[dict[str, Any]]:
    return [{key: value for key, value in found.items() if key != "_step"} for found in file.rows]


def track(config: Config, run_dir: Path, epochs: range, *, resumed: bool = False) -> Tracker:
    tracker = Tracker.start(config, run_dir, resumed=resumed, resolved=RESOLVED)
    for epoch in epochs:
        tracker.epoch(row(epoch))
    return tracker


def test_a_run_reads_back_as_it_was_logged(config: Config, run_dir: Path, home: Path) -> None:
    tracker = track(config, run_dir, range(1, 5))
    assert (tracker.mode, tracker.warnings) == ("offline", [])
    tracker.finish(RESULT)
    assert tracker.warnings == []

    (path,) = wandb_file.find(run_dir)
    file = wandb_file.read(path)
    assert (file.name, file.project, file.group, file.job_type) == ("mixed-s0-abcd1234", "acmix_exp", "window", "mixed")
    assert file.tags == ["first", "second"]
    assert file.config == RESOLVED
    assert logged(file) == [row(epoch) for epoch in range(1, 5)]
    assert [found["_step"] for found in file.rows] == [1, 2, 3, 4]
    assert {key: file.step_of(key) for key in row(1) if key != "epoch"} == dict.fromkeys(
        set(row(1)) - {"epoch"}, "epoch"
    )
    assert file.exit_code == 0
    summary = file.summary
    assert summary["map50"] == 0.5, "the headline, not the last epoch's"
    assert summary["val_last/map50"] == 0.54
    assert summary["audit/transferred"] == 2
    assert summary["per_class/platelet v1.0/map50"] == 0.2
    content = json.loads((path.parent / "files" / summary["per_class"]["path"]).read_text())
    assert content["columns"] == ["class", "map50", "map50_95"]
    assert content["data"] == [["red cell", 0.8, 0.4], ["platelet v1.0", 0.2, 0.1]]


def test_nothing_is_written_elsewhere_or_collected_about_the_machine(
    config: Config, run_dir: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "name-of-the-host")
    os.environ["WANDB_API_KEY"] = FAKE_KEY
    config.logger.mode = "offline"
    track(config, run_dir, range(1, 3)).finish(RESULT)
    assert list(home.iterdir()) == []
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and run_dir / "wandb" not in path.parents]
    assert outside == []
    files = [path for path in (run_dir / "wandb").rglob("*") if path.is_file()]
    assert len(files) >= 2
    for path in files:
        assert FAKE_KEY.encode() not in path.read_bytes(), path
    names = {path.name for path in files}
    assert not names & {"wandb-metadata.json", "requirements.txt", "output.log", "diff.patch", "conda-environment.yaml"}
    (path,) = wandb_file.find(run_dir)
    assert wandb_file.read(path).host == ""
    told = path.read_bytes()
    for secret in (socket.gethostname(), sys.executable, os.path.abspath(sys.argv[0])):
        assert secret.encode() not in told


def test_a_resumed_run_has_the_same_id_and_a_second_segment(config: Config, run_dir: Path) -> None:
    track(config, run_dir, range(1, 3)).fail("killed")
    track(config, run_dir, range(3, 5), resumed=True).finish(RESULT)
    paths = wandb_file.find(run_dir)
    assert len(paths) == 2
    first, second = (wandb_file.read(path) for path in paths)
    assert first.id == second.id
    assert (first.exit_code, first.summary["error"]) == (1, "killed")
    assert [found["_step"] for found in second.rows] == [3, 4]
    assert logged(wandb_file.read_run(run_dir)) == [row(epoch) for epoch in range(1, 5)]


def test_a_fresh_start_in_the_same_directory_is_another_run(config: Config, run_dir: Path) -> None:
    track(config, run_dir, range(1, 3)).fail("out of memory")
    track(config, run_dir, range(1, 5)).finish(RESULT)
    first, second = (wandb_file.read(path) for path in wandb_file.find(run_dir))
    assert first.id != second.id
    assert first.name == second.name
    assert logged(wandb_file.read_run(run_dir)) == [row(epoch) for epoch in range(1, 5)]


def test_values_that_are_not_finite_numbers(config: Config, run_dir: Path) -> None:
    tracker = track(config, run_dir, range(1, 1))
    tracker.epoch({"epoch": 1, "map50": float("nan"), "train/box_loss": float("inf")})
    tracker.fail("train/box_loss is not finite")
    (found,) = wandb_file.read_run(run_dir).rows
    assert found["map50"] != found["map50"]
    assert found["train/box_loss"] == float("inf")


def test_the_job_type_of_the_configured_arm_is_its_block(config: Config, run_dir: Path) -> None:
    config.arm.name = "configured"
    track(config, run_dir, range(1, 2)).finish({})
    assert wandb_file.read_run(run_dir).job_type == "acmix-mixed"


def test_disabled_writes_nothing(config: Config, run_dir: Path) -> None:
    os.environ["WANDB_MODE"] = "disabled"
    tracker = track(config, run_dir, range(1, 3))
    tracker.finish(RESULT)
    assert (tracker.mode, tracker.warnings, tracker.url) == ("disabled", [], None)
    assert list(run_dir.iterdir()) == []


def test_an_unknown_variable_leaves_an_offline_run(config: Config, run_dir: Path) -> None:
    os.environ["WANDB_MODE"] = "sometimes"
    tracker = track(config, run_dir, range(1, 3))
    tracker.finish(RESULT)
    assert tracker.warnings == [
        "WANDB_MODE=sometimes must be one of online, run, shared, offline, dryrun, disabled: W&B stays offline"
    ]
    assert logged(wandb_file.read_run(run_dir)) == [row(1), row(2)]


def test_an_error_of_wandb_does_not_fail_the_run(
    config: Config, run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config.tags = ["x" * 65]
    with caplog.at_level(logging.WARNING):
        tracker = track(config, run_dir, range(1, 3))
        tracker.finish(RESULT)
    assert len(tracker.warnings) == 1
    assert [record.message for record in caplog.records] == tracker.warnings
    assert "64" in tracker.warnings[0]
    assert "\n" not in tracker.warnings[0]


def test_errors_of_wandb_are_reported_once(config: Config, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = track(config, run_dir, range(1, 2))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no space left on device")

    monkeypatch.setattr(tracker._run, "log", refuse)
    tracker.epoch(row(2))
    tracker.epoch(row(3))
    tracker.finish(RESULT)
    tracker.finish(RESULT)
    assert tracker.warnings == ["W&B failed at epoch, training continues: RuntimeError: no space left on device"]


def test_logging_an_epoch_takes_little_time(config: Config, run_dir: Path) -> None:
    tracker = track(config, run_dir, range(1, 2))
    began = time.monotonic()
    for epoch in range(2, 102):
        tracker.epoch(row(epoch))
    assert time.monotonic() - began < 2.0
    tracker.finish(RESULT)
    assert len(wandb_file.read_run(run_dir).rows) == 101
