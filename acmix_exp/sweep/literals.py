"""Values of text keys (paths, names, tags) are taken as typed: quotes are added where Hydra's grammar needs them.

Hydra's grammar refuses letters other than a-z, and reads ``1e5`` as a number, ``[a]`` as a list and ``a(1)`` as a call.
What its users write on purpose keeps its meaning: a quoted value, an escape with a backslash, ``${...}``, ``null``,
values separated by commas, and the functions of a sweep.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from acmix_exp.config import Config
from acmix_exp.files import user_path

FUNCTION = re.compile(r"(choice|range|glob|interval|shuffle|sort|tag|str|int|float|bool|json_str|extend_list)\s?\(.*\)")
LISTS = ("tags", "hardware.slurm.setup", "hardware.slurm.extra")
# Lists of paths, of which one needs no brackets.
PATHS = ("a", "b")
# Paths and names: outside of a sweep a comma is one of their characters.
FREE = (
    "name",
    "run",
    "runs_dir",
    "dataset.path",
    "dataset.root",
    "model.pretrained",
    "logger.project",
    "logger.entity",
)


@cache
def text_keys() -> frozenset[str]:
    """Keys of the schema whose value is text, and that of a user-defined block."""
    return frozenset({*_text_keys(Config, ""), "block.target"})


def _text_keys(schema: Any, prefix: str, types: tuple[Any, ...] = (str, str | None)) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for field in fields(schema):
        if is_dataclass(hints[field.name]):
            yield from _text_keys(hints[field.name], f"{prefix}{field.name}.", types)
        elif hints[field.name] in types:
            yield prefix + field.name


@cache
def optional_keys() -> frozenset[str]:
    """Keys of the schema whose value is text or null."""
    return frozenset(_text_keys(Config, "", (str | None,)))


def override_key(override: str) -> str:
    """``block.head`` of ``++block.head=4``."""
    return override.partition("=")[0].lstrip("+~")


def literal(override: str, *, sweep: bool = True) -> str:
    """The override with quotes for Hydra's grammar around a value, or an item of it, that would else be misread.

    sweep: whether values separated by commas are those of a sweep.
    """
    left, equals, value = override.partition("=")
    key = left.lstrip("+~")
    if not equals or not value or FUNCTION.fullmatch(value):
        return override
    if key in PATHS and not (value.startswith("[") and value.endswith("]") and not user_path(value).exists()):
        return f"{left}=[{_literal(value)}]"
    if key in (*LISTS, *PATHS) and value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in items_of(value[1:-1])]
        return f"{left}=[{','.join(map(_literal, items))}]" if any(items) else override
    if key in text_keys():
        several = "," in value and (sweep or key not in FREE) and not user_path(value).exists()
        return f"{left}={','.join(map(_literal, items_of(value) if several else [value]))}"
    if _parsed(override) is None and not re.search(r"[,()\[\]{}]", re.sub(r"\$\{[^{}]*\}", "", value)):
        return f"{left}={quoted(value)}"
    return override


def as_typed(override: str) -> str:
    """The override without the quotes around its value or its items, and without the brackets around one path."""
    key, equals, value = override.partition("=")
    if override_key(override) in PATHS and value.startswith("[") and len(items_of(value[1:-1])) == 1:
        value = value[1:-1]
    return f"{key}{equals}{','.join(map(_text, items_of(value)))}"


def _text(item: str) -> str:
    value = getattr(_parsed(f"key={item}"), "_value", None)
    return value.text if isinstance(value, QuotedString) else item


def quoted(value: str) -> str:
    return QuotedString(value, Quote.double).with_quotes()


def items_of(value: str) -> list[str]:
    """``value`` split at its commas, but not at those inside brackets or quotes."""
    items, depth, quote, start = [], 0, "", 0
    for index, character in enumerate(value):
        if quote:
            quote = "" if character == quote and value[index - 1] != "\\" else quote
        elif character in "'\"" and not value[start:index].strip():
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth = max(0, depth - 1)
        elif character == "," and depth == 0 and value[index - 1] != "\\":
            items.append(value[start:index])
            start = index + 1
    return [*items, value[start:]]


def _literal(item: str) -> str:
    parsed = _parsed(f"key={item}")
    if parsed is None or parsed.is_sweep_override():
        return quoted(item)
    value = parsed._value
    if isinstance(value, QuotedString) or value is None or value == item or (isinstance(value, str) and "\\" in item):
        return item
    return quoted(item)


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
