"""Run yolo/preflight.py in a child process and raise what it finds, before any run starts."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from acmix_exp import custom_block
from acmix_exp.child import Child, require, spare, unpickling
from acmix_exp.config import Config, from_plain
from acmix_exp.console import console
from acmix_exp.errors import ConfigError
from acmix_exp.insertions import user_blocks
from acmix_exp.run import devices
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import Composed, raise_faults
from acmix_exp.sweep.planning import Plan
from acmix_exp.yolo import checkpoint_file
from acmix_exp.yolo.families import starts_from_features
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.resume import STATE

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
            inserted = config.arm.insert, config.arm.match, config.arm.insertions
            key = repr((*inserted, config.model, config.block, config.train.extra))
            if key not in self._networks:
                configs.append(asdict(config))
            self._networks.setdefault(key, []).append(number)
        if self._child is not None:
            self._announce(configs)
            self._child.send({"networks": configs})

    def _announce(self, configs: Sequence[dict[str, Any]]) -> None:
        """Say what code from outside this package the children will run: user-defined blocks and checkpoints."""
        blocks = [block for each in configs for block in user_blocks(from_plain(each))]
        for block in {block["target"]: block for block in blocks}.values():
            custom_block.announce(block)
        for path in dict.fromkeys(each["model"]["pretrained"] for each in configs if each["allow_unsafe_checkpoint"]):
            if path:
                say_unsafe(f"model.pretrained={path}")

    def check(self, plan: Plan) -> None:
        """Wait for the child, unless there is nothing left to train, and end it. task=plan has no child: what
        checkpoints name is read here then.

        Raises ConfigError with the faults of every cell, ChildError if the child died.
        """
        with self._cleanup:
            if self._child is None:
                refuse_unsafe_pretrained(plan)
                refuse_unsafe_resume(plan, None)
                return
            if self._task == "train" and all(run.is_final() for run in plan.runs):
                self._spare.close()
                return
            with self._status:
                answer = self._child.answer()
        found, numbers = require(answer, "the preflight"), list(self._networks.values())
        faults = {
            line: sorted(number for network in networks for number in numbers[network])
            for line, networks in found["faults"].items()
        }
        raise_faults(faults, [cell.overrides for cell in self._cells])
        refuse_unsafe_resume(plan, found["names"])

    def _show_step(self, step: str) -> None:
        self._status.update(f"checking the networks: {escape(step)}")


def _trains_on_cpu_here(config: Config) -> bool:
    return config.hardware.executor == "local" and devices.kind(config.hardware) == "cpu"


def refuse_unsafe_pretrained(plan: Plan) -> None:
    """Raise ConfigError if ``model.pretrained`` of a run to come could run code, or is no checkpoint."""
    of_models = {
        cell.config.model.pretrained: cell.config
        for cell in plan.cells
        if not (cell.run.is_final() or cell.config.allow_unsafe_checkpoint or is_user_defined(cell.config))
    }
    for model in (config.model for config in of_models.values()):
        if model.pretrained is None:
            continue
        path = find_pretrained(model)
        setting = f"model.pretrained={path}"
        checkpoint_file.refuse(setting, checkpoint_file.foreign(path))
        if not starts_from_features(model):
            try:
                checkpoint_file.network(checkpoint_file.read(path).root)
            except checkpoint_file.NotACheckpoint as error:
                raise ConfigError(checkpoint_file.cannot_be_loaded(setting, f"it is {error}")) from error


def refuse_unsafe_resume(plan: Plan, own: Collection[str] | None) -> None:
    """Raise ConfigError if a run would resume from weights that could run code; damaged ones are left to the run.

    ``own``: the names that the checkpoints of user-defined blocks may hold; None: unknown, so theirs are not read.
    """
    for cell in {cell.run: cell for cell in plan.cells}.values():
        weights = [cell.run.last.with_name(name) for name in ("last.pt", "best.pt", STATE)]
        for path in weights if not cell.run.is_final() else ():
            if cell.config.allow_unsafe_checkpoint:
                if path.exists():
                    say_unsafe(str(path))
            elif own is not None or not is_user_defined(cell.config):
                try:
                    checkpoint_file.require_safe(str(path), checkpoint_file.read(path), own or ())
                except checkpoint_file.NotACheckpoint:
                    continue
                except ConfigError as error:
                    raise ConfigError(f"{error}; without the file the run restarts from scratch") from error


def say_unsafe(what: str) -> None:
    print(
        f"acmix_exp: allow_unsafe_checkpoint=true: {what} is read by full unpickling, which runs what it names",
        file=sys.stderr,
    )


def is_user_defined(config: Config) -> bool:
    return bool(user_blocks(config))
