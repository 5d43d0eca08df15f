"""Whether a forward pass is being recorded as a graph, by the TorchScript tracer or by torch.export."""

from __future__ import annotations

import torch
from torch.jit import is_tracing  # type: ignore[attr-defined]


def is_recorded() -> bool:
    """Then sizes may be left open, and a branch on one would be frozen or refused."""
    return is_tracing() or (hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting())
