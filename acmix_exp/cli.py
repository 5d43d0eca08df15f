"""The command line: Hydra's entry, the exit code, and the table at the end. Nothing here imports torch."""

from __future__ import annotations

import os
import re
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import acmix_exp

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra's flags that only show something; what a run needs is not even imported.
SHOW_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def main() -> int:
    """Run a command; returns the exit code: 0 done, 1 a run failed, 2 wrong config, 130 Ctrl-C, 143 SIGTERM."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        from acmix_exp.help import text

        print(text(), end="")
        return DONE
    if "--version" in arguments:
        print(f"acmix_exp {acmix_exp.__version__}")
        return DONE
    sys.argv[1:] = normalised(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    from acmix_exp.config import ConfigError

    try:
        return _run(sys.argv[1:])
    except ConfigError as error:
        return _wrong(error.lines)
    except KeyboardInterrupt:
        return INTERRUPTED


def normalised(arguments: list[str]) -> list[str]:
    """What Hydra would refuse: ``experiment=`` and ``++experiment=``, -m between them, new keys under train.extra, and
    under block where it is one's own.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    arguments = [*flags[:1], *(argument for argument in arguments if argument not in flags)]
    arguments = [re.sub(r"^\+{0,2}(experiment=)", r"+\1", argument) for argument in arguments]
    own = any(re.match(r"\+{0,2}(block=custom|block\.target=)", argument) for argument in arguments)
    new = r"^\+{0,2}(train\.extra\.|block\.)" if own else r"^\+{0,2}(train\.extra\.)"
    return [re.sub(new, r"++\1", argument) for argument in arguments]


def _terminate(number: int, frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)


def _wrong(lines: list[str]) -> int:
    for line in lines:
        print(f"acmix_exp: {line}", file=sys.stderr)
    return WRONG


def _run(arguments: list[str]) -> int:
    import hydra

    from acmix_exp.config import conf_dir, register_schema
    from acmix_exp.experiment.block_sweep import reach_every_block
    from acmix_exp.experiment.hydra_errors import CONFIG_ERRORS, explain

    register_schema()
    # so that Hydra raises to us what it would print in nine lines
    os.environ["HYDRA_FULL_ERROR"] = "1"
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    try:
        if any(argument in SHOW_FLAGS for argument in arguments):
            compose()
            return DONE
        from acmix_exp.session import session

        sys.argv[1:] = arguments = reach_every_block(arguments)
        with session() as current:
            compose()
        return current.code
    except (*CONFIG_ERRORS, ValueError) as error:
        if not isinstance(error, CONFIG_ERRORS) and "Config group override" not in str(error):
            raise
        return _wrong(explain(error, arguments))


def job(cfg: DictConfig) -> None:
    """What Hydra launches for every cell, here or in a launcher's process: bring the cell's run to its end."""
    from acmix_exp.session import run_cell

    run_cell()
