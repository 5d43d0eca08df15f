"""The finished run that ``run=`` names, for task=evaluate, export and repeat."""

from __future__ import annotations

import os
from pathlib import Path

from acmix_exp import custom_block
from acmix_exp.config import Config, load
from acmix_exp.errors import ConfigError
from acmix_exp.run.directory import Run
from acmix_exp.sweep.compose import Composed


def finished(cell: Composed) -> tuple[Run, Config]:
    """The run and its config, with the data set of the command if that names one.

    Raises ConfigError if the run is missing, not done or not writable, or if its user-defined block is missing.
    """
    command = cell.config
    if command.run is None:
        raise ConfigError(f"run=null: task={command.task} needs a run directory, run=runs/NAME/RUN")
    run = Run(Path(command.run))
    if not run.is_done():
        raise ConfigError(f"run={command.run}: no finished run; must be a directory runs/NAME/RUN whose status is done")
    if not os.access(run.path, os.W_OK):
        raise ConfigError(f"run={command.run}: must be writable; copy it to a folder runs/NAME/RUN that is")
    config = load(run.path / "config.yaml")
    if lines := custom_block.missing(config.block):
        raise ConfigError(*lines)
    if any(key.split(".")[0] == "dataset" for key in cell.keys):
        config.dataset = command.dataset
    return run, config


def kept_weights(run: Run, config: Config) -> Path:
    """The checkpoint of the headline metrics, or else the one that was kept. Raises ConfigError if there is none."""
    weights = run.weights()
    if weights is None:
        raise ConfigError(
            f"run={run.path}: its weights were not kept (train.keep={config.train.keep}); "
            "delete the directory and rerun its command with train.keep=both"
        )
    return weights
