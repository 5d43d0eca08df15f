"""The measured maps: those at which YOLOv8 at 640 pixels would have an attention block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

HEADS = 4
MAPS = {  # channels and side of P3, P4 and P5
    "n": ((64, 80), (128, 40), (256, 20)),
    "s": ((128, 80), (256, 40), (512, 20)),
    "m": ((192, 80), (384, 40), (576, 20)),
}


class Problem(Protocol):
    """One case of a comparison."""

    @property
    def device(self) -> str: ...

    @property
    def label(self) -> str: ...

    def small(self) -> Problem:
        """The same problem on a small map, which runs the same code."""
        ...

    def output_gradient(self) -> Tensor: ...


@dataclass(frozen=True)
class Case:
    """One problem: a (batch, channels, side, side) map, the side of the window, dtype and device."""

    batch: int
    channels: int
    side: int
    kernel: int
    dtype: str = "float32"
    device: str = "cpu"
    heads: int = HEADS

    @property
    def label(self) -> str:
        return f"{self.batch}x{self.channels}x{self.side}x{self.side} k{self.kernel} {self.dtype}"

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.batch, self.channels, self.side, self.side

    def small(self) -> Case:
        return replace(self, side=8)

    def place(self, tensor: Tensor) -> Tensor:
        """The tensor with the case's dtype and device; maps are channels_last on a GPU, where that is fastest."""
        tensor = tensor.to(self.device, self.torch_dtype)
        if tensor.shape == self.shape and self.device != "cpu":
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor

    def output_gradient(self) -> Tensor:
        """A fixed smooth gradient of the output, the same for every contender."""
        count = torch.tensor(self.shape).prod().item()
        return self.place(torch.cos(0.7 * torch.arange(count, dtype=torch.float64)).view(self.shape))


def cpu_cases() -> list[Case]:
    """A few maps for a machine without a GPU: minutes."""
    return [Case(4, 128, 40, 7), Case(1, 64, 80, 7), Case(4, 128, 40, 3), Case(1, 256, 20, 7)]


def tiny_cases() -> list[Case]:
    """Small maps to check that the scripts run: seconds."""
    return [Case(1, 8, 8, 3), Case(1, 8, 8, 5)]


def gpu_cases() -> list[Case]:
    """The maps of YOLOv8n in float16, then other windows, dtypes, batches and scales; the most important first."""
    cases = [_gpu(16, size, kernel) for size, kernel in product(MAPS["n"], (7, 3))]
    cases += [_gpu(16, MAPS["n"][1], kernel) for kernel in (5, 9)]
    cases += [_gpu(16, MAPS["n"][1], 7, dtype) for dtype in ("bfloat16", "float32")]
    cases += [_gpu(1, MAPS["n"][0], 7), _gpu(16, MAPS["m"][1], 7)]
    return cases


def full_cases() -> list[Case]:
    """Every map of n, s and m, batch 1 and 16, every window and dtype: hours, for a GPU."""
    axes = (
        (1, 16),
        [size for sizes in MAPS.values() for size in sizes],
        (3, 5, 7, 9),
        ("float16", "bfloat16", "float32"),
    )
    return [_gpu(*values) for values in product(*axes)]


def _gpu(batch: int, size: tuple[int, int], kernel: int, dtype: str = "float16") -> Case:
    return Case(batch, *size, kernel, dtype, "cuda")


SETS = {"tiny": tiny_cases, "cpu": cpu_cases, "gpu": gpu_cases, "full": full_cases}
