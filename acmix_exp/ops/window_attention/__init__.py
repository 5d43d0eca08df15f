"""Window attention with reflected borders: one public function, several backends with the same results.

Read api.py (the operator), reference.py (its specification), geometry.py (taps and position term), then a backend:
shift.py with layout.py, tile.py with tiling.py, triton/. dispatch.py calls shift and tile, recorded.py holds their form
in recorded graphs, packed.py is the form that ACmix calls.
"""

from acmix_exp.ops.window_attention.api import reflected_window_attention

__all__ = ["reflected_window_attention"]
