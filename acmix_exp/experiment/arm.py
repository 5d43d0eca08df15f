"""What an arm does to a config. The arm is data and is applied last, so that it always means what it says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from acmix_exp.config import PATHS, Config, PlacementConfig


def contradictions(config: Config, explicit: Collection[str]) -> list[str]:
    """Lines for what the arm says and the block or placement deny.

    ``explicit`` holds the keys that the user set for this cell: only their word counts against an arm, not a default.
    """
    arm, block = config.arm, config.block
    if arm.path is not None and arm.path not in PATHS:
        return [f"arm.path={arm.path}: must be one of {', '.join(PATHS)}, or null for the path as configured"]
    if not arm.insert:
        return []
    lines = []
    if not config.model.placement.sites and arm.name != "configured":
        lines.append(
            f"arm={arm.name} model/placement={config.model.placement.name}: the arm inserts a block and the placement"
            " has no site for it; use arm=baseline, or another placement"
        )
    if arm.block is not None and block.get("name") != arm.block:
        lines.append(
            f"arm={arm.name} block={block.get('name')}: this arm is about {arm.block}; use block={arm.block}, "
            "or arm=configured"
        )
    elif arm.path not in (None, block.get("path")) and ("block.path" in explicit or block.get("path") != "mixed"):
        lines.append(
            f"arm={arm.name} block.path={block.get('path')}: this arm sets block.path={arm.path}; "
            "leave block.path out, or use arm=configured"
        )
    return lines


def apply(config: Config) -> Config:
    """The effective config: a bare one for the baseline, the arm's path in the block otherwise."""
    if not config.arm.insert or not config.model.placement.sites:
        bare = replace(config.model, placement=PlacementConfig(name="none"))
        return replace(config, arm=replace(config.arm, insert=False), block={}, model=bare)
    block = dict(config.block)
    if config.arm.path is not None:
        block["path"] = config.arm.path
    return replace(config, block=block)
