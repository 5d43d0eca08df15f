"""A block from outside the package: found by its dotted name, built, and tried before anything rests on it."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_exp.ops.window_attention.validation import check_positive

# Odd, and less than a window: where images are not square, maps have any size.
SIZES = ((8, 8), (5, 7), (2, 2))


def build_own_block(channels: int, target: str, **options: Any) -> nn.Module:
    """The block of the class ``MODULE.CLASS``, which takes the channels first and ``options`` by name.

    Raises ValueError, in one line, where it is not found, raises, or is no module of torch.
    """
    check_positive("channels", channels)
    name, _, attribute = target.rpartition(".")
    made = f"{attribute}({', '.join([str(channels), *(f'{key}={value!r}' for key, value in options.items())])})"
    try:
        module = import_module(name)
    except Exception as error:
        raise ValueError(f"importing {name} raised {_reason(error)}") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{name} has no class {attribute}")
    try:
        block = getattr(module, attribute)(channels, **options)
    except Exception as error:
        raise ValueError(f"{made} raised {_reason(error)}") from error
    if not isinstance(block, nn.Module):
        raise ValueError(f"{made} is a {type(block).__name__}; must be a torch.nn.Module")
    return block


def try_own_block(channels: Sequence[int], target: str, options: Mapping[str, Any]) -> None:
    """Build the block at each width and run it forward and backward, in training and in evaluation.

    Raises ValueError, in one line, where it does not keep the shape and dtype of its input, does not pass gradients to
    it and to all its parameters, or can't be copied and saved.
    """
    name = target.rpartition(".")[2]
    for width in channels:
        for height, length in SIZES:
            block = build_own_block(width, target, **options)
            where = f"{name}({width}) on a map of {height} x {length}"
            try:
                _run(block, torch.randn(2, width, height, length, requires_grad=True), where)
            except _Fault as fault:
                raise ValueError(str(fault)) from None
            except Exception as error:
                raise ValueError(f"{where} raised {_reason(error)}") from error
    try:
        copy.deepcopy(block)
        pickle.dumps(block)
    except Exception as error:
        raise ValueError(f"{name} can't be copied or saved after a step: {_reason(error)}") from error


class _Fault(Exception):
    pass


def _run(block: nn.Module, x: torch.Tensor, where: str) -> None:
    out = block.train()(x)
    if not isinstance(out, torch.Tensor):
        raise _Fault(f"{where} gives a {type(out).__name__}; must give one tensor")
    if out.shape != x.shape or out.dtype != x.dtype:
        given, wanted = (f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (out, x))
        raise _Fault(f"{where} gives {given}; must keep the shape and dtype, {wanted}")
    if not out.requires_grad:
        raise _Fault(f"{where} gives an output without gradient")
    (out * torch.randn_like(out)).sum().backward()
    if x.grad is None:
        raise _Fault(f"{where} passes no gradient to its input")
    for key, parameter in block.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise _Fault(f"{where} does not use its parameter {key}: it gets no gradient")
    with torch.no_grad():
        out = block.eval()(x[:1])
    if out.shape != x[:1].shape:
        raise _Fault(f"{where} gives {tuple(out.shape)} in evaluation; must keep the shape, {tuple(x[:1].shape)}")


def _reason(error: BaseException) -> str:
    """The error in one line, with the place in the user's code that it came from."""
    words = " ".join(str(error).split()) or "no further word"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f" ({Path(frame.filename).name}, line {frame.lineno})" if frame.filename != __file__ else ""
    return f"{type(error).__name__}: {words}{place}"
