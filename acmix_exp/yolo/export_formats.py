"""Ultralytics' export formats, read from its source: importing it would import torch."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """One row of ultralytics' table; ``name`` is what ``format=`` is given."""

    name: str
    title: str
    cpu: bool  # is exported on a CPU
    gpu: bool
    arguments: tuple[str, ...]  # of the exporter that it knows; dynamic leaves height and width open
    full_precision: bool  # exists in float32


@lru_cache(maxsize=1)
def export_formats() -> dict[str, Format]:
    """Every format that the installed ultralytics exports to, by name.

    Raises RuntimeError where its source does not hold the table any more.
    """
    spec = importlib.util.find_spec("ultralytics")  # of a top-level package: finds it without importing it
    path = Path((spec.submodule_search_locations or [""])[0] if spec else "") / "engine" / "exporter.py"
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        function = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "export_formats")
        rows = ast.literal_eval(next(node.value for node in function.body if isinstance(node, ast.Assign)))
        quantised = ast.literal_eval(_assigned(body, "FP32_UNSUPPORTED_FORMATS").args[0])
        return {
            name: Format(name, title, cpu, gpu, tuple(arguments), name not in quantised)
            for title, name, _, cpu, gpu, arguments, *_ in rows
            if name != "-"
        }
    except (OSError, StopIteration, ValueError, IndexError) as error:
        raise RuntimeError(f"{path}: the table of export formats is not where it was ({error!r})") from None


def _assigned(body: list[ast.stmt], name: str) -> ast.Call:
    """The call whose result a module gives that name."""
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.targets[0]) == name:
            return node.value
    raise ValueError(f"no {name}")
