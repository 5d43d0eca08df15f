"""All input checks of the operator. Each message is one line and shows the offending shape or value."""

from __future__ import annotations

import torch
from torch import Tensor

BACKENDS = ("auto", "reference", "shift", "tile")


def check_backend(backend: str) -> None:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")


def check_positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")


def check_odd(name: str, value: object) -> None:
    check_positive(name, value)
    if isinstance(value, int) and value % 2 == 0:
        raise ValueError(f"{name} must be odd, got {value}")


def check_first_derivative() -> None:
    """Raise RuntimeError in a backward pass that is recorded to be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError("reflected_window_attention has no second derivative: use backend='reference' for it")


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
    backend: str,
) -> None:
    """Raise ValueError unless the arguments of ``reflected_window_attention`` fit together."""
    check_odd("kernel_size", kernel_size)
    check_positive("heads", heads)
    check_positive("stride", stride)
    check_positive("dilation", dilation)
    check_backend(backend)

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
