"""The command line: Hydra's entry, the exit code, and the table at the end. Nothing here imports torch."""

from __future__ import annotations

import os
import re
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

import acmix_exp
from acmix_exp.config import options

if TYPE_CHECKING:
    from omegaconf import DictConfig

TEXT = """\
acmix_exp: trustworthy ablations of attention blocks in YOLO detectors

  python -m acmix_exp [+experiment=NAME] [GROUP=OPTION ...] [KEY=VALUE ...] [-m]

Builds YOLOv8 with ACmix (or the stock network), trains it, and writes one table over arms and seeds to
runs/NAME/summary.md, .csv, .json and .tex (a paper's \\input takes it as table.tex). The same command again skips
what is done and goes on with the rest.

examples
  python -m acmix_exp +experiment=demo
      four arms on the embedded data, two runs at once; minutes on two CPU cores
  python -m acmix_exp +experiment=ablation dataset=yolo dataset.path=my/data.yaml 'seed=range(0,8)'
      baseline, conv, attention and mixed, eight paired seeds, on your own data
  python -m acmix_exp -m block.kernel_att=3,5,7 block.head=2,4,8 arm=baseline,mixed name=my_sweep
      a sweep of your own

groups (GROUP=OPTION; the default of each is in conf/config.yaml)
{groups}

keys (KEY=VALUE)
  name seed tags task run split runs_dir, and those of the files in conf/; all with their values: --cfg job
  task=train     the default                        task=plan   what would run, what is done, how long is left
  task=profile   parameters, GFLOPs and latency of every network, without training
  task=report    name=NAME [runs_dir=DIR]   tables, figures and report.html of finished runs, here or copied here
  task=evaluate  run=runs/NAME/RUN [dataset=...] [split=test]   score a finished run
  task=export    run=runs/NAME/RUN [format=onnx]                its network as ONNX, TorchScript, ..., checked
  task=repeat    run=runs/NAME/RUN                              train it again from its directory, and compare

flags
  -m             sweep over comma-separated values  --cfg job   show the composed config
  --hydra-help   Hydra's own flags                  --version

exit code: 0 all done, 1 some run failed, 2 the config is wrong, 130 interrupted, 143 terminated
"""
GROUPS = ("experiment", "arm", "model", "model/placement", "block", "dataset", "train", "hardware", "logger")


def text() -> str:
    """The help with the groups and options that are found in conf/."""
    width = max(map(len, GROUPS)) + 2
    lines = []
    for group in GROUPS:
        line = f"  {group:<{width}}"
        for option in options(group):
            if len(line) + len(option) > 108:
                lines.append(line.rstrip())
                line = " " * (width + 2)
            line += option + " "
        lines.append(line.rstrip())
    return TEXT.format(groups="\n".join(lines))


# Hydra's flags that only show something; what a run needs is not even imported.
SHOW_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
DONE, FAILED, WRONG, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def main() -> int:
    """Run a command; returns the exit code: 0 done, 1 a run failed, 2 wrong config, 130 Ctrl-C, 143 SIGTERM."""
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(text(), end="")
        return DONE
    if "--version" in arguments:
        print(f"acmix_exp {acmix_exp.__version__}")
        return DONE
    sys.argv[1:] = normalised(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    from acmix_exp.errors import ChildError, ConfigError

    try:
        return _run(sys.argv[1:])
    except ConfigError as error:
        return _wrong(error.lines)
    except ChildError as error:
        _wrong([str(error)])
        return FAILED
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
    from acmix_exp.sweep.compose import reach_every_block
    from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS, explain

    register_schema()
    # so that Hydra raises to us what it would print in nine lines
    os.environ["HYDRA_FULL_ERROR"] = "1"
    compose = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    try:
        if any(argument in SHOW_FLAGS for argument in arguments):
            compose()
            return DONE
        from acmix_exp.tasks.train import session

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
    from acmix_exp.tasks.train import run_cell

    run_cell()
