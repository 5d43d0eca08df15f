"""Operators: pure functions of tensors."""

from acmix_exp.ops.shift_convolution import shift_convolution
from acmix_exp.ops.window_attention import reflected_window_attention

__all__ = ["reflected_window_attention", "shift_convolution"]
