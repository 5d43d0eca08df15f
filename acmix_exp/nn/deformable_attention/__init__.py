"""Deformable attention (DAT): the unit, and the forms that stand in a network."""

from acmix_exp.nn.deformable_attention.block import DeformableBlock, DeformableResidual, deformable_attention
from acmix_exp.nn.deformable_attention.unit import DeformableAttention

__all__ = ["DeformableAttention", "DeformableBlock", "DeformableResidual", "deformable_attention"]
