"""The finished run that ``run=`` names, for task=evaluate, export and repeat."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from acmix_exp import custom_block
from acmix_exp.block_rules import library_faults
from acmix_exp.config import Config, load
from acmix_exp.console import print_line
from acmix_exp.errors import ConfigError
from acmix_exp.files import user_path
from acmix_exp.insertions import insertions, user_blocks
from acmix_exp.report.grouping import canonical
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Record
from acmix_exp.run import fingerprints
from acmix_exp.run.directory import Run
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.preflight_child import say_unsafe
from acmix_exp.yolo import checkpoint_file


def finished(cell: Composed) -> tuple[Run, Config]:
    """The run and its config, with the data set, image size and batch of the command if that names them.

    ``run=runs/NAME/ARM`` stands for the first finished seed of that arm; the command's ``run`` then becomes that run.

    Raises ConfigError if the run is missing, not done or not writable, or if its user-defined block is missing.
    """
    command = cell.config
    if not command.run:
        raise ConfigError(f"run=null: task={command.task} needs a run directory or an arm, run=runs/NAME/RUN or ARM")
    run = Run(user_path(command.run))
    if not run.path.exists() and (records := [each for each in read(run.path.parent) if not each.fault]):
        run = _first_of_arm(command.run, run.path, records)
        command.run = str(run.path)
    if not run.is_done():
        raise ConfigError(
            f"run={command.run}: no finished run; must be a directory runs/NAME/RUN whose status is done, or an arm "
            "runs/NAME/ARM"
        )
    if not os.access(run.path, os.W_OK):
        raise ConfigError(f"run={command.run}: must be writable; copy it to a folder runs/NAME/RUN that is")
    config = load(run.path / "config.yaml")
    blocks = user_blocks(config)
    lines = [line for block in blocks for line in custom_block.missing(block)]
    if lines := lines or [line for each in insertions(config) for line in library_faults(each.block)]:
        raise ConfigError(*lines)
    _announce_blocks(cell, blocks)
    config.allow_unsafe_checkpoint = command.allow_unsafe_checkpoint  # never as the directory says, which may be a copy
    if names_dataset(cell):
        config.dataset = command.dataset
    for key in ("imgsz", "batch"):
        if f"train.{key}" in cell.keys:
            setattr(config.train, key, getattr(command.train, key))
    return run, config


def _first_of_arm(given: str, path: Path, records: Sequence[Record]) -> Run:
    """The finished run of the arm ``path.name`` with the lowest seed. Raises ConfigError without one."""
    mine = [record for record in records if path.name in (record.arm, *record.status.get("serves", []))]
    if not mine:
        arms = ", ".join(dict.fromkeys(record.arm for record in records))
        raise ConfigError(f"run={given}: no such run or arm; the arms of {path.parent} are {arms}")
    done = sorted((record for record in mine if record.run.is_done()), key=lambda record: record.seed)
    if not done:
        raise ConfigError(f"run={given}: none of its {len(mine)} runs is finished")
    variants = {canonical({**record.identity, "seed": None}): record for record in done}
    if len(variants) > 1:
        names = ", ".join(str(record.run.path) for record in list(variants.values())[:3])
        raise ConfigError(f"run={given}: {len(variants)} settings are of this arm; name a run, such as {names}")
    seeds = f", the first of its finished seeds {', '.join(str(record.seed) for record in done)}" if done[1:] else ""
    print_line(f"run={given}: is {done[0].run.path}{seeds}")
    return done[0].run


def names_dataset(cell: Composed) -> bool:
    """Whether the command names the data set to use."""
    return any(key.split(".")[0] == "dataset" for key in cell.keys)


def _announce_blocks(cell: Composed, blocks: Sequence[Mapping[str, Any]]) -> None:
    """Raise ConfigError if a user-defined block of the run is not the user's: no command here has named it."""
    given = cell.config.block.get("target") if "block.target" in cell.keys else None
    targets = [str(block["target"]) for block in blocks]
    if given is not None and given not in targets:
        its = f"has block.target={', '.join(targets)}" if targets else "has no user-defined block; leave it out"
        raise ConfigError(f"block.target={given}: run={cell.config.run} {its}")
    for target in targets:
        if cell.config.block.get("target") != target and not custom_block.is_known(target):
            raise ConfigError(
                f"run={cell.config.run}: needs block.target={target}, and no command on this machine has named "
                f"{custom_block.source(target)} as it is now; read it and, to import it, add "
                f"block=custom block.target={target}"
            )
    for block in blocks:
        custom_block.announce(block)


def require_safe(command: Config, config: Config, *paths: Path, own: Collection[str] | None = None) -> None:
    """Raise ConfigError if reading one of the checkpoints could run code; say so if the command allows it.

    ``own``: what a user-defined block needs, which is known in a child only; None: that child checks such a run.
    """
    for path in paths:
        if command.allow_unsafe_checkpoint:
            say_unsafe(str(path))
        elif own is not None or not user_blocks(config):
            try:
                checkpoint_file.require_safe(f"run={command.run}: {path.name}", checkpoint_file.read(path), own or ())
            except checkpoint_file.NotACheckpoint as error:
                raise ConfigError(f"run={command.run}: {path.name} is {error}; must be a checkpoint") from error


def kept_weights(run: Run, config: Config) -> Path:
    """The checkpoint of the headline metrics, or else the one that was kept. Raises ConfigError if there is none."""
    weights = run.weights()
    if weights is None:
        raise ConfigError(
            f"run={run.path}: its weights were not kept (train.keep={config.train.keep}); "
            "delete the directory and rerun its command with train.keep=both"
        )
    return weights


def why_kept(run: Run, config: Config, weights: Path) -> str:
    """The checkpoint that :func:`kept_weights` found, and why it is this one, in words."""
    metrics = (run.result() or {}).get("metrics") or {}
    headline, split = Path(str(metrics.get("checkpoint") or "")).name, metrics.get("split")
    if weights.name == headline == "best.pt":
        return f"best.pt, the best epoch on val; the table's figures are its own, on {split}"
    if weights.name == headline:
        return f"{headline}, the last epoch; the table's figures are its own, on {split}, where best.pt was chosen"
    lacks = f", as {headline} of the table's figures was not kept (train.keep={config.train.keep})" if headline else ""
    return f"{weights.name}{lacks}"


def require_unchanged(
    cell: Composed, run: Run, config: Config, fingerprint: str | None, *, pretrained: bool = False
) -> None:
    """Raise ConfigError, which begins with ``changed:``, if the run's block, code or checkpoints, or data have changed.

    fingerprint: that of the run's data set now; None where the command names a data set, or needs none. pretrained: the
    pretrained file counts too. What a run of an older version did not record is not compared.
    """
    lines = fingerprints.finished_changes(run, config, pretrained=pretrained)
    then = (run.provenance().get("dataset") or {}).get("fingerprint")
    if fingerprint is not None and fingerprint != then:
        place = f"{config.dataset.name} {config.dataset.path or config.dataset.root or ''}".rstrip()
        lines.append(
            f"the data set {place} is not the one it was trained on (fingerprint {fingerprint[:16]}, was "
            f"{str(then)[:16]}); dataset.path=... names another"
        )
    if lines:
        raise ConfigError(f"changed: {'; '.join(lines)}; run={cell.config.run}")
