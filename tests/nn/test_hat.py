"""HAT: windows, masks, sizes and refusals. The rest: tests/test_golden.py, tests/nn/test_fit_for_use.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.block_rules import channel_faults, option_faults
from acmix_exp.nn import build_block
from acmix_exp.nn.hat import CAB, HAB, OCAB
from acmix_exp.nn.hat_attention import overlapping_index, shift_mask, window_index
from acmix_exp.nn.layers import biased_attention
from tests import golden_adapter
from tests.ops.tolerances import assert_close, with_gradients

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())


def arrays(name: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / MANIFEST[name]["file"]))


@pytest.mark.parametrize(
    ("name", "buffer", "index"),
    [
        ("hat_hab_c24_h4_w4_s2_8x12", "rpi_sa", window_index(4)),
        ("hat_ocab_c24_h4_w4_o05_8x12", "rpi_oca", overlapping_index(4, 6)),
    ],
)
def test_relative_positions_are_the_published_ones(name: str, buffer: str, index: torch.Tensor) -> None:
    np.testing.assert_array_equal(index, arrays(name)[f"buffer/{buffer}"] % (int(index.max()) + 1))


def test_overlapping_windows_index_key_minus_query_without_an_overlap_too() -> None:
    window = 4
    for query in range(window**2):
        for key in range(window**2):
            down, across = key // window - query // window + 1, key % window - query % window + 1
            row = down * (2 * window - 1) + across
            assert overlapping_index(window, window)[query, key] == row % (2 * window - 1) ** 2


@pytest.mark.parametrize("window", [4, 8, 16])
def test_every_row_of_the_table_of_overlapping_windows_has_one_displacement(window: int) -> None:
    reach = window * 3 // 2
    index = overlapping_index(window, reach)
    assert len(index.unique()) == (window + reach - 1) ** 2


def test_the_mask_is_the_published_one() -> None:
    published = arrays("hat_hab_c24_h4_w4_s2_8x12")["buffer/attn_mask"]
    np.testing.assert_array_equal(shift_mask(8, 12, 4, 2, torch.zeros(())).numpy(), published)


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("hat_")])
def test_operations_are_those_counted_with_the_golden_data(name: str) -> None:
    entry = MANIFEST[name]
    module, _ = golden_adapter.build(entry, arrays(name))
    batch, _, height, width = entry["input_shape"]
    assert batch * module.flops(height, width) == 2 * entry["macs_conv_matmul"]  # type: ignore[operator]


@pytest.mark.parametrize(
    ("form", "channels", "parameters"),
    [("hybrid", 64, 60645), ("hybrid", 128, 233402), ("overlapping", 64, 36360), ("overlapping", 256, 529992)],
)
def test_parameters(form: str, channels: int, parameters: int) -> None:
    squeeze = {64: 8, 128: 16, 256: 30}[channels]
    block = build_block("hat", channels, form=form, num_heads=8, squeeze_factor=squeeze)
    assert sum(parameter.numel() for parameter in block.parameters()) == parameters


def test_shifted_windows_cross_the_borders_of_plain_ones_but_not_of_the_map() -> None:
    torch.manual_seed(0)
    block = HAB(4, 1, window_size=4, shift=2, conv_scale=0.0).double()
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    block(x)[0, :, 3, 3].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum((0, 1)) > 1e-9
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert torch.equal(seen, expected)
    x.grad = None
    block(x)[0, :, 0, 0].sum().backward()
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:2, :2] = True
    assert torch.equal(x.grad.abs().sum((0, 1)) > 1e-9, expected)


def test_overlapping_windows_see_the_margin_around_them() -> None:
    torch.manual_seed(0)
    block = OCAB(4, 1, window_size=4, overlap_ratio=0.5).double()
    x = torch.randn(1, 4, 12, 12, dtype=torch.float64, requires_grad=True)
    block(x)[0, :, 5, 6].sum().backward()
    assert x.grad is not None
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[3:9, 3:9] = True
    assert torch.equal(x.grad.abs().sum((0, 1)) > 1e-9, expected)


@pytest.mark.parametrize("biased", [True, False])
def test_biased_attention_equals_scaled_dot_product_attention(biased: bool) -> None:
    query, key, value = (torch.randn(2, 3, length, 4, dtype=torch.float64) for length in (5, 6, 6))
    bias = torch.randn(1, 3, 5, 6, dtype=torch.float64) if biased else None
    gradients = with_gradients(biased_attention, [query, key, value, bias])
    with torch.no_grad():
        assert_close("out", biased_attention(query, key, value, bias), gradients[0], 1e-12)
    expected = with_gradients(torch.nn.functional.scaled_dot_product_attention, [query, key, value, bias])
    for name, ours, theirs in zip(("out", "query", "key", "value", "bias"), gradients, expected, strict=False):
        assert_close(name, ours, theirs, 1e-12)


def test_the_default_squeeze_factor_fits_few_channels() -> None:
    assert [CAB(channels).squeezed for channels in (3, 16, 64, 180, 640)] == [3, 4, 4, 6, 21]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide the 16 channels, got 3"),
        ({"window_size": 10}, "overlap_ratio must add an even number of pixels to window_size 10, got 0.5"),
        ({"compress_ratio": 17}, "compress_ratio must leave at least one of the 16 channels, got 17"),
        ({"squeeze_factor": 30}, "squeeze_factor must leave at least one of the 16 channels, got 30"),
        ({"mlp_ratio": 0.01}, "mlp_ratio must give 16 channels at least one hidden channel, got 0.01"),
        ({"depth": 0}, "depth must be a positive integer, got 0"),
        ({"drop_path": 1.0}, "drop_path must be from 0, below 1, got 1.0"),
        ({"form": "block"}, "form must be one of group, hybrid, overlapping, channel, got 'block'"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block("hat", 16, **options)


def test_the_command_line_refuses_the_same() -> None:
    assert option_faults("hat", {"window_size": 10}) == [
        "block.overlap_ratio=0.5: must add an even number of pixels, window_size x overlap_ratio, to the window"
    ]
    (line,) = channel_faults("hat", {"squeeze_factor": 30}, {"backbone_p2": 16}, "n")
    assert line == "block.squeeze_factor=30: must be at most the channels of a site; at scale n backbone_p2 has 16"
    assert channel_faults("hat", {}, {"backbone_p2": 16}, "n") == []
