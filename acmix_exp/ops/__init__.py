"""Operators: pure functions of tensors, each beside a slow reference that it is tested against.

Read window_attention/ (the reflected window attention), then shift_convolution.py (ACmix's convolution branch) and
deformable_convolution.py. checks.py holds what operators and blocks check alike. Imports nothing above torch.
"""

from acmix_exp.ops.shift_convolution import shift_convolution
from acmix_exp.ops.window_attention import reflected_window_attention

__all__ = ["reflected_window_attention", "shift_convolution"]
