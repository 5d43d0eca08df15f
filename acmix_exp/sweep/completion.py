"""Completion in bash: a script that holds every word, so that Tab starts no program. The script is completion.bash."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from acmix_exp.block_rules import RULES
from acmix_exp.config import GROUPS, Config, options
from acmix_exp.sweep.check import CHOICES
from acmix_exp.yolo.export_formats import PACKAGES

FLAGS = ("-m", "--help", "--version", "--cfg", "--config-dir")
# Choices that no table of the checks holds.
MORE: Mapping[str, tuple[str, ...]] = {
    "format": tuple(PACKAGES),
    "seeds": ("auto", "null"),
    "hardware.device": ("auto", "cpu", "cuda"),
    "export.quantize": ("32", "16", "8", "w8a16", "w8a32"),
    "report.columns": ("default", "thesis", "paper"),
    "plan.rows": ("all",),
}
UNINSTALL = "complete -r acmix-exp; unset -f _acmix_exp _acmix_exp_runs; unset _acmix_exp_keys _acmix_exp_values"


def script() -> str:
    """The script for ``eval`` or a file of bash-completion."""
    text = resources.files("acmix_exp").joinpath("completion.bash").read_text(encoding="utf-8")
    keys, values = dict.fromkeys(_keys()), dict.fromkeys(_values())
    return text.replace("{keys}", "\n".join(keys)).replace("{values}", "\n".join(values))


def _keys() -> Iterator[str]:
    yield from FLAGS
    for group in GROUPS:
        yield f"{group}="
    for key, _ in _schema(Config):
        yield f"{key}="
    for block in RULES.values():
        for option in block.options:
            yield f"block.{option}="


def _values() -> Iterator[str]:
    for group in GROUPS:
        for option in options(group):
            yield f"{group}={option}"
    for key, choices in {**CHOICES, **MORE}.items():
        for choice in choices:
            yield f"{key}={'null' if choice is None else choice}"
    for key, hint in _schema(Config):
        if hint is bool or bool in typing.get_args(hint):
            yield from (f"{key}=true", f"{key}=false")


def _schema(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted key with its type; a dict, which takes any key, ends with a dot."""
    for name, hint in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            yield from _schema(hint, f"{prefix}{name}.")
        elif typing.get_origin(hint) is dict:
            if name != "block":
                yield f"{prefix}{name}.", hint
        else:
            yield f"{prefix}{name}", hint
