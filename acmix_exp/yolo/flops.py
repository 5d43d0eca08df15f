"""Ultralytics' own FLOPs figure, to stand beside an honest one."""

from __future__ import annotations

import copy

from torch import nn
from ultralytics.utils.torch_utils import get_flops


def ultralytics_gflops(model: nn.Module, imgsz: int = 640) -> float | None:
    """GFLOPs of one image as ultralytics prints them; None where its counter gives none.

    It sees layers, not operations: attention by products of tensors is missing from it.
    """
    return float(get_flops(copy.deepcopy(model), imgsz)) or None
