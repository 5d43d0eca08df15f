"""A home folder without logins, a restored environment, and a local W&B server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from acmix_exp.config import ArmConfig, Config, LoggerConfig
from tests.tracking.fake_server import FakeServer, serving

FAKE_KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty HOME that is also the working directory; changes of the environment by the tracker are undone."""
    before = dict(os.environ)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    for name in [name for name in os.environ if name.startswith("WANDB_") or name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["HOME"] = str(home)
    yield home
    wandb.teardown()  # it keeps the settings that it has read
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "window" / "mixed-s0-abcd1234"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def config() -> Config:
    return Config(
        name="window",
        tags=["first", "second"],
        arm=ArmConfig(name="mixed", insert=True),
        block={"name": "acmix", "path": "mixed"},
        logger=LoggerConfig(mode="auto", project="acmix_exp"),
    )


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A local W&B server that ``logger.mode=auto`` finds, with a key for it."""
    with serving() as server:
        os.environ.update(WANDB_BASE_URL=server.url, WANDB_API_KEY=FAKE_KEY)
        yield server
