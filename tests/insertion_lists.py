"""Configs with ``arm.insertions``, each composed once."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import yaml

from acmix_exp.config import Config
from acmix_exp.sweep.compose import compose_cells

ACMIX = "{block: acmix, placement: backbone_p4p5}"
EMA = "{block: ema, placement: neck}"
BOTH = f"{ACMIX}, {EMA}"


@lru_cache
def composed(*overrides: str) -> Config:
    """A config before its arm is applied. Composing takes a third of a second, so it is done once for each."""
    (cell,) = compose_cells(["hardware=cpu", *overrides])
    return cell.config


def listed(items: str, *overrides: str) -> Config:
    """A config with ``arm.insertions=[items]``, before its arm is applied."""
    config = composed(*overrides)
    return replace(config, arm=replace(config.arm, insertions=yaml.safe_load(f"[{items}]")))
