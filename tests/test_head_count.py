"""Heads and groups for every width of YOLOv8."""

from __future__ import annotations

import pytest

from acmix_exp.block_rules import count_groups, count_heads


def test_heads_are_about_32_channels_wide() -> None:
    expected = {
        16: 1,
        24: 1,
        32: 1,
        48: 2,
        64: 2,
        80: 2,
        96: 3,
        128: 4,
        144: 4,
        160: 5,
        192: 6,
        256: 8,
        288: 9,
        640: 20,
    }
    assert {channels: count_heads(channels, None) for channels in expected} == expected


def test_groups_are_half_the_heads_or_fewer() -> None:
    assert {heads: count_groups(heads, None) for heads in (1, 2, 5, 6, 9, 20)} == {1: 1, 2: 1, 5: 1, 6: 3, 9: 3, 20: 10}


def test_what_is_asked_for() -> None:
    assert (count_heads(12, 6), count_groups(6, 6)) == (6, 6)
    with pytest.raises(ValueError, match=r"^num_heads must divide the 12 channels, got 5$"):
        count_heads(12, 5)
    with pytest.raises(ValueError, match=r"^num_groups must divide the 6 heads, got 4$"):
        count_groups(6, 4)
