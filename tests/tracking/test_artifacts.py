"""What is logged only where the user asks for it: samples of the machine, the code, the best weights."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.config import Config
from acmix_exp.tracking import Tracker
from acmix_exp.tracking.artifacts import PACKAGE
from tests.tracking import wandb_file
from tests.tracking.test_summary import RESULT


@pytest.fixture
def weights(run_dir: Path) -> Path:
    path = run_dir / "weights" / "best.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def finished(config: Config, run_dir: Path, **switches: Any) -> dict[str, Any]:
    """The artifacts of a run that was logged offline, by type: name, metadata and the paths of the files."""
    logged = replace(config, logger=replace(config.logger, **switches))
    tracker = Tracker.start(logged, run_dir, resumed=False, resolved={})
    tracker.epoch({"epoch": 1})
    tracker.finish(RESULT)
    assert tracker.warnings == []
    (path,) = wandb_file.find(run_dir)
    found = {}
    for record in wandb_file.records(path):
        if record.WhichOneof("record_type") == "request" and record.request.WhichOneof("request_type"):
            continue
        if record.WhichOneof("record_type") == "artifact":
            artifact = record.artifact
            found[artifact.type] = (artifact.name, artifact.metadata, [c.path for c in artifact.manifest.contents])
    return found


def test_nothing_by_default(config: Config, run_dir: Path, weights: Path) -> None:
    assert not {"code", "model"} & finished(config, run_dir).keys()


def test_the_best_weights(config: Config, run_dir: Path, weights: Path) -> None:
    name, metadata, files = finished(config, run_dir, save_weights=True)["model"]
    assert (name, files) == (run_dir.name, ["best.pt"])
    assert '"map50":0.5' in metadata.replace(" ", "")


def test_the_code_with_a_user_defined_block(config: Config, run_dir: Path, weights: Path, home: Path) -> None:
    (home / "my_blocks.py").write_text("class Mine: ...\n")
    mine = replace(config, block={"name": "custom", "target": "my_blocks.Mine"})
    name, _, files = finished(mine, run_dir, code=True)["code"]
    assert name == "code-window"
    assert {"my_blocks.py", "acmix_exp/cli.py", "acmix_exp/nn/acmix.py"} <= set(files)
    assert len(files) == 1 + len(list(PACKAGE.rglob("*.py")))


def test_missing_weights_are_a_warning(config: Config, run_dir: Path) -> None:
    logged = replace(config, logger=replace(config.logger, save_weights=True))
    tracker = Tracker.start(logged, run_dir, resumed=False, resolved={})
    tracker.finish(RESULT)
    assert [line.split(":")[0] for line in tracker.warnings] == ["W&B failed at save_weights, training continues"]


@pytest.mark.parametrize("wanted", [True, False])
def test_samples_of_the_machine(config: Config, run_dir: Path, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from acmix_exp.tracking import tracker as module

    options = module.settings
    monkeypatch.setattr(
        module, "settings", lambda *args, **kwargs: {**options(*args, **kwargs), "x_stats_sampling_interval": 0.2}
    )
    logged = replace(config, logger=replace(config.logger, system_metrics=wanted))
    tracker = Tracker.start(logged, run_dir, resumed=False, resolved={})
    time.sleep(1)
    tracker.finish(RESULT)
    (path,) = wandb_file.find(run_dir)
    assert (wandb_file.read(path).kinds.get("stats", 0) > 0) is wanted
