"""What every test runs under: one thread, no network services, nothing written outside the session's folder.

The environment is set at import, before a test module can import torch, ultralytics or wandb: they read it
once.
"""

from __future__ import annotations

import atexit
import json
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from acmix_exp.config import Config, conf_dir, register_schema, to_object
from acmix_exp.files import write_json
from acmix_exp.run.directory import Run

REPO = Path(__file__).resolve().parents[1]
FOLDERS = {
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "MPLCONFIGDIR": "matplotlib",
    "YOLO_CONFIG_DIR": "ultralytics",
    "WANDB_DIR": "wandb",
    "WANDB_CACHE_DIR": "wandb",
    "WANDB_CONFIG_DIR": "wandb",
    "WANDB_DATA_DIR": "wandb",
}
PREFIXES = ("HYDRA_", "ULTRALYTICS_", "WANDB_", "YOLO_")
SESSION = "ACMIX_EXP_TEST_SESSION"  # parallel workers inherit it: the embedded data set is made once for all


def _session_folder() -> Path:
    if SESSION not in os.environ:
        os.environ[SESSION] = tempfile.mkdtemp(prefix="acmix_exp-tests-")
        atexit.register(shutil.rmtree, os.environ[SESSION], ignore_errors=True)
    return Path(os.environ[SESSION])


def _set_environment(folder: Path) -> None:
    for key in list(os.environ):
        if key.startswith(PREFIXES) or key in ("FORCE_COLOR", "CLICOLOR_FORCE"):
            del os.environ[key]
    for key, name in FOLDERS.items():
        (folder / name).mkdir(exist_ok=True)
        os.environ[key] = str(folder / name)
    os.environ.update(
        WANDB_MODE="offline",
        WANDB_SILENT="true",
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        OMP_NUM_THREADS="1",
        # A child started from another folder tests this checkout too.
        PYTHONPATH=os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")])),
    )


def _interpret_triton() -> None:
    """Without a GPU the Triton kernels run in Triton's interpreter. The switch is read when they are imported."""
    from acmix_exp.run.devices import cuda_devices

    if not cuda_devices():
        os.environ["TRITON_INTERPRET"] = "1"


def _heed_ctrl_c() -> None:
    """A test session in the background of a script has SIGINT ignored, and so would every child that a test stops."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_set_environment(_session_folder())
_interpret_triton()
_heed_ctrl_c()


@cache
def _composed(overrides: tuple[str, ...]) -> Config:
    register_schema()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return to_object(compose("config", overrides=list(overrides)))
    finally:
        GlobalHydra.instance().clear()


@cache
def _config_yaml(overrides: tuple[str, ...]) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(_composed(overrides)))


@pytest.fixture
def make_config():
    """``make_config("arm=mixed", ...)``: the config that Hydra composes, as an object."""
    return lambda *overrides: deepcopy(_composed(overrides))


@pytest.fixture(scope="session", autouse=True)
def _composed_once() -> Iterator[None]:
    """What several commands ask of Hydra is composed once, for it takes a tenth of a second."""
    from acmix_exp.sweep import compose as module

    made: dict[tuple[str, ...], bytes] = {}
    original = module.compose

    def once(name: str, overrides: list[str], **options: Any) -> DictConfig:
        key = tuple(overrides)
        if any("hydra" in override for override in key):  # a folder of the user's, or the working folder
            return original(name, overrides, **options)
        if key not in made:
            made[key] = pickle.dumps(original(name, overrides, **options))
        return pickle.loads(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "compose", once)
        yield


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``program("seed=-1")``: exit code, stdout and stderr of the command line, run in this process."""
    from acmix_exp import cli
    from acmix_exp.errors import STOPS

    handlers = {number: signal.getsignal(number) for number in STOPS}

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["acmix_exp", *arguments])
        GlobalHydra.instance().clear()
        code = cli.main()
        return code, *capsys.readouterr()

    yield run
    GlobalHydra.instance().clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def make_run(tmp_path: Path):
    """A prepared run directory, as the plan leaves it."""

    def make(name: str = "mixed-s0-00000000", *overrides: str, **status: object) -> Run:
        run = Run(tmp_path / "runs" / "test" / name)
        run.path.mkdir(parents=True)
        text = _config_yaml(("arm=mixed", "hardware=cpu", "train.epochs=2", *overrides))
        (run.path / "config.yaml").write_text(text)
        write_json(run.path / "status.json", {"status": "pending", "attempt": 0, "arm": "mixed", "seed": 0, **status})
        (run.path / "provenance.json").write_text(json.dumps({"identity": {}, "dataset": {"fingerprint": "f"}}))
        return run

    return make
