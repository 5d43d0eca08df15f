"""Whether a forward pass is being recorded as a graph, by the TorchScript tracer or by torch.export."""

from __future__ import annotations

import torch
from torch.jit import is_tracing  # type: ignore[attr-defined]


def check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_odd(name: str, value: object) -> None:
    check_positive(name, value)
    if isinstance(value, int) and value % 2 == 0:
        raise ValueError(f"{name} must be odd, got {value}")


def is_recorded() -> bool:
    """Then sizes may be left open, and a branch on one would be frozen or refused."""
    return is_tracing() or (hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting())
