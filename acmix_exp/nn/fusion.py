"""Merge a BatchNorm into the convolution before or after it, for inference.

With scale = gamma / sqrt(running_var + eps) and shift = beta - running_mean * scale, BatchNorm in eval mode is
``scale * x + shift`` for each channel, and a sum of convolutions of the same input is one convolution with the sum of
their kernels. Sources: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithm 2; Ding et al., RepVGG, CVPR 2021,
section 3.3 (the three branches).

The running statistics are used in any mode. Results are computed in float32 or better and stored in the convolution's
dtype. Arguments are not changed unless the docstring says so; parameters of the results need no gradients.
"""

from __future__ import annotations

import copy
import inspect
from typing import TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

Conv = TypeVar("Conv", nn.Conv2d, nn.ConvTranspose2d)
Module = TypeVar("Module", bound=nn.Module)


@torch.no_grad()
def norm_affine(norm: nn.Module, channels: int | None = None) -> tuple[Tensor, Tensor]:
    """scale and shift, (C) each, of a BatchNorm2d or SyncBatchNorm in eval mode, in float32 or better.

    Raises ValueError for any other module, for a norm without running statistics, and unless it has ``channels``
    channels.
    """
    if not has_statistics(norm):
        raise ValueError(f"norm must be a BatchNorm2d with running statistics, got {norm}")
    if channels not in (None, norm.num_features):
        raise ValueError(f"norm must have {channels} channels, got {norm.num_features}")
    assert norm.running_mean is not None
    assert norm.running_var is not None
    wide = torch.promote_types(norm.running_mean.dtype, torch.float32)
    scale = (norm.running_var.to(wide) + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.to(wide)
    shift = -norm.running_mean * scale
    return scale, shift + norm.bias.to(wide) if norm.affine else shift


@torch.no_grad()
def fuse_conv_bn(conv: Conv, norm: nn.Module) -> Conv:
    """``norm(conv(x))`` as one convolution of the type of ``conv``: (B, C_in, H, W) -> (B, C_out, H', W') as before.

    conv: Conv2d or ConvTranspose2d with any kernel, stride, padding, padding mode, dilation, groups and bias.

    Raises ValueError unless ``norm`` is a BatchNorm2d with running statistics and C_out channels.
    """
    scale, shift = norm_affine(norm, conv.out_channels)
    weight = conv.weight.to(torch.promote_types(conv.weight.dtype, scale.dtype))
    if isinstance(conv, nn.ConvTranspose2d):  # (C_in, C_out / groups, k, k)
        grouped = weight.unflatten(0, (conv.groups, -1))
        weight = (grouped * scale.view(conv.groups, 1, -1, 1, 1)).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, 1, 1, 1)
    return _with_weights(conv, weight, shift if conv.bias is None else shift + conv.bias * scale)


@torch.no_grad()
def fuse_bn_conv(norm: nn.Module, conv: nn.Conv2d) -> nn.Conv2d:
    """``conv(norm(x))`` as one convolution, for a convolution without zero padding.

    Zeros are padded after the norm, so the merged convolution would pad the wrong value. Padding by reflection,
    replication or wrapping repeats values of the map, so it is exact.

    Raises ValueError for zero padding, and unless ``norm`` has C_in channels.
    """
    if not _pads_no_zeros(conv):
        raise ValueError(
            f"a convolution that pads with zeros cannot merge the norm before it, got padding {conv.padding}"
        )
    scale, shift = norm_affine(norm, conv.in_channels)
    weight = conv.weight.to(torch.promote_types(conv.weight.dtype, scale.dtype))
    per_group = (conv.groups, 1, -1, 1, 1)
    grouped = weight.unflatten(0, (conv.groups, -1))
    bias = (grouped * shift.view(per_group)).sum((2, 3, 4)).flatten()
    weight = (grouped * scale.view(per_group)).flatten(0, 1)
    return _with_weights(conv, weight, bias if conv.bias is None else bias + conv.bias)


@torch.no_grad()
def merge_branches(dense: nn.Conv2d, *, point: nn.Conv2d | None = None, identity: nn.Module | None = None) -> nn.Conv2d:
    """``dense(x) + point(x) + identity(x)`` as one convolution of the kernel of ``dense``.

    dense: k x k, k odd, padded to keep the size (before its stride).
    point: 1 x 1 without padding, with the same channels, stride and groups.
    identity: a BatchNorm2d or ``nn.Identity()``, if input and output have the same channels and the stride is 1.
    Merge the norm of a branch into it first, by ``fuse_conv_bn``.

    Raises ValueError if the branches do not fit together.
    """
    same = tuple(d * (k // 2) for d, k in zip(dense.dilation, dense.kernel_size, strict=True))
    if not all(k % 2 for k in dense.kernel_size) or dense.padding not in (same, "same"):
        raise ValueError(f"dense must have an odd kernel and keep the size, got {dense}")
    wide = torch.promote_types(dense.weight.dtype, torch.float32)
    weight = dense.weight.to(wide, copy=True)
    bias = torch.zeros(dense.out_channels, dtype=wide, device=weight.device)
    if dense.bias is not None:
        bias += dense.bias
    centre = (..., dense.kernel_size[0] // 2, dense.kernel_size[1] // 2)
    if point is not None:
        fits = all(getattr(point, name) == getattr(dense, name) for name in ("stride", "groups", "in_channels"))
        fits = fits and point.padding in ((0, 0), "valid", "same")
        if not fits or point.weight.shape != (*weight.shape[:2], 1, 1):
            raise ValueError(f"point must be a 1x1 without padding that fits {dense}, got {point}")
        weight[centre] += point.weight[..., 0, 0]
        if point.bias is not None:
            bias += point.bias
    if identity is not None:
        if dense.in_channels != dense.out_channels or dense.stride != (1, 1):
            raise ValueError(f"identity needs as many channels out as in, and stride 1, got {dense}")
        scale, shift = torch.ones_like(bias), torch.zeros_like(bias)
        if not isinstance(identity, nn.Identity):
            scale, shift = norm_affine(identity, dense.in_channels)
        own_input = torch.arange(dense.in_channels, device=weight.device) % weight.shape[1]  # index within the group
        weight[centre] += F.one_hot(own_input, weight.shape[1]) * scale[:, None]
        bias += shift
    return _with_weights(dense, weight, bias)


def absorb(module: nn.Module, norm: nn.Module) -> nn.Module | None:
    """``norm(module(x))`` as ``module`` with new weights, or None if that is not possible.

    It is possible for a convolution, a Sequential that ends in one, and a block whose ``fuse`` takes a ``norm``
    (ACmix). Such a block is changed in place; the others are not.
    """
    if not has_statistics(norm) or module._forward_hooks or module._forward_pre_hooks:
        return None
    if _is_plain(module, nn.Conv2d):
        return fuse_conv_bn(module, norm)
    if _is_plain(module, nn.ConvTranspose2d):
        return fuse_conv_bn(module, norm)
    if _is_plain(module, nn.Sequential) and len(module):
        *first, last = module.children()
        fused = absorb(last, norm)
        return fused and nn.Sequential(*first, fused)
    fuse_module = getattr(module, "fuse", None)
    if callable(fuse_module) and "norm" in inspect.signature(fuse_module).parameters:
        fuse_module(norm=norm)
        return module
    return None


def fuse(module: Module) -> Module:
    """Merge all BatchNorms that can be merged inside ``module``, in place, and return it. Repeating changes nothing.

    A module with its own ``fuse()`` is fused by that. In a Sequential, a BatchNorm after a convolution, or before one
    without zero padding, becomes ``nn.Identity()``, so that indices stay. A convolution or norm that is also used
    elsewhere stays unchanged there.
    """
    fuse_module = getattr(module, "fuse", None)
    if callable(fuse_module):
        if all(one.default is not one.empty for one in inspect.signature(fuse_module).parameters.values()):
            fuse_module()
        return module
    for child in module.children():
        fuse(child)
    if _is_plain(module, nn.Sequential):
        _fuse_chain(module)
    return module


def _fuse_chain(chain: nn.Sequential) -> None:
    for i in range(len(chain) - 1):
        fused = absorb(chain[i], chain[i + 1])
        if fused is not None:
            chain[i], chain[i + 1] = fused, nn.Identity()
    for i in range(len(chain) - 1):
        norm, conv = chain[i], chain[i + 1]
        if has_statistics(norm) and isinstance(conv, nn.Conv2d) and _is_plain(conv, nn.Conv2d) and _pads_no_zeros(conv):
            chain[i], chain[i + 1] = nn.Identity(), fuse_bn_conv(norm, conv)


def _is_plain(module: nn.Module, cls: type[Module]) -> TypeGuard[Module]:
    """Whether it is a ``cls`` that computes what ``cls`` computes."""
    return isinstance(module, cls) and type(module).forward is cls.forward and not is_parametrized(module)


def has_statistics(norm: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether it is a BatchNorm that can be merged."""
    return isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)) and norm.running_mean is not None


def _pads_no_zeros(conv: nn.Conv2d) -> bool:
    return conv.padding_mode != "zeros" or not any(conv._reversed_padding_repeated_twice)


def _with_weights(conv: Conv, weight: Tensor, bias: Tensor) -> Conv:
    fused = copy.deepcopy(conv)
    fused.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    fused.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    return fused
