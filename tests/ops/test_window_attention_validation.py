"""Bad input is refused in one line that shows the offending value."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from acmix_exp.ops.window_attention import reflected_window_attention

MAP = torch.zeros(2, 6, 4, 5)
GOOD: dict[str, Any] = {"query": MAP, "key": MAP, "value": MAP, "kernel_size": 3, "heads": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ({"kernel_size": 0}, "kernel_size must be a positive integer, got 0"),
        ({"kernel_size": 3.0}, "kernel_size must be a positive integer, got 3.0"),
        ({"heads": 4}, "heads must divide the 6 channels, got 4"),
        ({"heads": 0}, "heads must be a positive integer, got 0"),
        ({"stride": 0}, "stride must be a positive integer, got 0"),
        ({"dilation": -1}, "dilation must be a positive integer, got -1"),
        ({"backend": "triton9"}, "backend must be one of auto, reference, shift, tile, triton, got 'triton9'"),
        ({"key": MAP[:1]}, "key must have the query's shape (2, 6, 4, 5), got (1, 6, 4, 5)"),
        ({"value": MAP.double()}, "value must be torch.float32 on cpu like the query, got torch.float64 on cpu"),
        ({"key": MAP.to("meta")}, "key must be torch.float32 on cpu like the query, got torch.float32 on meta"),
        ({"query": MAP[0]}, "query must be (B, C, H, W)"),
        ({"query": MAP[..., :0], "key": MAP[..., :0], "value": MAP[..., :0]}, "got (2, 6, 4, 0)"),
        ({name: MAP.long() for name in ("query", "key", "value")}, "query must be floating point, got torch.int64"),
        ({name: MAP.unflatten(1, (3, 2)) for name in ("query", "key", "value")}, "has 3 heads, got heads=2"),
        ({"position_weight": torch.zeros(4, 2, 1, 1)}, "position_weight must be (3, 2, 1, 1), got (4, 2, 1, 1)"),
        (
            {"position_weight": torch.zeros(3, 2).long()},
            "position_weight must be floating point on cpu, got torch.int64",
        ),
    ],
)
def test_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        reflected_window_attention(**{**GOOD, **change})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_good_call_is_accepted() -> None:
    assert reflected_window_attention(**GOOD).shape == MAP.shape
