"""How many heads and groups a block takes where none are asked for, and whether those asked for fit.

Floor 0, without torch: the command line asks before the first job, the block when it is built.
"""

from __future__ import annotations

HEAD_DIM = 32


def count_heads(channels: int, num_heads: int | None) -> int:
    """``num_heads``, or where it is None the divisor of ``channels`` whose heads are nearest to 32 channels, by ratio.

    Of two as near, the one with more heads. Raises ValueError unless ``num_heads`` divides ``channels``.
    """
    if num_heads is None:
        divisors = (n for n in range(channels, 0, -1) if channels % n == 0)
        return min(divisors, key=lambda n: max(channels / n / HEAD_DIM, HEAD_DIM * n / channels))
    if num_heads < 1 or channels % num_heads:
        raise ValueError(f"num_heads must divide the {channels} channels, got {num_heads}")
    return num_heads


def count_groups(heads: int, num_groups: int | None) -> int:
    """``num_groups``, or where it is None the largest divisor of ``heads`` up to half of them.

    Raises ValueError unless ``num_groups`` divides ``heads``.
    """
    if num_groups is None:
        return next(n for n in range(max(1, heads // 2), 0, -1) if heads % n == 0)
    if num_groups < 1 or heads % num_groups:
        raise ValueError(f"num_groups must divide the {heads} heads, got {num_groups}")
    return num_groups
