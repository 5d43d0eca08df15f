"""The finished run that ``run=`` names, for the tasks that take one."""

from __future__ import annotations

import os
from pathlib import Path

from acmix_exp import custom_block
from acmix_exp.config import Config, load
from acmix_exp.errors import ConfigError
from acmix_exp.run.directory import Run
from acmix_exp.sweep.compose import Composed


def finished(asked: Config) -> tuple[Run, Config]:
    """The run and its config. Raises ConfigError where there is none, it is not done, or its block is not found."""
    if asked.run is None:
        raise ConfigError(f"run=null: task={asked.task} needs a run directory, run=runs/NAME/RUN")
    run = Run(Path(asked.run))
    if not run.is_done():
        raise ConfigError(f"run={asked.run}: no finished run; must be a directory runs/NAME/RUN whose status is done")
    if not os.access(run.path, os.W_OK):
        raise ConfigError(f"run={asked.run}: can't be written to; copy it to a folder that can, runs/NAME/RUN")
    config = load(run.path / "config.yaml")
    if lines := custom_block.missing(config.block):
        raise ConfigError(*lines)
    return run, config


def kept_weights(run: Run, asked: Config, config: Config) -> Path:
    """The weights that the headline was measured on, or what was kept. Raises ConfigError where nothing was."""
    weights = run.weights()
    if weights is None:
        raise ConfigError(
            f"run={asked.run}: its weights were not kept (train.keep={config.train.keep}); "
            "delete the directory and run its command again with train.keep=both"
        )
    return weights


def names_dataset(cell: Composed) -> bool:
    """Whether the command names a data set, in place of the run's."""
    return any(key.split(".")[0] == "dataset" for key in cell.keys)
