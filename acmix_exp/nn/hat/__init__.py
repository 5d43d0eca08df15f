"""Hybrid attention (HAT): channel attention, shifted windows and overlapping windows, and the group they form."""

from acmix_exp.nn.hat.channel import CAB
from acmix_exp.nn.hat.group import RHAG, hat
from acmix_exp.nn.hat.hybrid import HAB
from acmix_exp.nn.hat.overlapping import OCAB

__all__ = ["CAB", "HAB", "OCAB", "RHAG", "hat"]
