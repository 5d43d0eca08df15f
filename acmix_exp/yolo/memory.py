"""The most memory that this process has held."""

from __future__ import annotations

import resource
import sys

import torch


def peak_mb(device: torch.device) -> float:
    """MiB: allocated by torch on a GPU, resident on a CPU (loader processes not counted)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
