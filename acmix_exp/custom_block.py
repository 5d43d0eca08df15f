"""Static checks of a user-defined block, ``block.target=MODULE.CLASS``, without importing it."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from acmix_exp import installed
from acmix_exp.block_rules import shown
from acmix_exp.files import cache_dir

NAME = "custom"  # of conf/block/custom.yaml; any other name is a label that the user gave


def is_custom(block: Mapping[str, Any]) -> bool:
    """Whether the config ``block`` names a user-defined block."""
    return block.get("name") == NAME or block.get("target") is not None


def label(block: Mapping[str, Any]) -> str:
    """The label of the block's rows: its name, or if none was given, the name of the class in lower case."""
    name = block.get("name", NAME)
    return str(block["target"]).rpartition(".")[2].lower() if name == NAME else str(name)


def options(block: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of the class."""
    return {key: value for key, value in block.items() if key not in ("name", "target")}


def faults(block: Mapping[str, Any], taken: Sequence[str]) -> list[str]:
    """A line for a malformed target or name, a label that is one of ``taken``, or a module that is not found."""
    target, name = block.get("target"), block.get("name", NAME)
    if not isinstance(target, str) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", target):
        return [f"block.target={shown(target)}: must be MODULE.CLASS, a class in your own module, as my_module.MyBlock"]
    if not re.fullmatch(r"\w[\w.-]*", str(name)):
        return [f"block.name={name}: must be letters, digits, '.', '_' and '-' only"]
    if label(block) in taken:
        return [
            f"block.target={target}: its label, {label(block)}, is that of an arm or block of acmix_exp; "
            f"use block=custom block.target={target} block.name=ANOTHER"
        ]
    return missing(block)


def missing(block: Mapping[str, Any]) -> list[str]:
    """A line if ``block`` is user-defined and its module is not found, which training and reading a checkpoint need."""
    if not is_custom(block) or source(block["target"]) is not None:
        return []
    target = block["target"]
    return [
        f"block.target={target}: no module {target.rpartition('.')[0]} in {Path.cwd()} nor among those installed; "
        "start from the folder that holds it"
    ]


def announce(block: Mapping[str, Any]) -> None:
    """Say which file of the user's is imported, and remember it: the user's own command names it."""
    file = source(block["target"])
    if file is None:
        return
    print(f"acmix_exp: block.target={block['target']}: imports {file}", file=sys.stderr)
    with contextlib.suppress(OSError):  # then a later run= asks for block.target
        mark = _mark(block["target"], file)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def is_known(target: str) -> bool:
    """Whether a command on this machine has named ``MODULE.CLASS``, of a file with the present content."""
    file = source(target)
    return file is not None and _mark(target, file).exists()


def _mark(target: str, file: Path) -> Path:
    # Kept outside of run directories, because these are copied from elsewhere.
    return cache_dir() / "blocks" / hashlib.sha256(target.encode() + b"\0" + file.read_bytes()).hexdigest()


def source(target: str) -> Path | None:
    """The file of the module of ``MODULE.CLASS``, first in the working folder, as for a run; None if not found."""
    return _file(target.split(".")[:-1])


def _file(module: Sequence[str]) -> Path | None:
    top, *submodules = module
    spec = PathFinder.find_spec(top, [str(Path.cwd())])
    if spec is None and top not in (*sys.builtin_module_names, "__main__"):
        spec = importlib.util.find_spec(top)
    for name in submodules:
        spec = PathFinder.find_spec(name, spec.submodule_search_locations) if spec else None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def helpers(target: str) -> dict[str, Path]:
    """The user's own modules that the module of ``MODULE.CLASS`` imports, directly or not: dotted name -> file.

    Read from the ``import`` statements, without importing anything; packages that contain a module count too. What is
    installed, the standard library and this package are left out.
    """
    name = target.rpartition(".")[0]
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            path = None if part in found else _file(parts[:end])
            if path and parts[0] != "acmix_exp" and not installed.is_installed(str(path)):
                found[part] = path
                waiting += _imported_by(part, path)
    found.pop(name, None)
    return found


def _imported_by(module: str, path: Path) -> list[str]:
    """The modules that a file may import; ``from package import name`` may import ``package.name``."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name]
