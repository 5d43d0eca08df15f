"""The public operator: check the arguments, choose a backend, prepare the inputs that all backends share."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import torch
from torch import Tensor

from acmix_exp.ops.checks import is_tracing_or_exporting
from acmix_exp.ops.window_attention import dispatch, reference
from acmix_exp.ops.window_attention.geometry import key_with_position
from acmix_exp.ops.window_attention.triton import op as triton
from acmix_exp.ops.window_attention.validation import (
    HAS_TRITON,
    check_call,
    check_triton,
    resolve_backend,
    triton_unsupported,
)

# Largest side of a map for which "tile" is faster than "shift" on a CPU, by kernel size: forward and backward in
# float32, 1 to 16 images, heads of 16 to 64 channels. For larger windows "tile" was never slower.
TILE_UP_TO = {1: 0, 3: 9, 5: 15, 7: 24, 9: 50}
TRITON_CAPABILITY = (8, 0)  # lowest compute capability that the tests compile the kernels for


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

    The query at output position (y, x) is the pixel (y * stride, x * stride). Tap t = (i, j) of its window, with i and
    j from 0 to kernel_size - 1, lies over the pixel

        r(t) = reflect(y * stride + (i - kernel_size // 2) * dilation, x * stride + (j - kernel_size // 2) * dilation)

    and the output is::

        logit[t] = scale * query . (key[r(t)] + E[centre] - E[r(t)])
        out      = sum_t softmax(logit)[t] * value[r(t)]

    E = W (column, row) is a linear position embedding of the coordinates -1 .. 1, shared by all heads and samples. Its
    bias and E[centre] cancel in the softmax. Reflection excludes the edge pixel and is repeated as often as needed, so
    maps may be smaller than the window, down to 1 x 1.

    Args:
        query, key, value: floating-point maps of one shape, dtype and device. Either (B, C, H, W) in any memory format,
            in which head m has the channels m * d to (m + 1) * d - 1, d = C / heads; or with the heads split,
            (B, heads, d, H, W), with any strides.
        position_weight: weight of the position embedding, (d, 2, 1, 1) or (d, 2); input 0 is the column, input 1 the
            row. Any floating dtype; the position term is computed in float32 or better. None: no position term.
        kernel_size: side of the window, odd.
        heads: number of heads; must divide C.
        stride: distance of the queries in pixels.
        dilation: distance of the taps in pixels.
        scale: factor of the logits; None: d ** -0.5.
        backend: "reference" (the specification, slow), "shift", "tile", "triton" (GPU kernels, not yet measured on a
            GPU) or "auto": triton on a GPU if it supports the call, else the faster of shift and tile. The environment
            variable ACMIX_EXP_BACKEND replaces "auto". float16 and bfloat16 are computed in float32 on a CPU and by
            "shift"; triton accumulates in float32. In a traced graph (TorchScript, ONNX) "auto" and "tile" run
            "shift", because a tile plan holds for one map size.

    Returns:
        (B, C, ceil(H / stride), ceil(W / stride)) in the query's dtype and memory format; (B, heads, d, ...) for
        inputs with split heads. Differentiable in query, key, value and position_weight; twice with "reference" only.

    Raises:
        ValueError: the arguments do not fit together; one line.
        RuntimeError: a second derivative with a backend other than "reference"; or "triton" with tensors that are not
            on a CUDA device.

    Source: Pan et al., On the Integration of Self-Attention and Convolution, CVPR 2022, section 4.1, Stage II.
    """
    backend = resolve_backend(backend)
    check_call(
        query, key, value, position_weight, kernel_size=kernel_size, heads=heads, stride=stride, dilation=dilation
    )
    heads_are_split = query.ndim == 5
    dtype = query.dtype
    channels_last = not heads_are_split and is_channels_last(query)
    if not heads_are_split:
        # Not unflatten, which keeps the traced size in ONNX.
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
        # A GPU multiplies 16-bit matrices with float32 sums, so 16-bit inputs need no conversion there.
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
            key = key_with_position(key, weight, scale).to(compute)
            out = dispatch.attend(backend, query, key, value, kernel_size, stride, dilation)
        out = out.to(dtype)

    if heads_are_split:
        return out
    out = out.flatten(1, 2)
    return out.contiguous(memory_format=torch.channels_last) if channels_last else out


def choose_backend(query: Tensor, kernel_size: int) -> str:
    """The backend that "auto" means for a query (B, heads, d, H, W).

    In a traced or exported graph it is "shift", which supports symbolic sizes; a tile plan holds for one size.
    """
    if is_tracing_or_exporting():
        return "shift"
    if query.is_cuda and _supports_triton(query, kernel_size):
        return "triton"
    height, width = query.shape[-2:]
    if query.is_cuda:
        return "shift" if kernel_size <= 3 else "tile"
    return "shift" if height * width > TILE_UP_TO.get(kernel_size, math.inf) ** 2 else "tile"


def _supports_triton(query: Tensor, kernel_size: int) -> bool:
    """Whether the triton backend supports a CUDA query on its device."""
    if not HAS_TRITON or torch.version.cuda is None:
        return False
    if torch.cuda.get_device_capability(query.device) < TRITON_CAPABILITY:
        return False
    if triton_unsupported(query, query.shape[2]) is not None:
        return False
    if torch.compiler.is_compiling():
        return True
    return _triton_agrees(query.device, query.dtype, query.shape[2], kernel_size)


@lru_cache
def _triton_agrees(device: torch.device, dtype: torch.dtype, head_dim: int, kernel_size: int) -> bool:
    """Whether the kernels run on the device and match the reference, output and gradients, on one small map.

    "auto" requires this check, once per process and case. A failure is one warning of one line.
    """
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 2, head_dim, 9, 6)] * 3 + [(head_dim, 2, 1, 1)]
    inputs = [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]
    results = []
    try:
        with torch.enable_grad():
            for attend, compute_dtype in ((triton.attend, dtype), (reference.attend, torch.float32)):
                query, key, value = (tensor.to(compute_dtype).requires_grad_() for tensor in inputs[:3])
                weight = inputs[3].float().requires_grad_()
                out = attend(query, key, value, weight, kernel_size, 1, 1, head_dim**-0.5)
                gradients = torch.autograd.grad(out.float().square().sum(), (query, key, value, weight))
                results.append([out.detach(), *gradients])
        for actual, expected in zip(*results, strict=True):
            error = float((actual.float() - expected).abs().max() / expected.abs().max().clamp(min=1.0))
            if not error <= tolerance:
                raise ArithmeticError(f"differs from the reference by {error:.1e} of the largest value")
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        warnings.warn(f"window attention runs without triton on {device}: {reason}", stacklevel=2)
        return False
    return True


def is_channels_last(image: Tensor) -> bool:
    """Whether a (B, C, H, W) tensor is channels_last and not also contiguous."""
    return image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
