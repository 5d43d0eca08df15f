"""The public operator: check, choose a backend, prepare its inputs once for all of them."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import torch
from torch import Tensor

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import dispatch, reference
from acmix_exp.ops.window_attention.geometry import positioned
from acmix_exp.ops.window_attention.triton import op as triton
from acmix_exp.ops.window_attention.validation import (
    HAS_TRITON,
    check_call,
    check_triton,
    resolve_backend,
    triton_lacks,
)

# Side of the map up to which tile is the faster one on a CPU, then shift, by kernel: forward and backward in float32, 1
# to 16 images, heads of 16 to 64 channels. With larger windows tile was never slower.
TILE_UP_TO = {1: 0, 3: 9, 5: 15, 7: 24, 9: 50}
TRITON_CAPABILITY = (8, 0)  # the oldest GPU that the kernels are compiled for in the tests


def reflected_window_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    position_weight: Tensor | None = None,
    *,
    kernel_size: int,
    heads: int,
    stride: int = 1,
    dilation: int = 1,
    scale: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """Attention of every pixel to the ``kernel_size`` x ``kernel_size`` window around it, mirrored at the border.

    For the query at output site (y, x), that is pixel (y * stride, x * stride), and tap t = (i, j) over the
    pixel r(t) = reflect(y * stride + (i - kernel_size // 2) * dilation, x * stride + (j - kernel_size // 2) *
    dilation)::

        logit[t] = scale * query . (key[r(t)] + E[centre] - E[r(t)])
        out      = sum_t softmax(logit)[t] * value[r(t)]

    E = W (column, row) is a linear position embedding of the coordinates -1 .. 1, shared by heads and
    samples. A bias of it, and E[centre] itself, cancel in the softmax. Reflection excludes the edge pixel and
    bounces as often as it must, so maps smaller than the window are fine, down to 1 x 1.

    Args:
        query, key, value: (B, C, H, W) in any memory format, floating point, one shape, dtype and device.
            Head m owns the channels m * d .. m * d + d - 1, d = C / heads. Or split already: (B, heads, d, H,
            W), any strides.
        position_weight: (d, 2, 1, 1) or (d, 2), the weight of the position embedding; input 0 is the column.
            Any floating dtype: its part of the logits is added to the key in float32 or better. None: no position term.
        kernel_size: side of the window, odd.
        heads: number of heads; divides C.
        stride: distance of the query sites, in pixels.
        dilation: distance of the taps, in pixels.
        scale: factor of the logits; d ** -0.5 by default.
        backend: "reference" (the specification, slow), "shift", "tile", "triton" (GPU kernels, not yet measured
            on a GPU), or "auto": triton on a GPU where it has the case, else the faster of shift and tile. The
            environment variable ACMIX_EXP_BACKEND names what "auto" is to be. float16 and bfloat16 are computed in
            float32 on a CPU, and by "shift" everywhere; triton sums in float32. In a traced graph (TorchScript, ONNX)
            "auto" and "tile" are shift: a tile plan is made for one size.

    Returns:
        (B, C, ceil(H / stride), ceil(W / stride)) in the query's dtype and memory format, or with the heads
        split where they came so. Differentiable in query, key, value and position_weight; twice
        by "reference" alone.

    Raises:
        ValueError: one line, where the arguments do not fit together.
        RuntimeError: in a backward pass with ``create_graph``, unless by "reference"; where "triton" is asked
            for and the tensors are not on a CUDA device.

    Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022, section 4.1, Stage II.
    """
    backend = resolve_backend(backend)
    check_call(
        query,
        key,
        value,
        position_weight,
        kernel_size=kernel_size,
        heads=heads,
        stride=stride,
        dilation=dilation,
    )
    split = query.ndim == 5
    dtype = query.dtype
    channels_last = not split and is_channels_last(query)
    if not split:
        # Not unflatten: in ONNX it keeps the size that was traced.
        batch, channels, *size = query.shape
        query, key, value = (tensor.reshape(batch, heads, channels // heads, *size) for tensor in (query, key, value))
    if scale is None:
        scale = query.shape[2] ** -0.5
    if backend == "auto":
        backend = choose_backend(query, kernel_size)
    elif backend == "tile" and is_tracing_or_exporting():
        backend = "shift"
    elif backend == "triton":
        check_triton(query, query.shape[2])

    with torch.autocast(query.device.type, enabled=False):
        # Matrix products, for which a GPU has 16-bit units that sum in float32.
        native = backend == "triton" or (backend == "tile" and query.is_cuda)
        compute = dtype if native else torch.promote_types(dtype, torch.float32)
        query, key, value = (tensor.to(compute) for tensor in (query, key, value))
        weight = position_weight
        if weight is not None:
            weight = weight.to(torch.promote_types(compute, torch.float32))
        if backend == "reference":
            out = reference.attend(query, key, value, weight, kernel_size, stride, dilation, scale)
        elif backend == "triton":
            out = triton.attend(query, key, value, weight, kernel_size, stride, dilation, scale)
        else:
            key = positioned(key, weight, scale).to(compute)
            out = dispatch.attend(backend, query, key, value, kernel_size, stride, dilation)
        out = out.to(dtype)

    if split:
        return out
    out = out.flatten(1, 2)
    return out.contiguous(memory_format=torch.channels_last) if channels_last else out


def choose_backend(query: Tensor, kernel_size: int) -> str:
    """The backend that "auto" stands for, for a query (B, heads, d, H, W).

    A traced or exported graph takes "shift", which has a form for that: a tile plan is made for one size.
    """
    if is_tracing_or_exporting():
        return "shift"
    if query.is_cuda and _takes_triton(query, kernel_size):
        return "triton"
    height, width = query.shape[-2:]
    if query.is_cuda:
        return "shift" if kernel_size <= 3 else "tile"
    return "shift" if height * width > TILE_UP_TO.get(kernel_size, math.inf) ** 2 else "tile"


def _takes_triton(query: Tensor, kernel_size: int) -> bool:
    """Whether a CUDA query can be given to triton."""
    if not HAS_TRITON or torch.version.cuda is None:
        return False
    if torch.cuda.get_device_capability(query.device) < TRITON_CAPABILITY:
        return False
    if triton_lacks(query, query.shape[2]) is not None:
        return False
    if torch.compiler.is_compiling():
        return True
    return _triton_agrees(query.device, query.dtype, query.shape[2], kernel_size)


@lru_cache
def _triton_agrees(device: torch.device, dtype: torch.dtype, head_dim: int, kernel_size: int) -> bool:
    """Whether the kernels run there and agree with the reference, output and gradients, on one small map.

    Asked once a process for each case before "auto" relies on them. Where not, it warns once, in one line.
    """
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, head_dim, 9, 6)] * 3 + [(head_dim, 2, 1, 1)]
    drawn = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    found = []
    try:
        with torch.enable_grad():
            for attend, kind in ((triton.attend, dtype), (reference.attend, torch.float32)):
                query, key, value = (tensor.to(kind).requires_grad_() for tensor in drawn[:3])
                weight = drawn[3].float().requires_grad_()
                out = attend(query, key, value, weight, kernel_size, 1, 1, head_dim**-0.5)
                gradients = torch.autograd.grad(out.float().square().sum(), (query, key, value, weight))
                found.append([out.detach(), *gradients])
        for ours, right in zip(*found, strict=True):
            error = float((ours.float() - right).abs().max() / right.abs().max().clamp(min=1.0))
            if not error <= tolerance:
                raise ArithmeticError(f"it differs from the reference by {error:.1e} of the largest value")
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        warnings.warn(f"window attention runs without triton on {device}: {reason}", stacklevel=2)
        return False
    return True


def is_channels_last(image: Tensor) -> bool:
    """Whether a (B, C, H, W) tensor is channels_last and not contiguous as well."""
    return image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
