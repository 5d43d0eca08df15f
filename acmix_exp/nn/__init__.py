"""Blocks: modules that keep the size of their input, known by name to ``build_block``."""

from acmix_exp.nn.acmix import ACmix
from acmix_exp.nn.conv3x3 import Conv3x3
from acmix_exp.nn.deformable_attention import deformable_attention
from acmix_exp.nn.dlka import dlka
from acmix_exp.nn.ema import ema
from acmix_exp.nn.hat import hat
from acmix_exp.nn.identity import Identity
from acmix_exp.nn.lsk import lsk
from acmix_exp.nn.lska import lska
from acmix_exp.nn.polarized_self_attention import polarized_parallel, polarized_sequential
from acmix_exp.nn.registry import block_names, build_block, register
from acmix_exp.nn.sea_attention import sea_attention


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
register("deformable_attention", deformable_attention)
register("dlka", dlka)
register("ema", ema)
register("hat", hat)
register("lsk", lsk)
register("lska", lska)
register("polarized_parallel", polarized_parallel)
register("polarized_sequential", polarized_sequential)
register("sea_attention", sea_attention)
register("conv3x3", Conv3x3)
register("identity", Identity)

__all__ = ["ACmix", "Conv3x3", "Identity", "block_names", "build_block", "register"]
