"""Applying an arm to a config. An arm is data and is applied last, so every other option reaches all arms alike."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from acmix_exp.block_rules import MATCHES, PATHS, shown
from acmix_exp.config import (
    CONV3X3,
    IDENTITY,
    JOIN,
    MATCHED,
    ArmConfig,
    Config,
    LossConfig,
    ModelConfig,
    PlacementConfig,
    value_of,
)
from acmix_exp.insertions import Insertion, insertions, placement_file, written_out
from acmix_exp.slot_rules import CONVOLUTIONS, SIMILARITIES, slot_of
from acmix_exp.yolo.families import starts_from_features

NO_ATTENTION = "no_attention"  # an arm
USUAL, USUAL_AFTER, USUAL_CONVOLUTION = "usual", "backbone_p4p5", "bottleneck_p4p5"  # placements


def contradictions(config: Config, explicit: Collection[str]) -> list[str]:
    """One line per contradiction between the arm and the block or placement.

    ``explicit`` holds the keys that the user set for this cell: only those can contradict an arm, a default cannot.
    """
    arm, block = config.arm, config.block
    if arm.path is not None and arm.path not in PATHS:
        return [f"arm.path={arm.path}: must be one of {', '.join(PATHS)}, or null for the path as configured"]
    if not arm.insert:
        return []
    if arm.match not in MATCHES and (arm.match is not None or _is_matched(arm)):
        return [f"arm.match={shown(arm.match)}: must be one of {', '.join(MATCHES)}"]
    if arm.insertions:
        return _of_insertions(config, explicit)
    lines = []
    if not config.model.placement.sites and arm.name != "configured":
        lines.append(
            f"arm={arm.name} model/placement={config.model.placement.name}: the arm inserts a block and the placement"
            " has no site for it; use arm=baseline, or another placement"
        )
    if arm.name == NO_ATTENTION and config.model.placement.sites and config.model.placement.mode != "swap":
        lines.append(
            f"arm={arm.name} model/placement={config.model.placement.name}: this arm takes an attention out; use a "
            "placement of mode swap, such as model/placement=swap_attention"
        )
    if arm.control:
        return lines
    if arm.block is not None and block.get("name") != arm.block:
        lines.append(
            f"arm={arm.name} block={block.get('name')}: this arm inserts {arm.block}; use block={arm.block}, "
            "or arm=configured"
        )
    elif arm.path not in (None, block.get("path")) and ("block.path" in explicit or block.get("path") != "mixed"):
        lines.append(
            f"arm={arm.name} block.path={block.get('path')}: this arm sets block.path={arm.path}; "
            "leave block.path out, or use arm=configured"
        )
    return lines


def usual(config: Config) -> Config:
    """The config with the placement of its block's kind in place of ``model/placement=usual``, whatever the arm.

    What else the placement says, such as ``norm``, is kept.
    """
    placement = config.model.placement
    if placement.mode != USUAL:
        return config
    after = USUAL_CONVOLUTION if config.block.get("name") in CONVOLUTIONS else USUAL_AFTER
    of_kind = PlacementConfig(**placement_file(slot_of(config.block) or after))
    placement = replace(placement, name=of_kind.name, mode=of_kind.mode, sites=placement.sites or of_kind.sites)
    return replace(config, model=replace(config.model, placement=placement))


def loss_faults(config: Config) -> list[str]:
    """A line if boxes cannot be assigned as ``loss.assigner`` says."""
    given = f"loss.assigner={config.loss.assigner}"
    if config.loss.assigner == "stock" or config.arm.control or not config.arm.insert:
        return []
    names = [str(each.block.get("name")) for each in insertions(config) if slot_of(each.block) == "loss"]
    if not names:
        return [f"{given}: goes with a box loss, model/placement=loss and block={', '.join(SIMILARITIES)}"]
    return [
        f"{given} block={name}: it weights a loss and is no similarity; use loss.assigner=stock, or "
        f"block={', '.join(SIMILARITIES)}"
        for name in names
        if name not in SIMILARITIES
    ]


def _of_insertions(config: Config, explicit: Collection[str]) -> list[str]:
    """One line per contradiction of an arm whose blocks and placements are in ``arm.insertions``."""
    arm, lines = config.arm, []
    given = [key for key in sorted(explicit) if re.match(r"block\b|model[/.]placement\b", key)]
    if given:
        value = value_of(config, given[0].replace("/", "."))
        value = value.name if isinstance(value, PlacementConfig) else value["name"] if given[0] == "block" else value
        lines.append(
            f"arm={arm.name} {given[0]}={shown(value)}: arm.insertions names its own blocks and placements; "
            f"leave {given[0]} out, or use an arm without insertions"
        )
    own = {key: getattr(arm, key) for key in (("path",) if arm.control else ("block", "path"))}
    if stated := [f"arm.{key}={value}" for key, value in own.items() if value is not None]:
        lines.append(
            f"arm={arm.name} {' '.join(stated)}: arm.insertions names its own blocks, with their options; "
            "use arm=configured, or a control"
        )
    wrong = [each for each in insertions(config) if each.placement.mode != "swap"] if arm.name == NO_ATTENTION else []
    lines += [
        f"arm={arm.name} {each.key}.placement: this arm takes an attention out; use a placement of mode swap"
        for each in wrong
    ]
    return lines


def apply(config: Config) -> Config:
    """The effective config: without block and placement for the baseline, else with the block and path of the arm.
    With ``arm.insertions`` these hold all of it, and ``block`` and ``model.placement`` what the only one says, if it is
    one.

    A plain 3x3 in place of a stock 3x3 without pretrained weights is the stock network, so it becomes the baseline; so
    does join where nothing is joined. Identity gets no norm, activation and residual with any placement. The control
    that matches a block keeps that block in ``block``: ``arm.match`` says that the control stands in its place. In mode
    swap it matches the attention, whatever the configured block.
    """
    arm = config.arm
    given = insertions(config)
    if not any(each.placement.sites for each in given):
        return _bare(config, replace(arm, insert=False, match=None, insertions=[]))
    found = [inserted for each in given if (inserted := _of_arm(each, arm, config.model))]
    if not found:
        return _bare(config, ArmConfig(name="baseline", insert=False))
    several = written_out(found) if arm.insertions else []
    arm = replace(arm, match=arm.match if _is_matched(arm) else None, insertions=several)
    first = found[0] if len(found) == 1 else Insertion({}, PlacementConfig(name="several"))
    loss = config.loss if any(slot_of(each.block) == "loss" for each in found) else LossConfig()
    model = replace(config.model, placement=first.placement)
    return replace(config, arm=arm, block=first.block, model=model, loss=loss)


def _of_arm(given: Insertion, arm: ArmConfig, model: ModelConfig) -> Insertion | None:
    """What an arm makes of an insertion; None if that leaves the stock network."""
    placement, matched = given.placement, _is_matched(arm)
    of_attention = matched and placement.mode == "swap"
    block = {"name": arm.block} if arm.control and (of_attention or not matched) else dict(given.block)
    if arm.path is not None:
        block["path"] = arm.path
    inserted = arm.block if matched else block["name"]
    if _is_stock(str(inserted), placement, model):
        return None
    if inserted == IDENTITY:
        placement = replace(placement, norm=False, act=False, residual=False, zero_init=False)
    return replace(given, block=block, placement=placement)


def _is_stock(block: str, placement: PlacementConfig, model: ModelConfig) -> bool:
    """Whether a control's block leaves the stock network."""
    if block == JOIN:
        joins = placement.norm or placement.act or placement.residual
        return placement.mode == "replace" or (placement.mode == "after" and not joins)
    from_scratch = model.pretrained is None or starts_from_features(model)
    return block == CONV3X3 and placement.mode == "replace" and from_scratch


def depends(effective: Config, key: str) -> bool:
    """Whether a run depends on a swept key: a baseline on neither block nor placement, a control not on the block.

    The control that matches a block depends on it.
    """
    group, *rest = key.replace("/", ".").split(".")
    if group == "arm" and rest == ["insertions"]:
        return bool(effective.arm.insertions)
    if effective.arm.insertions and (group == "block" or (group == "model" and rest[:1] == ["placement"])):
        return False
    if group == "block":
        matches_block = effective.arm.match is not None and effective.block.get("name") != MATCHED
        return effective.arm.insert and (not effective.arm.control or matches_block)
    if group == "loss":
        return any(slot_of(each.block) == "loss" for each in insertions(effective))
    if group == "arm" and rest == ["match"]:
        return effective.arm.match is not None
    if group == "model" and rest[:1] == ["placement"]:
        joined = rest[-1] in ("norm", "act", "residual", "zero_init")
        return effective.arm.insert and not (joined and effective.block.get("name") == IDENTITY)
    return True


def _is_matched(arm: ArmConfig) -> bool:
    return arm.control and arm.block == MATCHED


def _bare(config: Config, arm: ArmConfig) -> Config:
    model = replace(config.model, placement=PlacementConfig(name="none"))
    return replace(config, arm=arm, block={}, model=model, loss=LossConfig())
