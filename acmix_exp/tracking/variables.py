"""What W&B's environment variables ask for. The command line counts before them, and none of them is changed."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from acmix_exp.config import Config
from acmix_exp.errors import ConfigError

MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}
UNKNOWN = "unknown"
# wandb no longer reads WANDB_DISABLED, but transformers and many guides set it. Any other value disables W&B.
NOT_DISABLED = ("", "0", "f", "false", "n", "no", "off")
PROJECT = re.compile(r"[^/\\#?%:]{1,128}")
PROJECT_RULE = "1 to 128 characters, none of / \\ # ? % :"
TAG_LIMIT = 64
# Variables that would be the same for every run of a sweep: why each is not used.
NOT_USED = {
    "WANDB_NAME": "a W&B run has the name of its run directory",
    "WANDB_JOB_TYPE": "the job type of a W&B run is its arm",
    "WANDB_RUN_ID": "every W&B run has an id of its own",
    "WANDB_DIR": "the files of a W&B run are in its run directory",
}


def requested_mode(environ: Mapping[str, str]) -> tuple[str, str]:
    """The mode that WANDB_DISABLED or WANDB_MODE asks for, UNKNOWN or "" for none, and NAME=VALUE of what asks."""
    disabled = environ.get("WANDB_DISABLED", "").strip()
    if disabled.lower() not in NOT_DISABLED:
        return "disabled", f"WANDB_DISABLED={disabled}"
    mode = environ.get("WANDB_MODE", "").strip()
    return MODES.get(mode.lower(), UNKNOWN) if mode else "", f"WANDB_MODE={mode}"


def is_disabled(configured: str) -> bool:
    """Whether ``logger.mode``, or a variable if that is auto, disables logging. Imports no wandb."""
    return configured == "disabled" or (configured == "auto" and requested_mode(os.environ)[0] == "disabled")


def filled(config: Config, explicit: Collection[str]) -> Config:
    """The config with the project, entity, group, notes and tags of the variables where it has none.

    explicit: the keys that the command sets: ``tags=[]`` stays empty. Raises ConfigError for what W&B would refuse.
    """
    if is_disabled(config.logger.mode):
        return config
    keys = {"project": "PROJECT", "entity": "ENTITY", "group": "RUN_GROUP", "notes": "NOTES"}
    given = {key: os.environ.get(f"WANDB_{name}", "").strip() for key, name in keys.items()}
    unset: dict[str, Any] = {
        key: value for key, value in given.items() if value and getattr(config.logger, key) is None
    }
    text = "" if config.tags or "tags" in explicit else os.environ.get("WANDB_TAGS", "")
    tags = [tag for each in text.split(",") if (tag := each.strip())]
    lines = []
    if "project" in unset and not PROJECT.fullmatch(unset["project"]):
        lines.append(f"WANDB_PROJECT={unset['project']}: must be {PROJECT_RULE}, or logger.project=NAME names another")
    if any(len(tag) > TAG_LIMIT for tag in tags):
        lines.append(f"WANDB_TAGS={text}: must be tags of 1 to {TAG_LIMIT} characters, or tags=[a,b] gives others")
    if lines:
        raise ConfigError(*lines)
    return replace(config, logger=replace(config.logger, **unset), tags=tags or config.tags)


def remarks(configured: str) -> list[str]:
    """A line for each variable that is set and not used."""
    if is_disabled(configured):
        return []
    return [f"{name} is not used: {why}" for name, why in NOT_USED.items() if os.environ.get(name)]
