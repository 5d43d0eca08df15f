"""The control that is as large as another block at each site: a 3x3 convolution to h channels and a 1x1 back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.config import MATCHED, Config, block_label
from acmix_exp.insertions import Insertion
from acmix_exp.nn import build_block, build_slot_block
from acmix_exp.nn.controls import matched_hidden, size_of, size_of_one
from acmix_exp.nn.stand_in import operations, parameters
from acmix_exp.slot_rules import SLOTS
from acmix_exp.yolo import families
from acmix_exp.yolo.sites import Site

IMGSZ = 640  # pixels of the image whose FLOPs are counted, as in the table


def matched_block(config: Config, inserted: Insertion, sites: Sequence[Site]) -> dict[str, Any]:
    """What a checkpoint keeps of the control for a block at its sites, counted as ``arm.match`` says.

    like: the label of that block, or ``attention``: that in whose place the control stands. hidden: h by site. size:
    parameters or FLOPs of that block over all sites.

    Raises ValueError if that block has none at a site.
    """
    match, hidden, total = str(config.arm.match), {}, 0
    like = "attention" if inserted.block["name"] == MATCHED else block_label(inserted.block)
    with torch.random.fork_rng(devices=[]):
        stock = DetectionModel(families.yaml_of(config.model), nc=1, verbose=False) if like == "attention" else None
    for site in sites:
        side = IMGSZ // site.stride
        if inserted.placement.mode in SLOTS:
            size = _added_size(inserted.block, match, site, side, inserted.placement.mode)
        elif stock is None:
            size = _size(inserted.block, match, site, side)
        else:
            size = _attention_size(stock, match, site, side, norm=inserted.placement.norm)
        if size <= 0:
            raise ValueError(f"{like} has no {match} to match at {site.name}")
        if inserted.placement.mode in SLOTS and 2 * size < size_of_one(match, site.channels, side, side):
            raise ValueError(f"{like} adds fewer {match} than the smallest such control has, at {site.name}")
        hidden[site.name] = matched_hidden(size, match, site.channels, side, side)
        total += len(site.block_names) * size
    return {"name": MATCHED, "match": match, "like": like, "hidden": hidden, "size": total}


def _size(given: dict[str, Any], match: str, site: Site, side: int) -> int:
    options = {key: value for key, value in given.items() if key != "name"}
    with torch.random.fork_rng(devices=[]):
        block = build_block(given["name"], site.channels, **options)
    return size_of(block, match, site.channels, side, side)


def _added_size(given: dict[str, Any], match: str, site: Site, side: int, slot: str) -> int:
    """What a block of a slot has more than the stock operation, a 3x3 convolution or one without parameters."""
    options = {key: value for key, value in given.items() if key != "name"}
    with torch.random.fork_rng(devices=[]):
        block = build_slot_block(given["name"], site.inputs, site.channels, **options)
    stock = 9 * site.inputs[0] * site.channels if slot == "down" else 0
    if match == "parameters":
        return parameters(block) - stock
    read = {"down": 2 * side, "up": side // 2}.get(slot, side)
    return operations(block, site.inputs[0], read, read) - 2 * stock * side**2


def _attention_size(stock: DetectionModel, match: str, site: Site, side: int, *, norm: bool) -> int:
    """Of one attention at a site, less what the norm has that joins the control in its place."""
    attention = stock.model[site.index].get_submodule(site.paths[0])
    if match == "parameters":
        return parameters(attention) - 2 * site.channels * norm
    if isinstance(attention, nn.MultiheadAttention):  # four projections, and two products over all pairs of pixels
        return 8 * site.channels**2 * side**2 + 4 * site.channels * side**4
    return size_of(attention, match, site.channels, side, side)
