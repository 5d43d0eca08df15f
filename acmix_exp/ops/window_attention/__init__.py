"""Window attention with reflected borders: one public function, several backends of the same meaning."""

from acmix_exp.ops.window_attention.api import reflected_window_attention

__all__ = ["reflected_window_attention"]
