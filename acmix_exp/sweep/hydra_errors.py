"""Turn the errors of Hydra and OmegaConf into one-line messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException

from acmix_exp.config import Config, conf_dir, dotted, options
from acmix_exp.errors import ConfigError, setting
from acmix_exp.sweep.literals import as_typed, quoted, text_keys

CONFIG_ERRORS = (HydraException, OmegaConfBaseException, ConfigError, ValueError)


def explain(error: BaseException, overrides: Iterable[str]) -> list[str]:
    """One line per fault: the key, its value and what would be right, as far as the error tells.

    Raises ``error`` itself if it is a ValueError that is not about the config.
    """
    if isinstance(error, ConfigError):
        return error.lines
    overrides = list(overrides)
    if isinstance(error, OverrideParseException):
        typed = as_typed(error.override).lstrip("+")
        key, _, value = typed.partition("=")
        return [
            f"{typed}: not KEY=VALUE as Hydra reads it; a text that holds commas, brackets or quotes needs quotes "
            f"inside the shell's: {setting(key, quoted(value))}"
        ]
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if group in ("hydra/launcher", "hydra/sweeper"):
            return [other_engine(f"{group}={option}")]
        return [f"{group}={option}: no such option; choose from {', '.join(error.options or options(group)) or 'none'}"]
    if ambiguous := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)'", str(error)):
        return [several_values(ambiguous[1])]
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        if "Config group override" not in str(error):
            raise error
        empty = ", ".join(item for item in overrides if item.endswith(("=null", "=")))
        return [f"{empty}: a group needs one of its options; see --help"]
    if missing := re.search(r"`(\w+)Config` has missing mandatory value: (\w+)", str(error)):
        return [f"{missing[1].lower()}.{missing[2]}: missing; choose an option of the group {missing[1].lower()}"]
    text = " ".join(str(cause) for cause in (error, error.__cause__) if cause)
    key = _full_key(text)
    override = next((item for item in overrides if re.match(rf"[+~]*{re.escape(key)}[.=]", item)), None)
    name, _, value = as_typed(override or key).lstrip("+~").partition("=")
    given = f"{name}={value}" if value else name
    if isinstance(error, (InterpolationResolutionError, GrammarParseError)):
        reason = _first_line(str(error)).removeprefix("KeyError raised while resolving interpolation: ").strip('"')
        return [f"{given}: can't be resolved: {reason}"]
    if wrong_type := re.search(r"Value '(.*?)'.* could not be converted to (\w+)", text):
        return [f"{key}={wrong_type[1]}: must be of type {wrong_type[2].lower()}"]
    if exists := re.search(r"Could not append to config\. An item is already at '([^']+)'", text):
        return [f"+{exists[1]}: the key exists; write {exists[1]}=VALUE without the plus sign"]
    if missing := re.search(r"Could not delete from config\. '([^']+)' does not exist", text):
        return [f"~{missing[1]}: no such key; see --cfg job"]
    if merging := re.match(r"Error merging override ((~?)([^=]*).*)", str(error)):
        return [f"{as_typed(merging[1])}: {_expected(merging[3]) if not merging[2] else 'is required'}"]
    if re.search(r"not in struct|not in '\w+'|Could not override|Key '.*' not (?:found|in)", text):
        option = name.removeprefix("block.")
        blocks = [block for block, known in block_files().items() if option in known] if option != name else []
        if blocks:
            block = chosen_block(overrides) or "the block chosen"
            return [f"{given}: an option of {', '.join(blocks)}, not of {block}"]
        close = difflib.get_close_matches(name, known_keys(), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else "see --help for the groups and --cfg job for the keys"
        return [f"{given}: unknown key; {hint}"]
    line = _first_line(text)
    about = next((item for item in overrides if (value := item.partition("=")[2]) and f"'{value}'" in line), None)
    return [f"{as_typed(about)}: {line}" if about else line]


def several_values(override: str) -> str:
    """The line that refuses values separated by commas without a sweep."""
    override = as_typed(override).lstrip("+")
    key, _, value = override.partition("=")
    sweep = f"several values are a sweep, which needs -m: -m {setting(key, value)}"
    if key in text_keys():
        one = f"one value that holds a comma needs quotes inside the shell's: {setting(key, quoted(value))}"
        return f"{override}: {sweep}; {one}"
    if key in ("tags", "hardware.device"):
        return f"{override}: several values are a list: {setting(key, f'[{value}]')}"
    if key == "model.placement.sites" or key.startswith("train.extra."):
        return f"{override}: {sweep}; a list is {setting(key, f'[{value}]')}"
    return f"{override}: {sweep}"


def other_engine(override: str) -> str:
    """The line that refuses a launcher or sweeper of Hydra's."""
    return (
        f"{override}: acmix_exp expands and launches sweeps itself; choose hardware=OPTION, and "
        "hardware.runs_at_once=N for N runs side by side"
    )


def chosen_block(overrides: Sequence[str]) -> str | None:
    """The block that the overrides choose; None if they choose none, or several."""
    blocks = [override.partition("=")[2] for override in overrides if override.startswith("block=")]
    return blocks[-1] if blocks and re.fullmatch(r"\w+", blocks[-1]) else None


def _expected(key: str) -> str:
    """What value a key of the schema must have."""
    group = key.replace(".", "/")
    if group != key and options(group):
        return f"a group is chosen with a slash, {group}=OPTION, and its keys are set as {key}.NAME=VALUE"
    node = OmegaConf.select(OmegaConf.structured(Config), key)
    if isinstance(node, ListConfig):
        return "must be a list, [a,b]"
    if isinstance(node, DictConfig):
        return "must have keys below it, KEY.NAME=VALUE"
    return "does not fit this key; see --cfg job"


def _full_key(text: str) -> str:
    for pattern in (r"full_key: ([\w./]+)", r"Could not override '([^']+)'", r"Key '([^']+)'"):
        if found := re.search(pattern, text):
            return found[1].split("@")[0]
    return _first_line(text)


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), text)


def known_keys() -> list[str]:
    """Every key of the schema and of the shipped blocks, and every config group, in the dotted form users type."""
    of_blocks = {f"block.{key}" for known in block_files().values() for key in known}
    return sorted({*schema_keys(), *of_blocks, "model/placement", "experiment"})


@cache
def schema_keys() -> frozenset[str]:
    schema: Any = OmegaConf.to_container(OmegaConf.structured(Config))
    return frozenset((*dict(dotted(schema)), "experiment"))


@cache
def block_files() -> Mapping[str, list[str]]:
    """The options of every shipped block, by its file."""
    files = sorted((conf_dir() / "block").glob("*.yaml"))
    return {path.stem: list(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files}
