"""Blocks: modules that keep the size of their input, known by name to ``build_block``."""

from acmix_exp.nn.acmix import ACmix
from acmix_exp.nn.registry import block_names, build_block, register


def _acmix(
    channels: int,
    kernel_att: int = 7,
    head: int = 4,
    kernel_conv: int = 3,
    path: str = "mixed",
    backend: str = "auto",
) -> ACmix:
    return ACmix(channels, channels, kernel_att, head, kernel_conv, path=path, backend=backend)


register("acmix", _acmix)

__all__ = ["ACmix", "block_names", "build_block", "register"]
