"""Which values ultralytics' train arguments take, read from its package without importing it. No torch."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.config import ConfigError
from acmix_exp.yolo.owned_args import OWNED_ARGS
from acmix_exp.yolo.sites import LAYERS

Rule = tuple[Callable[[Any], bool], str]  # whether a value is fine, and what would be
DETECT = max(index for index, _, _ in LAYERS.values()) + 1  # the last layer


def faults(arguments: dict[str, Any]) -> list[str]:
    """One line for each of ``train.extra`` that ultralytics does not know, refuses, or takes and does not heed.

    Says nothing of what ``train.extra`` may not set: see :func:`acmix_exp.yolo.owned_args.refused`.
    """
    lines = []
    for name, value in arguments.items():
        if name in OWNED_ARGS:
            continue
        line = f"train.extra.{name}={value}"
        if name not in defaults():
            close = difflib.get_close_matches(name, defaults().keys() - OWNED_ARGS.keys(), n=1)
            hint = f"did you mean train.extra.{close[0]}?" if close else "see ultralytics' train arguments"
            lines.append(f"{line}: no such ultralytics argument; {hint}")
        elif rule := _rule(name):
            fine, right = rule
            optional = defaults()[name] is None or name in ("auto_augment", "cache")
            if not (optional if value is None else fine(value)):
                lines.append(f"{line}: must be {right}")
    return lines


def in_fraction(name: str, value: Any) -> bool:
    """False where ultralytics wants ``name`` from 0 to 1 and ``value`` is not."""
    return name not in types()["FRACTION"] or _is_fraction(value)


@lru_cache(maxsize=1)
def defaults() -> dict[str, Any]:
    """Every argument with its default."""
    return dict(yaml.safe_load((_package() / "cfg" / "default.yaml").read_text(encoding="utf-8")))


@lru_cache(maxsize=1)
def types() -> dict[str, Any]:
    """Names of arguments by type, FLOAT, FRACTION, INT, BOOL and STR; INT_MIN has the least of some."""
    wanted = {f"CFG_{kind}_KEYS": kind for kind in ("FLOAT", "FRACTION", "INT", "BOOL", "STR")}
    wanted["CFG_INT_MIN"] = "INT_MIN"
    found: dict[str, Any] = {kind: frozenset() for kind in wanted.values()} | {"INT_MIN": {}}
    for node in ast.parse((_package() / "cfg" / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in wanted:
            literal = node.value.args[0] if isinstance(node.value, ast.Call) else node.value
            found[wanted[node.targets[0].id]] = ast.literal_eval(literal)
    return found


def _package() -> Path:
    spec = find_spec("ultralytics")  # of a top-level package: finds it without importing it
    if spec is None or spec.origin is None:
        raise ConfigError("ultralytics is not installed; install acmix_exp again")
    return Path(spec.origin).parent


def _rule(name: str) -> Rule | None:
    if name in RULES:
        return RULES[name]
    kind = next((kind for kind in ("FLOAT", "FRACTION", "INT", "BOOL", "STR") if name in types()[kind]), None)
    if kind == "INT":
        least = types()["INT_MIN"].get(name)
        fine: Callable[[Any], bool] = lambda value: _is_whole(value) and (least is None or value >= least)  # noqa: E731
        return fine, "a whole number" + ("" if least is None else f" from {least}")
    return BY_TYPE[kind] if kind else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_fraction(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_part(value: Any) -> bool:
    """Of a data set: a ratio or a count of images, or one each of train, val and, left out or not, test."""
    if isinstance(value, list):
        return (
            len(value) in (2, 3)
            and all(value[:2])
            and all(type(v) in (int, float) and v >= 0 and (type(v) is int or v <= 1) for v in value)
        )
    return type(value) in (int, float) and value > 0 and (value <= 1 or type(value) is int)


def _is_scale(value: Any) -> bool:
    pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))
    return pair or _is_fraction(value)


def _is_freeze(value: Any) -> bool:
    if isinstance(value, list):
        return all(type(v) in (int, str) for v in value)
    return type(value) is int and 0 <= value <= DETECT


BY_TYPE: dict[str, Rule] = {
    "FLOAT": (_is_number, "a number"),
    "FRACTION": (_is_fraction, "a number from 0 to 1"),
    "BOOL": (lambda value: isinstance(value, bool), "true or false"),
    "STR": (lambda value: isinstance(value, str), "a text"),
}
RULES: dict[str, Rule] = {
    "fraction": (_is_part, "a number above 0 up to 1, a whole number of images from 2, or a list [train, val] of such"),
    "scale": (_is_scale, "a number from 0 to 1, or a list of two numbers"),
    "freeze": (
        _is_freeze,
        f"how many layers from the first, 0 to {DETECT}, or a list of layer indices or names of modules",
    ),
    "cache": (lambda value: isinstance(value, bool) or str(value).lower() in ("ram", "disk"), "ram or false"),
    "copy_paste_mode": (lambda value: value in ("flip", "mixup"), "flip or mixup"),
}
