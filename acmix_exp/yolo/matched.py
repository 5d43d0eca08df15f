"""The control that is as large as another block at each site: a 3x3 convolution to h channels and a 1x1 back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from acmix_exp.config import MATCHED, Config, block_label
from acmix_exp.nn import build_block
from acmix_exp.nn.controls import matched_hidden, size_of
from acmix_exp.yolo.sites import Site

IMGSZ = 640  # pixels of the image whose FLOPs are counted, as in the table


def matched_block(config: Config, sites: Sequence[Site]) -> dict[str, Any]:
    """What a checkpoint keeps of the control for ``config.block``, counted as ``arm.match`` says.

    like: the label of that block. hidden: h by site. size: parameters or FLOPs of that block over all sites.

    Raises ValueError if that block has none at a site.
    """
    match, options = str(config.arm.match), dict(config.block)
    name, hidden, total = options.pop("name"), {}, 0
    for site in sites:
        side = IMGSZ // site.stride
        with torch.random.fork_rng(devices=[]):
            size = size_of(build_block(name, site.channels, **options), match, site.channels, side, side)
        if not size:
            raise ValueError(f"{block_label(config.block)} has no {match} to match at {site.name}")
        hidden[site.name] = matched_hidden(size, match, site.channels, side, side)
        total += len(site.block_names) * size
    return {"name": MATCHED, "match": match, "like": block_label(config.block), "hidden": hidden, "size": total}
