"""The ways to join a block to a layer of a detector. No stock key is renamed, so stock weights still fit.

Class and attribute names are part of the checkpoint format.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from ultralytics.nn.modules import AIFI, Conv
from ultralytics.nn.modules import block as ultralytics_block
from ultralytics.nn.modules import conv as ultralytics_conv
from ultralytics.nn.modules import transformer as ultralytics_transformer

from acmix_exp.nn.fusion import absorb, fuse
from acmix_exp.nn.mobilenet_v3 import MobileNetV3Stage


class After(nn.Module):
    """``x + silu(norm(block(x)))``, with norm, activation and residual each switchable. (B, C, H, W) to the same.

    The activation is inside the branch: silu(0) = 0, so a norm whose weight and bias are zero makes the
    branch exactly zero, while its weight still gets a gradient.
    """

    def __init__(
        self,
        block: nn.Module,
        channels: int,
        norm: bool = True,
        act: bool = True,
        residual: bool = True,
        zero: bool = False,
    ) -> None:
        super().__init__()
        if zero and not (norm and residual):
            raise ValueError("a branch can only start at zero with norm and residual")
        self.block = block
        self.norm: nn.Module = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.act = act
        self.residual = residual
        if zero:
            nn.init.zeros_(self.norm.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.block(x))
        if self.act:
            y = F.silu(y)  # never in place: a block may return its own input
        return x + y if self.residual else y

    def fuse(self) -> After:
        """For inference, in place: fuse the block, and fold the norm into its weights if it can take one."""
        self.block, self.norm = _fused(self.block, self.norm)
        return self


def _through_after(stock: type[nn.Module], name: str) -> Callable[..., Tensor]:
    method = getattr(stock, name)

    def forward(self: Any, *args: Any, **options: Any) -> Tensor:
        return self.after(method(self, *args, **options))

    return functools.update_wrapper(forward, method, assigned=("__name__", "__doc__"), updated=())


FORWARD = ("forward", "forward_split", "forward_fuse")  # of the exporter, and after ultralytics' ``fuse``


def _after(stock: type[nn.Module]) -> type[nn.Module]:
    """A subclass of a layer of ultralytics whose output goes through ``after``; :func:`insert_after` makes a layer one.

    An nn.Sequential runs ``after`` by itself, as its last part.
    """
    names = () if issubclass(stock, nn.Sequential) else [name for name in FORWARD if hasattr(stock, name)]
    methods = {name: _through_after(stock, name) for name in names}
    return type(f"{stock.__name__}After", (stock,), {**methods, "__module__": __name__, "__doc__": _after.__doc__})


AFTER: dict[type[nn.Module], type[nn.Module]] = {
    stock: _after(stock)
    for module in (ultralytics_block, ultralytics_conv, ultralytics_transformer)
    for stock in vars(module).values()
    if isinstance(stock, type) and issubclass(stock, nn.Module) and stock.__module__ == module.__name__
}
AFTER |= {stock: _after(stock) for stock in (nn.Sequential, nn.Upsample, MobileNetV3Stage)}
globals().update({subclass.__name__: subclass for subclass in AFTER.values()})  # a checkpoint names them


class AIFISwapped(AIFI):
    """An AIFI with ``swapped`` in place of its attention, on maps; made from a stock AIFI by :func:`swap_attention`.

    The rest is as in the stock layer: residuals, norms and the feed-forward part. The position embedding, which is for
    queries and keys, is gone with them.
    """

    swapped: After

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        mixed = self._mixed(self.norm1(tokens) if self.normalize_before else tokens, x)
        tokens = tokens + self.dropout1(mixed)
        tokens = tokens if self.normalize_before else self.norm1(tokens)
        inner = self.norm2(tokens) if self.normalize_before else tokens
        inner = self.fc2(self.dropout(self.act(self.fc1(inner))))
        tokens = tokens + self.dropout2(inner)
        tokens = tokens if self.normalize_before else self.norm2(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)

    def _mixed(self, tokens: Tensor, x: Tensor) -> Tensor:
        return self.swapped(tokens.transpose(1, 2).reshape(x.shape)).flatten(2).transpose(1, 2)


class BlockConv(nn.Module):
    """A block in place of a Conv's convolution, with that Conv's BN and activation: ``act(bn(block(x)))``.

    Not a subclass of Conv: ultralytics' ``fuse`` folds every Conv and would look for a convolution's weight.
    """

    def __init__(self, block: nn.Module, conv: Conv) -> None:
        super().__init__()
        self.block = block
        self.bn = conv.bn
        self.act = conv.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.block(x)))

    def fuse(self) -> BlockConv:
        """As :meth:`After.fuse`."""
        self.block, self.bn = _fused(self.block, self.bn)
        return self


def _fused(block: nn.Module, norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    block = fuse(block)
    together = absorb(block, norm)
    return (block, norm) if together is None else (together, nn.Identity())


class ConvBlock(Conv):
    """A Conv with a block without effect after its convolution: ``act(bn(block(conv(x))))``.

    Made from a stock Conv by :func:`insert_behind`. Still a Conv, so ultralytics' ``fuse`` folds its BN.
    """

    block: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.block(self.conv(x))))

    def forward_fuse(self, x: Tensor) -> Tensor:
        """The forward pass after ``fuse`` has folded the BN into the convolution."""
        return self.act(self.block(self.conv(x)))


def insert_after(layer: nn.Module, after: After) -> None:
    """Turn a stock layer into its subclass in place: indices, hooks and state_dict keys stay.

    Raises KeyError for a layer of a class that ultralytics does not have.
    """
    layer.__class__ = AFTER[type(layer)]
    layer.after = after


def swap_attention(layer: nn.Module, path: str, after: After) -> None:
    """Put ``after`` in place of the attention at ``path`` in a layer, in place."""
    if isinstance(layer, AIFI):
        layer.__class__ = AIFISwapped
        del layer.ma
        layer.swapped = after
    else:
        above, _, attribute = path.rpartition(".")
        setattr(layer.get_submodule(above), attribute, after)


def insert_after_attention(layer: nn.Module, path: str, after: After) -> None:
    """As :func:`insert_after`, for the attention at ``path`` in a layer; in an AIFI for the layer itself."""
    insert_after(layer if isinstance(layer, AIFI) else layer.get_submodule(path), after)


def insert_behind(conv: Conv, block: nn.Module) -> None:
    """Turn a stock Conv into a ConvBlock in place: hooks and state_dict keys stay."""
    conv.__class__ = ConvBlock
    conv.block = block


def count_parameters(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
