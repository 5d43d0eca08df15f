"""Which blocks an arm inserts, and where: one, of the groups ``block`` and ``model/placement``, or ``arm.insertions``.

An item of that list is ``{block: NAME, placement: PLACEMENT}``, with ``options: {KEY: VALUE}`` of the block where they
are not the defaults. PLACEMENT is a file of conf/model/placement, a list of sites, or keys as in such a file.
``arm.apply`` writes each item out, ``{block: {name, ...}, placement: {name, mode, ...}}``, so that a run's config.yaml
holds all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from acmix_exp import custom_block
from acmix_exp.block_rules import RULES, option_faults, shown, suggestion, with_defaults
from acmix_exp.config import IDENTITY, Config, PlacementConfig, conf_dir, options
from acmix_exp.errors import ConfigError

KEYS = ("block", "placement", "options")


@dataclass(frozen=True)
class Insertion:
    """A block, ``{name, ...}`` with its options, and its placement. key: of the config that names it, for messages."""

    block: dict[str, Any]
    placement: PlacementConfig
    key: str = ""

    def in_words(self, lines: Sequence[str]) -> list[str]:
        """Lines on ``block.KEY`` and ``model.placement.KEY`` with the keys by which this insertion was given."""
        if not self.key:
            return list(lines)
        options = re.compile(r"\bblock\.(?=\w+=)")
        return [
            options.sub(f"{self.key}.options.", line)
            .replace("model.placement.sites=", f"{self.key}.placement: sites=")
            .replace("model.placement.", f"{self.key}.placement.")
            .replace("model/placement=", f"{self.key}.placement=")
            .replace("block=", f"{self.key}.block=")
            for line in lines
        ]


def insertions(config: Config) -> list[Insertion]:
    """Those of a config, in the order given; empty for the stock network. Raises ConfigError as :func:`read`."""
    if not config.arm.insert:
        return []
    if config.arm.insertions:
        return read(config.arm.insertions)
    return [Insertion(config.block, config.model.placement)]


def written_out(given: Sequence[Insertion]) -> list[dict[str, Any]]:
    """As items of ``arm.insertions`` in which nothing is left to look up."""
    return [{"block": each.block, "placement": asdict(each.placement)} for each in given]


def user_blocks(config: Config) -> list[dict[str, Any]]:
    """The user-defined blocks that a config inserts, each class once."""
    found = [each.block for each in insertions(config) if custom_block.is_custom(each.block)]
    return list({str(block["target"]): block for block in found}.values())


def is_identity(config: Config) -> bool:
    """Whether a config, its arm applied, inserts nothing but blocks without effect."""
    names = {each.block.get("name") for each in insertions(config)}
    return names == {IDENTITY}


def read(items: Sequence[Any]) -> list[Insertion]:
    """The insertions of a list. Raises ConfigError with a line for each fault that shows without the network."""
    found, lines = [], []
    for number, item in enumerate(items):
        key = f"arm.insertions[{number}]"
        try:
            found.append(_read(key, item))
        except ConfigError as error:
            lines += error.lines
    if lines:
        raise ConfigError(*lines)
    return found


def _read(key: str, item: Any) -> Insertion:
    if not isinstance(item, Mapping):
        raise ConfigError(f"{key}={shown(item)}: must be {{block: NAME, placement: NAME}}")
    if unknown := [name for name in item if name not in KEYS]:
        known = [name for name in unknown if any(name in rule.options for rule in RULES.values())]
        cure = f"; options of the block go below options: {{{known[0]}: ...}}" if known else ""
        raise ConfigError(f"{key}.{unknown[0]}: unknown key{cure or suggestion(str(unknown[0]), KEYS)}")
    if isinstance(item.get("block"), Mapping):  # written out already
        return Insertion(dict(item["block"]), _placement(key, item.get("placement")), key)
    return Insertion(_block(key, item.get("block"), item.get("options")), _placement(key, item.get("placement")), key)


def _block(key: str, name: Any, given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{key}.options={shown(given)}: must be keys of the block, such as {{kernel_att: 5}}")
    values = dict(given or {})
    if name == custom_block.NAME or "target" in values:
        block = {"name": name, **values}
        lines = custom_block.faults(block, taken=[*options("arm"), *RULES])
    elif name not in RULES:
        known = sorted([*RULES, custom_block.NAME])
        raise ConfigError(f"{key}.block={shown(name)}: {_unknown(name)}must be one of {', '.join(known)}")
    elif foreign := [option for option in values if not RULES[name].library and option not in RULES[name].options]:
        owners = [other for other, rule in RULES.items() if foreign[0] in rule.options]
        why = f"unknown key{suggestion(str(foreign[0]), RULES[name].options)}"
        if owners:
            why = f"an option of {', '.join(owners)}, not of {name}"
        raise ConfigError(f"{key}.options.{foreign[0]}={shown(values[foreign[0]])}: {why}")
    else:
        block, lines = {"name": name, **with_defaults(name, values)}, option_faults(name, values)
    if lines:
        raise ConfigError(*Insertion(block, PlacementConfig(), key).in_words(lines))
    return block


def _unknown(name: Any) -> str:
    return "no block is named; " if name is None else ""


def _placement(key: str, given: Any) -> PlacementConfig:
    if isinstance(given, Mapping):
        known = [each.name for each in fields(PlacementConfig)]
        if unknown := [str(name) for name in given if name not in known]:
            raise ConfigError(f"{key}.placement.{unknown[0]}: unknown key{suggestion(unknown[0], known)}")
        try:
            placement = OmegaConf.to_object(
                OmegaConf.merge(OmegaConf.structured(PlacementConfig), {"name": "sites", **given})
            )
        except OmegaConfBaseException as error:
            raise ConfigError(f"{key}.placement: {str(error).splitlines()[0]}") from error
        assert isinstance(placement, PlacementConfig)
    elif isinstance(given, (list, tuple)):
        placement = PlacementConfig(name="sites", sites=list(given))
    elif given in (known := [name for name in options("model/placement") if name not in ("none", "usual")]):
        placement = PlacementConfig(**placement_file(str(given)))
    else:
        raise ConfigError(
            f"{key}.placement={shown(given)}: must be one of {', '.join(known)}, a list of sites such as "
            "[backbone_p4], or keys as in conf/model/placement"
        )
    if not placement.sites:
        raise ConfigError(f"{key}.placement: names no site; must name at least one")
    return placement


@lru_cache(maxsize=64)
def placement_file(name: str) -> dict[str, Any]:
    """The keys of a file of conf/model/placement."""
    with open(conf_dir() / "model" / "placement" / f"{name}.yaml", encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    return content
