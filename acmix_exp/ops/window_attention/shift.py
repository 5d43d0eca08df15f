"""One tap after another as shifted views of the reflected map: the form for small windows.

Memory beyond the inputs is one padded copy of key and value and the kernel^2 attention weights of every query
and head, which are kept for the backward pass; no neighbourhood of channels is ever gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from acmix_exp.ops.window_attention.geometry import output_size, reflect
from acmix_exp.ops.window_attention.validation import check_first_derivative

ELEMENTS_AT_ONCE = 1 << 17  # of the query: one block and its shifted keys stay in the second-level cache


@dataclass(frozen=True)
class Window:
    kernel: int
    stride: int
    dilation: int

    def padded_index(self, size: int, device: torch.device) -> Tensor:
        """The pixel shown at each place of the padded axis: (size + dilation * (kernel - 1),)."""
        margin = self.kernel // 2 * self.dilation
        return reflect(torch.arange(-margin, size + margin, device=device), size)

    def taps(self, padded: Tensor, height: int, width: int) -> Iterator[Tensor]:
        """Views (..., height, width) of a padded map: what each query sees under tap 0, 1, ..."""
        for i in range(0, self.kernel * self.dilation, self.dilation):
            rows = padded[..., i : i + (height - 1) * self.stride + 1 : self.stride, :]
            for j in range(0, self.kernel * self.dilation, self.dilation):
                yield rows[..., j : j + (width - 1) * self.stride + 1 : self.stride]


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: int, stride: int, dilation: int) -> Tensor:
    """(B, heads, d, H, W) each, any strides, the key scaled -> (B, heads, d, rows, columns)."""
    window = Window(kernel, stride, dilation)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value)):
        out: Tensor = _Shift.apply(query, key, value, window)
        return out
    return _forward(query, key, value, window)[0]


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor, window: Window) -> Tensor:
        blocks = [_forward(q, k, v, window) for q, k, v in _blocks(query, key, value)]
        ctx.save_for_backward(query, key, value, *(weights for _, weights in blocks))
        ctx.window = window  # type: ignore[attr-defined]
        return torch.cat([out for out, _ in blocks])

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors  # type: ignore[attr-defined]
        window = ctx.window  # type: ignore[attr-defined]
        check_first_derivative()
        with torch.autocast(grad.device.type, enabled=False):
            blocks = zip(_blocks(grad, query, key, value), weights, strict=True)
            parts = [_backward(g, q, k, v, saved, window) for (g, q, k, v), saved in blocks]
            return *(torch.cat(grads) for grads in zip(*parts, strict=True)), None


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut the batch into blocks that stay in cache."""
    images = tensors[-1].shape[0]
    size = images if tensors[-1].is_cuda else max(1, ELEMENTS_AT_ONCE // max(1, tensors[-1][:1].numel()))
    return zip(*(tensor.split(max(1, size)) for tensor in tensors), strict=True)


def _pad(image: Tensor, window: Window) -> Tensor:
    rows = window.padded_index(image.shape[-2], image.device)
    columns = window.padded_index(image.shape[-1], image.device)
    return image.index_select(-2, rows).index_select(-1, columns)


def _unpad(grad: Tensor, image: Tensor, window: Window) -> Tensor:
    """The adjoint of ``_pad``, for the gradient of an image padded."""
    height, width = image.shape[-2:]
    rows = window.padded_index(height, grad.device)
    columns = window.padded_index(width, grad.device)
    folded = grad.new_zeros(*grad.shape[:-1], width).index_add_(-1, columns, grad)
    return folded.new_zeros(*folded.shape[:-2], height, width).index_add_(-2, rows, folded)


def _forward(query: Tensor, key: Tensor, value: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """The output and the attention weights (B, kernel^2, heads, rows, columns)."""
    height, width = (output_size(size, window.stride) for size in query.shape[-2:])
    query = query[..., :: window.stride, :: window.stride]
    keys = window.taps(_pad(key, window), height, width)
    weights = torch.stack([(query * tap).sum(dim=2) for tap in keys], dim=1).softmax(dim=1)
    pairs = zip(weights.unsqueeze(3).unbind(1), window.taps(_pad(value, window), height, width), strict=True)
    # Not from zeros_like: in ONNX those keep the size that was traced.
    out = torch.mul(*next(pairs))
    for weight, tap in pairs:
        out = torch.addcmul(out, weight, tap)
    return out, weights


def _backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, weights: Tensor, window: Window
) -> tuple[Tensor, Tensor, Tensor]:
    height, width = grad.shape[-2:]
    taps = list(window.taps(_pad(value, window), height, width))
    grad_weights = torch.stack([(grad * tap).sum(dim=2) for tap in taps], dim=1)
    grad_logits = torch._softmax_backward_data(grad_weights, weights, 1, weights.dtype)

    keys = _pad(key, window)
    grad_keys, grad_values = torch.zeros_like(keys), torch.zeros_like(keys)
    grad_query = torch.zeros_like(query)
    sites = query[..., :: window.stride, :: window.stride]
    grad_sites = grad_query[..., :: window.stride, :: window.stride]
    for weight, grad_logit, tap, grad_key, grad_value in zip(
        weights.unsqueeze(3).unbind(1),
        grad_logits.unsqueeze(3).unbind(1),
        window.taps(keys, height, width),
        window.taps(grad_keys, height, width),
        window.taps(grad_values, height, width),
        strict=True,
    ):
        grad_sites.addcmul_(grad_logit, tap)
        grad_key.addcmul_(grad_logit, sites)
        grad_value.addcmul_(weight, grad)
    return grad_query, _unpad(grad_keys, key, window), _unpad(grad_values, key, window)
