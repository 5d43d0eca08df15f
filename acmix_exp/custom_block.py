"""A block from outside the package, by ``block.target=MODULE.CLASS``: what can be told of it without running it.

Floor 0: nothing here imports torch, and the user's module is found but not imported.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

NAME = "custom"  # of conf/block/custom.yaml; any other name is the label its user gave


def is_custom(block: Mapping[str, Any]) -> bool:
    return block.get("name") == NAME or block.get("target") is not None


def label(block: Mapping[str, Any]) -> str:
    """The block's name; the class's in lower case where none was given."""
    name = block.get("name", NAME)
    return str(block["target"]).rpartition(".")[2].lower() if name == NAME else str(name)


def options(block: Mapping[str, Any]) -> dict[str, Any]:
    """What goes to the class beside the channels."""
    return {key: value for key, value in block.items() if key not in ("name", "target")}


def faults(block: Mapping[str, Any], taken: Sequence[str]) -> list[str]:
    """Lines for a target that can't be, that is not found, or whose label is one of ``taken``."""
    target, name = block.get("target"), block.get("name", NAME)
    if not isinstance(target, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", target):
        shown = "null" if target is None else target
        return [f"block.target={shown}: must be MODULE.CLASS, a class in a module of yours such as my_module.MyBlock"]
    if not re.fullmatch(r"\w[\w.-]*", str(name)):
        return [f"block.name={name}: must be letters, digits, '.', '_' and '-' only"]
    if name in taken:
        return [
            f"block.target={target}: block.name={name} is the name of an arm or block of acmix_exp; use block=custom, "
            "or another block.name"
        ]
    if label(block) in taken:
        return [
            f"block.target={target}: its label, {label(block)}, is that of an arm or block of acmix_exp; "
            "give another by block.name=NAME"
        ]
    return missing(block)


def missing(block: Mapping[str, Any]) -> list[str]:
    """A line where the module of a block of one's own is not found from here, to train it or to read a checkpoint."""
    if not is_custom(block) or source(block["target"]) is not None:
        return []
    target = block["target"]
    return [
        f"block.target={target}: no module {target.rpartition('.')[0]} in {Path.cwd()} nor among those installed; "
        "start from the folder that holds it"
    ]


def source(target: str) -> Path | None:
    """The file of the module of ``MODULE.CLASS``, looked for where a run will: in the working folder first."""
    top, *inner = target.split(".")[:-1]
    spec = PathFinder.find_spec(top, [str(Path.cwd())]) or _installed(top)
    for part in inner:
        spec = PathFinder.find_spec(part, spec.submodule_search_locations) if spec else None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _installed(top: str) -> ModuleSpec | None:
    return importlib.util.find_spec(top) if top not in sys.builtin_module_names and top != "__main__" else None
