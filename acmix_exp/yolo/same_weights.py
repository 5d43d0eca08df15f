"""Whether two checkpoints hold the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.tasks import load_checkpoint


def compare_weights(first: Path, second: Path) -> dict[str, Any]:
    """``tensors`` in all, how many are ``different`` in a bit, and the ``largest`` gap (None: other shapes)."""
    a, b = (load_checkpoint(path)[0].state_dict() for path in (first, second))
    different = [key for key in a.keys() | b.keys() if key not in a or key not in b or not _same(a[key], b[key])]
    comparable = all(key in a and key in b and a[key].shape == b[key].shape for key in different)
    gaps = [float((a[key].double() - b[key].double()).abs().max()) for key in different] if comparable else []
    return {
        "tensors": len(a.keys() | b.keys()),
        "different": len(different),
        "largest": max(gaps, default=0.0) if comparable else None,
    }


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (a, b)))
