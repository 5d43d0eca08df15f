"""Checks that the operators and the blocks share: arguments, and whether a graph is being recorded."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.jit import is_tracing  # type: ignore[attr-defined]


def check_positive(**values: object) -> None:
    """Raise ValueError unless each value is an integer of at least 1."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_odd(**values: object) -> None:
    """Raise ValueError unless each value is an odd positive integer."""
    check_positive(**values)
    for name, value in values.items():
        if isinstance(value, int) and value % 2 == 0:
            raise ValueError(f"{name} must be odd, got {value}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in (choices := list(choices)):
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")


def is_tracing_or_exporting() -> bool:
    """Whether the TorchScript tracer or torch.export is recording this forward pass.

    Sizes may then be symbolic: a Python branch on a size would be frozen into the graph, or refused.
    """
    return is_tracing() or (hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting())
