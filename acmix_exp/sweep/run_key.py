"""What makes two runs equal: the effective config without what does not change the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from acmix_exp import custom_block, installed
from acmix_exp.block_rules import RULES, has_position_table
from acmix_exp.config import MATCHED, Config
from acmix_exp.insertions import Insertion
from acmix_exp.run import devices, fingerprints
from acmix_exp.slot_rules import slot_of
from acmix_exp.yolo import families
from acmix_exp.yolo.arguments import extra_arguments, precision, rank_count
from acmix_exp.yolo.families import Backbone
from acmix_exp.yolo.sampling import PROTOCOL
from acmix_exp.yolo.sites import Site, sites_of, zero_init


def identity(effective: Config, fingerprint: str) -> dict[str, Any]:
    """The parts of an effective config (arm applied) that the result depends on.

    The data set, the pretrained weights and a YAML of the user's own count by content, not by path, so that a copied
    folder is the same run.
    Of the hardware, the precision, the type of device, and how many of them train a run together count; which device,
    the number of loader workers, and how many runs at once, do not. How samples are drawn counts by a number. Packages
    count by a hash only where they are not as installed; otherwise their versions are in the provenance.
    """
    model, hardware = effective.model, effective.hardware
    train = {**asdict(effective.train), "extra": _extra(effective)}
    device = devices.kind(hardware)
    backbone = Backbone.of(model)
    code = installed.code(installed.in_children())
    inserted = [
        {"block": _block(effective, each), "placement": _placement(effective, each, sites)}
        for each, sites in sites_of(effective)
    ]
    return {
        "seed": effective.seed,
        **(inserted[0] if len(inserted) == 1 else {"block": None, "placement": None}),
        **({"insertions": inserted} if len(inserted) > 1 else {}),
        "model": {
            **families.identity(model),
            "pretrained": fingerprints.pretrained(model),
            **({} if backbone is None else {"backbone_p5": backbone.p5}),
        },
        "data": fingerprint,
        "train": {key: value for key, value in train.items() if key not in ("keep", "save_every")},
        "hardware": {
            "precision": precision(hardware, device),
            "device": device,
            **({"gpus_per_run": ranks} if (ranks := rank_count(hardware)) > 1 else {}),
        },
        "sampling": PROTOCOL,
        **({"loss": asdict(effective.loss)} if effective.loss.assigner != "stock" else {}),
        **({"code": code} if code else {}),
    }


def _block(effective: Config, inserted: Insertion) -> dict[str, Any] | None:
    """A user-defined block also counts by the content of its files. Of the control that matches a block, that counts;
    in place of an attention, which it matches then, no block does.

    Version 0.1 sorted position tables by their names into the groups of the optimizer. Blocks that have one, and
    user-defined blocks, which may, are trained in another way since.
    """
    block = inserted.block
    parts = fingerprints.block(block)
    if parts is None:
        return None
    options = {key: value for key, value in block.items() if key != "name"}
    regrouped = custom_block.is_custom(block) or (block["name"] in RULES and has_position_table(block["name"], options))
    parts = {**parts, **({"position_tables": "without decay"} if regrouped else {})}
    if effective.arm.match is None:
        return parts
    like = {"of": "attention"} if block["name"] == MATCHED else {"like": parts}
    return {"name": MATCHED, "match": effective.arm.match, **like}


def _extra(effective: Config) -> dict[str, Any]:
    """Without warm-up, ``warmup_bias_lr`` has no effect: only what the user set counts, as in version 0.1."""
    return extra_arguments(effective) if _warms_up(effective) else effective.train.extra


def _warms_up(effective: Config) -> bool:
    return effective.train.extra.get("warmup_epochs") != 0


def _placement(effective: Config, inserted: Insertion, sites: Sequence[Site]) -> dict[str, Any]:
    """Sites by name and ``zero_init`` settled; what plays no part in the mode left out."""
    placement = inserted.placement
    what = {"mode": placement.mode, "sites": [site.name for site in sites]}
    if placement.mode in ("replace", "loss") or (slot_of(inserted.block) and effective.arm.match is None):
        return what
    if placement.mode == "swap":
        return {**what, "norm": placement.norm}
    joined = {"norm": placement.norm, "act": placement.act, "residual": placement.residual}
    starts_at_zero = zero_init(placement, pretrained=effective.model.pretrained is not None)
    # Version 0.1 moved such a branch by the bias warm-up, if there was one and it did not start at 0.
    kept = starts_at_zero and _warms_up(effective) and extra_arguments(effective).get("warmup_bias_lr") != 0
    return {**what, **joined, "zero_init": starts_at_zero, **({"bias_warmup": False} if kept else {})}


def older_optimizer(recorded: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a recorded identity lacks what ``now`` says of the optimizer: that run was trained by the older rules."""

    def rules(parts: dict[str, Any]) -> list[Any]:
        block, placement, train = (parts.get(key) or {} for key in ("block", "placement", "train"))
        warmup = (train.get("extra") or {}).get("warmup_bias_lr")
        return [block.get("position_tables"), placement.get("bias_warmup"), warmup]

    return rules(recorded) != rules(now)


def sampling(recorded: dict[str, Any]) -> int:
    """The protocol by which a recorded run drew its samples: 1 where it is not stated, as before version 0.2."""
    stated = recorded.get("sampling", 1)
    return stated if isinstance(stated, int) else 1


def without_sampling(parts: dict[str, Any]) -> str:
    """A hash of an identity without how samples are drawn: the protocol and, by which 1 drew them, the workers."""
    hardware = {key: value for key, value in (parts.get("hardware") or {}).items() if key != "workers"}
    return hash8({**parts, "hardware": hardware, "sampling": None})


def hash8(parts: dict[str, Any]) -> str:
    """The first eight hexadecimal digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]
