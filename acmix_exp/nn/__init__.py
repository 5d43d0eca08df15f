"""Blocks: modules that keep the size of their input, known by name to ``build_block``."""

from acmix_exp.nn.acmix import ACmix
from acmix_exp.nn.registry import block_names, build_block, register

register("acmix", ACmix)

__all__ = ["ACmix", "block_names", "build_block", "register"]
