"""Options that a block uses only where another one says so. Elsewhere they would make rows of one and the same network.

Floor 0: nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class UsedWith:
    """``keys`` are used where ``option`` has one of ``values``."""

    keys: tuple[str, ...]
    option: str
    values: tuple[Any, ...]


IN_BLOCK = UsedWith(("mlp_ratio", "drop_path"), "form", ("block",))

USED_WITH: dict[str, tuple[UsedWith, ...]] = {
    "deformable_attention": (
        UsedWith(("mlp_ratio",), "form", ("block",)),
        UsedWith(("drop_path",), "form", ("residual", "block")),
        UsedWith(("num_groups", "kernel_size", "offset_range", "position", "query_size"), "offsets", (True,)),
        UsedWith(("query_size",), "position", ("table",)),
    ),
    "dlka": (IN_BLOCK,),
    "hat": (
        UsedWith(("depth",), "form", ("group",)),
        UsedWith(("overlap_ratio",), "form", ("group", "overlapping")),
        UsedWith(("compress_ratio", "squeeze_factor"), "form", ("group", "hybrid", "channel")),
        UsedWith(("conv_scale",), "form", ("group", "hybrid")),
        UsedWith(("num_heads", "window_size", "mlp_ratio", "drop_path"), "form", ("group", "hybrid", "overlapping")),
    ),
    "lsk": (IN_BLOCK,),
    "lska": (IN_BLOCK,),
    "sea_attention": (IN_BLOCK,),
}


def idle_faults(name: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """A line for each of all ``options`` of the block that is not at its default and not used."""
    lines: dict[str, str] = {}
    for used in USED_WITH.get(name, ()):
        if options[used.option] in used.values:
            continue
        right = " or ".join(f"block.{used.option}={_shown(value)}" for value in used.values)
        for key in used.keys:
            if options[key] != defaults[key]:
                lines.setdefault(
                    key,
                    f"block.{key}={_shown(options[key])}: must be left out, or go with {right}; "
                    f"with block.{used.option}={_shown(options[used.option])} it does nothing",
                )
    return list(lines.values())


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
