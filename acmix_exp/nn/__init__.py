"""ACmix and the other blocks: modules that map (B, C, H, W) to the same shape, built by name with ``build_block``.

Read ``registry`` (names and options), then ``acmix`` with ``acmix_weights``; each other block is one file (HAT is two:
``hat``, ``hat_attention``). They share ``layers``, ``van`` and ``fusion``. ``custom`` builds and tries users' classes.
"""

from acmix_exp.nn.acmix import ACmix
from acmix_exp.nn.controls import Conv3x3, Conv3x3Matched, Identity
from acmix_exp.nn.registry import block_names, build_block, build_slot_block, register

__all__ = [
    "ACmix",
    "Conv3x3",
    "Conv3x3Matched",
    "Identity",
    "block_names",
    "build_block",
    "build_slot_block",
    "register",
]
