"""The attention layers of timm as blocks. timm is an extra: ``pip install 'acmix_exp[timm]'``."""

from __future__ import annotations

from typing import Any

from torch import nn

from acmix_exp.block_rules import TIMM_LAYERS
from acmix_exp.ops.checks import check_choice

# With the default of timm 1.0.31, true, the layer cannot be built.
DEFAULTS = {"ge": {"use_mlp": False}}


def timm_layer(channels: int, layer: str, **options: Any) -> nn.Module:
    """timm's attention layer of that name: (B, C, H, W) -> (B, C, H, W), unless an option such as ``stride`` says else.

    ``options`` go to timm as they are. Raises ImportError without timm, ValueError for a name that is not one of
    TIMM_LAYERS, and what timm raises for wrong options.

    Source: timm.layers.create_attn, Apache-2.0; docs/blocks.md names the papers.
    """
    check_choice("layer", layer, TIMM_LAYERS)
    from timm.layers import create_attn

    made: nn.Module = create_attn(layer, channels, **{**DEFAULTS.get(layer, {}), **options})
    return made
