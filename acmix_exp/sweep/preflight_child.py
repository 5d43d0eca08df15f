"""Run yolo/preflight.py in a child process and raise what it finds, before any run starts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from acmix_exp import custom_block
from acmix_exp.child import Child, require, spare, unpickling
from acmix_exp.config import Config
from acmix_exp.console import console
from acmix_exp.run import devices
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import Composed, raise_faults
from acmix_exp.sweep.planning import Plan
from acmix_exp.yolo import checkpoint_file

SECONDS = 300.0
TASKS = ("train", "profile")


class Preflight:
    """A child process that checks the networks of a command's cells. Leaving the context ends it.

    Its imports take seconds: a sweep starts it as soon as one cell is composed, and the data are read while it works.
    So do the imports of the first run on a CPU: its process is started, and left waiting, at the same time.
    """

    def __init__(self) -> None:
        self._child: Child | None = None
        self._cleanup, self._spare = ExitStack(), ExitStack()
        self._status = console(stderr=True).status("checking the networks: importing torch")

    def __enter__(self) -> Preflight:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()
        self._spare.close()

    def start(self, config: Config) -> None:
        """Start the child if the task needs it and it is not running yet."""
        if self._child is None and config.task in TASKS:
            folder = Path(config.runs_dir, config.name)
            variables = unpickling(config.allow_unsafe_checkpoint)
            self._child = Child("preflight", folder, on_step=self._show_step, seconds=SECONDS, variables=variables)
            self._cleanup.enter_context(self._child)
            if config.task == "train" and not variables and _trains_on_cpu_here(config):
                self._spare.enter_context(spare("train", folder, config.hardware.threads))

    def send(self, cells: Sequence[Composed]) -> None:
        """Send every distinct network and set of train arguments, once for all seeds."""
        self.start(cells[0].config)
        self._cells, self._task = cells, cells[0].config.task
        self._networks: dict[str, list[int]] = {}
        configs: list[dict[str, Any]] = []
        for number, cell in enumerate(cells):
            config = arm.apply(cell.config)
            key = repr((config.arm.insert, config.model, config.block, config.train.extra))
            if key not in self._networks:
                configs.append(asdict(config))
            self._networks.setdefault(key, []).append(number)
        if self._child is not None:
            self._announce(configs)
            self._child.send({"networks": configs})

    def _announce(self, configs: Sequence[dict[str, Any]]) -> None:
        """Say what code from outside this package the children will run: user-defined blocks and checkpoints."""
        blocks = [each["block"] for each in configs if each["arm"]["insert"] and custom_block.is_custom(each["block"])]
        for block in {block["target"]: block for block in blocks}.values():
            custom_block.announce(block)
        for path in dict.fromkeys(each["model"]["pretrained"] for each in configs if each["allow_unsafe_checkpoint"]):
            if path:
                print(
                    f"acmix_exp: allow_unsafe_checkpoint=true: model.pretrained={path} is read by full unpickling, "
                    "which runs what it names",
                    file=sys.stderr,
                )

    def check(self, plan: Plan) -> None:
        """Wait for the child, unless there is nothing left to train, and end it.

        Raises ConfigError with the faults of every cell, ChildError if the child died.
        """
        with self._cleanup:
            if self._child is None or (self._task == "train" and all(run.is_final() for run in plan.runs)):
                self._spare.close()
                return
            with self._status:
                answer = self._child.answer()
        numbers = list(self._networks.values())
        faults = {
            line: sorted(number for network in networks for number in numbers[network])
            for line, networks in require(answer, "the preflight").items()
        }
        raise_faults(faults, [cell.overrides for cell in self._cells])
        _refuse_unsafe_resume(plan)

    def _show_step(self, step: str) -> None:
        self._status.update(f"checking the networks: {escape(step)}")


def _trains_on_cpu_here(config: Config) -> bool:
    return config.hardware.executor == "local" and devices.kind(config.hardware) == "cpu"


def _refuse_unsafe_resume(plan: Plan) -> None:
    """Raise ConfigError if a run would resume from a last.pt that could run code; a damaged one is left to the run."""
    for cell in {cell.run: cell for cell in plan.cells}.values():
        config, last = cell.config, cell.run.last
        if cell.run.is_final() or config.allow_unsafe_checkpoint or custom_block.is_custom(config.block):
            continue
        with suppress(checkpoint_file.NotACheckpoint):
            checkpoint_file.require_safe(f"{last}", checkpoint_file.read(last))
