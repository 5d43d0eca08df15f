"""Load pretrained weights into a network, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import BaseModel

from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.model import BlockModel

Audit = dict[str, list[str]]


def scratch_audit(model: BaseModel) -> Audit:
    """The audit of a network that no weights were loaded into."""
    return {"transferred": [], "rebuilt": [], "new": _new(model)}


def load_pretrained(model: BaseModel, path: Path) -> Audit:
    """Copy a checkpoint's tensors into ``model`` by name, as ultralytics does, and say what became of every tensor.

    transferred: has the checkpoint's values. rebuilt: a stock tensor that kept its own, such as the class head of
    another number of classes. new: belongs to an inserted block, and keeps its own values even if the checkpoint has a
    block there too, so that every arm gets the same tensors. converted and unused, if there are any: of blocks that
    start as the convolution in whose place they stand, and tensors of the checkpoint that nothing came of. Set
    ``model.names`` first: class heads are matched by class name.

    Raises ValueError as :func:`require_fit` does.
    """
    source, _ = checkpoints.load(path)
    require_fit(model, source, path)
    given = {key: value.float() for key, value in source.state_dict().items()}
    new = set(_new(model))
    before = model.state_dict()
    blocks = {key: before[key].clone() for key in new}
    model.load(source, verbose=False)
    model.load_state_dict(blocks, strict=False)
    converted = convert(model, given)
    loaded = model.state_dict()  # again, because the class head may have been rebuilt
    audit: Audit = {"transferred": [], "rebuilt": [], "new": []}
    for key, value in loaded.items():
        fits = key in given and torch.equal(given[key], value.float())
        if key not in converted:
            audit["new" if key in new else "transferred" if fits else "rebuilt"].append(key)
    unused = [key for key in given if (key not in loaded or key in new) and key not in converted.values()]
    rest = {"converted": list(converted), "unused": unused}
    return audit | {kind: names for kind, names in rest.items() if names}


def convert(model: nn.Module, given: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Have blocks in place of a convolution start as that of the tensors ``given``, where they can.

    Without it a network would lose pretrained weights where others keep them. Returns which tensors came of which.
    """
    found: dict[str, str] = {}
    for name, holder in model.named_modules():
        source, start_as = f"{name}.conv.weight", getattr(getattr(holder, "block", None), "start_as", None)
        if start_as and source in given and start_as(given[source]):
            found |= {f"{name}.block.{key}": source for key, _ in holder.block.named_parameters()}
    return found


def require_fit(model: BaseModel, source: nn.Module, path: Path) -> None:
    """Raise ValueError if fewer than half of the stock tensors fit, as those of another scale. Compares shapes only."""
    given = {key: value.shape for key, value in source.state_dict().items()}
    new = set(_new(model))
    stock = {key: value.shape for key, value in model.state_dict().items() if key not in new and value.ndim}
    fitting = [key for key, shape in stock.items() if given.get(key) == shape]
    if 2 * len(fitting) < len(stock):
        raise ValueError(
            f"model.pretrained={path}: only {len(fitting)} of {len(stock)} tensors fit; "
            "must be weights of the same model.scale"
        )


def summary(audit: Audit, source: Path | str | None) -> str:
    """The audit in one line."""
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in audit.items())
    return (
        f"weights: {counts} (from {Path(source).name})" if source else f"weights: from scratch, {len(audit['new'])} new"
    )


def _new(model: BaseModel) -> list[str]:
    return sorted(model.new_keys()) if isinstance(model, BlockModel) else []


def compare_weights(first: Path, second: Path) -> dict[str, Any]:
    """``tensors`` in all, how many are ``different`` in a bit, and the ``largest`` gap (None: other shapes)."""
    a, b = (checkpoints.load(path)[0].state_dict() for path in (first, second))
    different = [key for key in a.keys() | b.keys() if key not in a or key not in b or not _same(a[key], b[key])]
    comparable = all(key in a and key in b and a[key].shape == b[key].shape for key in different)
    gaps = [float((a[key].double() - b[key].double()).abs().max()) for key in different] if comparable else []
    return {
        "tensors": len(a.keys() | b.keys()),
        "different": len(different),
        "largest": max(gaps, default=0.0) if comparable else None,
    }


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (a, b)))
