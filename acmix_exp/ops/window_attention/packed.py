"""Window attention of query, key and value packed in one tensor: writes one packed gradient, concatenates none.

ACmix uses it to train on a CPU. Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022,
section 4.1, Stage II.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import dispatch
from acmix_exp.ops.window_attention.api import choose_backend, reflected_window_attention
from acmix_exp.ops.window_attention.geometry import coordinate, key_with_position
from acmix_exp.ops.window_attention.validation import check_call, check_first_derivative, resolve_backend


def packed_window_attention(
    stack: Tensor,
    position_weight: Tensor | None,
    *,
    kernel_size: int,
    heads: int,
    stride: int = 1,
    dilation: int = 1,
    backend: str = "auto",
) -> Tensor:
    """``reflected_window_attention`` of queries, keys and values ``stack`` (B, 3, heads, d, H, W), any strides.

    position_weight: (d, 2, 1, 1). Returns (B, heads, d, ceil(H / stride), ceil(W / stride)). Dtypes, backends and
    exceptions are those of ``reflected_window_attention``.
    """
    options: dict[str, Any] = {"kernel_size": kernel_size, "heads": heads, "stride": stride, "dilation": dilation}
    query, key, value = stack.unbind(1)
    chosen = resolve_backend(backend)
    is_eager = not is_tracing_or_exporting() and not torch.compiler.is_compiling()
    on_cpu = stack.device.type == "cpu" and stack.dtype in (torch.float32, torch.float64)
    same_dtype = position_weight is None or position_weight.dtype == stack.dtype
    if is_eager and on_cpu and same_dtype and torch.is_grad_enabled():
        if chosen == "auto":
            chosen = choose_backend(stack[:, 0], kernel_size)
        if chosen in dispatch.MODULES:
            check_call(query, key, value, position_weight, **options)
            window = kernel_size, stride, dilation
            out: Tensor = _Packed.apply(stack, position_weight, window, dispatch.MODULES[chosen])
            return out
    return reflected_window_attention(query, key, value, position_weight, **options, backend=backend)


class _Packed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, stack: Tensor, weight: Tensor | None, window: tuple[int, int, int], module: ModuleType
    ) -> Tensor:
        query, key, value = stack.unbind(1)
        out: Tensor
        with torch.autocast(stack.device.type, enabled=False):
            key = key_with_position(key, weight, stack.shape[3] ** -0.5)
            out, saved = module.forward(query, key, value, *window)
        ctx.save_for_backward(stack, weight, saved)
        ctx.window, ctx.module = window, module
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        check_first_derivative()
        stack, weight, saved = ctx.saved_tensors
        scale = stack.shape[3] ** -0.5
        with torch.autocast(stack.device.type, enabled=False):
            query, key, value = stack.unbind(1)
            grads = torch.empty_like(stack)
            key = key_with_position(key, weight, scale)
            ctx.module.write_gradients(grads.unbind(1), grad, query, key, value, saved, *ctx.window)
            grad_key = grads[:, 1].mul_(scale)
            grad_weight = None if weight is None else _position_gradient(grad_key).view_as(weight)
            return grads, grad_weight, None, None


def _position_gradient(grad_key: Tensor) -> Tensor:
    """Gradient of the position weight, (d, 2), from the gradient of the keys (B, heads, d, H, W)."""
    height, width = grad_key.shape[-2:]
    x = coordinate(width, grad_key.dtype, grad_key.device).expand(height, width)
    y = coordinate(height, grad_key.dtype, grad_key.device)[:, None].expand(height, width)
    axes = torch.stack([x.flatten(), y.flatten()], dim=1)
    return (grad_key.flatten(3) @ axes).sum((0, 1)).neg_()
