"""Argument checks of the operator. Each message is one line and shows the offending shape or value."""

from __future__ import annotations

import importlib.util
import os

import torch
from torch import Tensor

from acmix_exp.block_rules import BACKENDS
from acmix_exp.ops.checks import check_choice, check_odd, check_positive

BACKEND_VARIABLE = "ACMIX_EXP_BACKEND"
HAS_TRITON = importlib.util.find_spec("triton") is not None
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TRITON_HEAD_WIDTH = 256
TRITON_SPAN = 2**31  # elements: the kernels use 32-bit offsets within an image, 64-bit offsets between images


def resolve_backend(backend: str) -> str:
    """``backend``; for "auto" the value of the environment variable ACMIX_EXP_BACKEND, if it is set."""
    check_choice("backend", backend, BACKENDS)
    override = os.environ.get(BACKEND_VARIABLE) if backend == "auto" else None
    if not override:
        return backend
    check_choice(BACKEND_VARIABLE, override, BACKENDS)
    return override


def triton_unsupported(query: Tensor, head_width: int) -> str | None:
    """Why the triton backend does not support a query (B, heads, d, H, W) on any machine, or None."""
    if query.dtype not in TRITON_DTYPES:
        return f"{query.dtype} (only float32, float16 and bfloat16)"
    if head_width > TRITON_HEAD_WIDTH:
        return f"heads wider than {TRITON_HEAD_WIDTH} channels (got {head_width})"
    span = sum((size - 1) * step for size, step in zip(query.shape[2:], query.stride()[2:], strict=True))
    if span >= TRITON_SPAN:
        return f"images that span 2^31 elements in memory or more (got {span})"
    return None


def check_triton(query: Tensor, head_width: int) -> None:
    """Raise RuntimeError if the triton backend cannot run here, ValueError if it does not support the query."""
    if not HAS_TRITON:
        raise RuntimeError("backend 'triton' needs the package triton, which is not installed")
    if not query.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError(f"backend 'triton' needs tensors on a CUDA device, got {query.device}")
    reason = triton_unsupported(query, head_width)
    if reason:
        raise ValueError(f"backend 'triton' does not support {reason}; use backend='auto'")


def check_first_derivative() -> None:
    """Raise RuntimeError in a backward pass with ``create_graph=True``."""
    if torch.is_grad_enabled():
        raise RuntimeError("reflected_window_attention has no second derivative; use backend='reference'")


def check_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor | None,
    *,
    kernel_size: int,
    heads: int,
    stride: int,
    dilation: int,
) -> None:
    """Raise ValueError unless the arguments of ``reflected_window_attention`` fit together."""
    check_odd(kernel_size=kernel_size)
    check_positive(heads=heads, stride=stride, dilation=dilation)

    shape = tuple(query.shape)
    if query.ndim not in (4, 5) or 0 in shape[-2:]:
        raise ValueError(f"query must be (B, C, H, W) or (B, heads, d, H, W) with H, W >= 1, got {shape}")
    for name, tensor in (("key", key), ("value", value)):
        if tensor.shape != query.shape:
            raise ValueError(f"{name} must have the query's shape {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype != query.dtype or tensor.device != query.device:
            raise ValueError(
                f"{name} must be {query.dtype} on {query.device} like the query, got {tensor.dtype} on {tensor.device}"
            )
    if not query.dtype.is_floating_point:
        raise ValueError(f"query must be floating point, got {query.dtype}")
    if query.ndim == 4 and shape[1] % heads:
        raise ValueError(f"heads must divide the {shape[1]} channels, got {heads}")
    if query.ndim == 5 and shape[1] != heads:
        raise ValueError(f"a query of shape {shape} has {shape[1]} heads, got heads={heads}")

    if position_weight is None:
        return
    width = shape[1] // heads if query.ndim == 4 else shape[2]
    if tuple(position_weight.shape) not in ((width, 2), (width, 2, 1, 1)):
        raise ValueError(f"position_weight must be ({width}, 2, 1, 1), got {tuple(position_weight.shape)}")
    if not position_weight.dtype.is_floating_point or position_weight.device != query.device:
        raise ValueError(
            f"position_weight must be floating point on {query.device}, "
            f"got {position_weight.dtype} on {position_weight.device}"
        )
