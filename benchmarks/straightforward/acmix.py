"""ACmix as published: unfolded windows, the convolution in two steps.

``benchmarks.published_form`` is the form that is timed. Here products are matrix products, so that torch counts them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acmix_exp.nn import ACmix
from acmix_exp.ops.window_attention.geometry import tap_index
from benchmarks.published_form import coordinates


def forward(block: ACmix, x: Tensor) -> Tensor:
    query, key, value = block.conv1(x), block.conv2(x), block.conv3(x)
    out = x.new_zeros(())
    if block.has_attention:
        out = out + block.rate1 * _attention(block, query, key, value)
    if block.has_conv:
        heads = [image.unflatten(1, (block.head, block.head_dim)).flatten(3) for image in (query, key, value)]
        features = block.fc(torch.cat(heads, dim=1)).transpose(1, 2).flatten(1, 2)
        out = out + block.rate2 * block.dep_conv(features.unflatten(2, x.shape[2:]))
    return out


def _attention(block: ACmix, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    assert block.stride == 1
    height, width = query.shape[2:]
    position = block.conv_p(coordinates((height, width), block.conv_p.weight))
    key = key.unflatten(1, (block.head, -1))
    keys = _windows(block, key) + (position.unsqueeze(-1) - _windows(block, position))
    values = _windows(block, value.unflatten(1, (block.head, -1)))
    query = query.unflatten(1, (block.head, -1)) * block.head_dim**-0.5
    weights = torch.einsum("bmchw,bmchwt->bmhwt", query, keys).softmax(-1)
    return torch.einsum("bmhwt,bmchwt->bmchw", weights, values).flatten(1, 2)


def _windows(block: ACmix, image: Tensor) -> Tensor:
    """(..., H, W) -> (..., H, W, taps), reflected at the border."""
    height, width = image.shape[-2:]
    rows, columns = (tap_index(size, block.kernel_att, 1, block.dilation, image.device) for size in (height, width))
    return image[..., rows[:, None, :, None], columns[None, :, None, :]].flatten(-2)


FORWARDS = {ACmix: forward}
