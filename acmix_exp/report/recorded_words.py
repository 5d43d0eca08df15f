"""What is recorded of a run, in words: what it inserts, and its machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from acmix_exp.block_rules import RULES, shown
from acmix_exp.config import IDENTITY, block_label

JOINED = {  # by the mode of a placement
    "replace": "in",
    "swap": "in place of attention at",
    "down": "at",
    "up": "at",
    "fuse": "at",
    "loss": "as",
}


def site_names(placement: Mapping[str, Any]) -> list[str]:
    """The sites of a placement as recorded; none if that is no list."""
    sites = placement.get("sites")
    return list(map(str, sites)) if isinstance(sites, list) else []


def in_words(block: Mapping[str, Any], placement: Mapping[str, Any]) -> str:
    """An insertion as recorded, without its sites; options and settings that are not the defaults are named."""
    like, name = block.get("like"), str(block.get("name"))
    like = like if isinstance(like, dict) else {}
    options, kind = {**block, **like}, str(like.get("name") or name)
    defaults = RULES[kind].options if kind in RULES else {}
    usual = {key: option.default for key, option in defaults.items()} | {"position_tables": "without decay"}
    named = [
        f"{key} {shown(value)}"
        for key, value in options.items()
        if key not in ("name", "path", "like") and value != usual.get(key)
    ]
    label = f"{name} like {block_label(like)}" if like else block_label(block)
    usual = {"norm": True, "act": True, "residual": True, "zero_init": False}
    named += [f"{key} {shown(placement[key])}" for key in usual if placement.get(key, usual[key]) != usual[key]]
    details = f" ({', '.join(named)})" if named and name != IDENTITY else ""
    return f"{label}{details} {JOINED.get(str(placement.get('mode')), 'after')}"


def machine_name(hardware: Any) -> str:
    """The hardware of a provenance.json or profile.json in words: the GPU, else the CPU with its cores."""
    if not isinstance(hardware, dict):
        return ""
    if hardware.get("gpu"):
        return str(hardware["gpu"])
    cores = f" ({hardware['cores']} cores)" if hardware.get("cores") else ""
    return f"{hardware['cpu']}{cores}" if hardware.get("cpu") else ""
