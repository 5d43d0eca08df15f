"""Configs, composed as the command line composes them, and run directories made ready."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from acmix_exp.config import Config, conf_dir, register_schema, to_object
from acmix_exp.experiment.store import Run, write_json


@pytest.fixture
def make_config():
    """``make_config("arm=mixed", ...)``: the config that Hydra composes, as an object."""

    def make(*overrides: str) -> Config:
        register_schema()
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return to_object(compose("config", overrides=list(overrides)))

    yield make
    GlobalHydra.instance().clear()


@pytest.fixture
def make_run(tmp_path: Path, make_config):
    """A prepared run directory, as the plan leaves it."""

    def make(name: str = "mixed-s0-00000000", *overrides: str, **status: object) -> Run:
        run = Run(tmp_path / "runs" / "test" / name)
        run.path.mkdir(parents=True)
        config = make_config("arm=mixed", "hardware=cpu", "train.epochs=2", *overrides)
        (run.path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
        write_json(run.path / "status.json", {"status": "pending", "attempt": 0, "arm": "mixed", "seed": 0, **status})
        (run.path / "provenance.json").write_text(json.dumps({"identity": {}, "dataset": {"fingerprint": "f"}}))
        return run

    return make
