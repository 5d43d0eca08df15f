"""Blocks from outside this package: import a user's class by its dotted name, build it, and try it before training."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_exp.errors import one_line
from acmix_exp.nn.fusion import absorb, fuse, has_statistics
from acmix_exp.ops.checks import check_positive

# Odd sizes and sizes below a window occur with images that are not square.
SIZES = ((8, 8), (5, 7), (2, 2))
# Fusing in float32 changes the output by a millionth; a norm that is lost or applied twice, by a tenth or more.
FUSED_TOLERANCE = 1e-3
INDEXED = (
    "call a Sequential of a convolution and its BatchNorm as a whole, or give the class a fuse() that does nothing"
)


def build_custom_block(channels: int, target: str, **options: Any) -> nn.Module:
    """Build ``MODULE.CLASS(channels, **options)``.

    Raises ValueError, in one line, if the class is not found, raises, or does not give a torch.nn.Module.
    """
    check_positive(channels=channels)
    name, _, attribute = target.rpartition(".")
    call = f"{attribute}({', '.join([str(channels), *(f'{key}={value!r}' for key, value in options.items())])})"
    with _one_line(f"importing {name} raised"):
        module = import_module(name)
    if not hasattr(module, attribute):
        raise ValueError(f"{name} has no class {attribute}")
    with _one_line(f"{call} raised"):
        block = getattr(module, attribute)(channels, **options)
    if not isinstance(block, nn.Module):
        raise ValueError(f"{call} is a {type(block).__name__}; must be a torch.nn.Module")
    return block


def try_custom_block(channels: Sequence[int], target: str, options: Mapping[str, Any]) -> None:
    """Build the block at each width of ``channels`` and run it forward and backward, in training and in evaluation.

    ``target`` is MODULE.CLASS, called with the width and ``options``.

    Raises ValueError, in one line, if the block does not keep the shape and dtype of its input, does not pass gradients
    to the input and to all its parameters, cannot be copied and saved, or changes its output when fused for inference.
    """
    try_block(channels, target.rpartition(".")[2], lambda width: build_custom_block(width, target, **options))


def try_block(channels: Sequence[int], name: str, build: Callable[[int], nn.Module]) -> None:
    """As :func:`try_custom_block`, of what ``build`` makes for a width; ``name`` is that of the block in messages."""
    for width in channels:
        for height, length in SIZES:
            block = build(width)
            case = f"{name}({width}) on a map of {height} x {length}"
            with _one_line(f"{case} raised"):
                _run(block, torch.randn(2, width, height, length, requires_grad=True), case)
    with _one_line(f"{name} cannot be copied or saved after a step:"):
        copy.deepcopy(block)
        pickle.dumps(block)
    with _one_line(f"{name}({width}), fused for inference, raised"):
        _compare_fused(block, width, f"{name}({width})")


class _Fault(ValueError):
    """A fault of the block, in one line."""


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Make an exception other than _Fault a ValueError of one line: ``what``, the error, and its file and line."""
    try:
        yield
    except _Fault:
        raise
    except Exception as error:
        # The file and line, unless they are of this module.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        location = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame.filename != __file__ else ""
        raise ValueError(f"{what} {one_line(error)}{location}") from error


def _run(block: nn.Module, x: torch.Tensor, case: str) -> None:
    out = block.train()(x)
    if not isinstance(out, torch.Tensor):
        raise _Fault(f"{case} gives a {type(out).__name__}; must give one tensor")
    if out.shape != x.shape or out.dtype != x.dtype:
        given, wanted = (f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (out, x))
        raise _Fault(f"{case} gives {given}; must keep the shape and dtype, {wanted}")
    if not out.requires_grad:
        raise _Fault(f"{case} gives an output without gradient")
    (out * torch.randn_like(out)).sum().backward()
    if x.grad is None:
        raise _Fault(f"{case} passes no gradient to its input")
    for key, parameter in block.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise _Fault(f"{case} does not use its parameter {key}: it gets no gradient")
    with torch.no_grad():
        out = block.eval()(x[:1])
    if out.shape != x[:1].shape:
        raise _Fault(f"{case} gives {tuple(out.shape)} in evaluation; must keep the shape, {tuple(x[:1].shape)}")


@torch.no_grad()
def _compare_fused(block: nn.Module, channels: int, name: str) -> None:
    """Raise _Fault if :func:`fuse`, which ultralytics' predict, val and export call, changes the output."""
    block = copy.deepcopy(block).eval()
    norm = nn.BatchNorm2d(channels).eval()
    for module in (block, norm):
        _randomise(module)
    x = torch.randn(1, channels, *SIZES[1])
    plain = norm(_seeded(block, x))
    fused = fuse(copy.deepcopy(block))
    together = absorb(fused, norm)
    after = norm(_seeded(fused, x)) if together is None else _seeded(together, x)
    differs = (after - plain).abs().max().item()
    if plain.isfinite().all() and not differs <= FUSED_TOLERANCE * max(1.0, plain.abs().max().item()):
        cure = "correct its fuse()" if callable(getattr(block, "fuse", None)) else INDEXED
        raise _Fault(f"{name} gives another output once fused for inference, by {differs:.2g}; {cure}")


def _randomise(module: nn.Module) -> None:
    """Randomise what has no effect at initialisation: statistics of norms, and parameters of equal values."""
    for norm in filter(has_statistics, module.modules()):
        norm.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    for parameter in module.parameters():
        if parameter.is_floating_point() and parameter.numel() and (parameter == parameter.flatten()[0]).all():
            parameter.uniform_(0.5, 1.5)


def _seeded(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module(x.clone())
