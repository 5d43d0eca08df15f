"""RFAConv, WTConv and PConv: pixel by pixel in float64, and what defines each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from acmix_exp.nn import build_block
from acmix_exp.nn.wtconv import haar_transform, inverse_haar_transform
from tests.nn.literals import Case, both_modes, check_literal, check_norm_behind, every_case, every_shape, normed
from tests.nn.test_fit_for_use import image, make


def rfaconv(block: Any, x: Tensor) -> Tensor:
    """Every tap of every pixel by itself."""
    _, channels, height, width = x.shape
    side = block.spread.kernel_size[0]
    taps, half = side**2, side // 2
    padded = F.pad(x, (half, half, half, half))
    kernel = block.conv.weight.view(channels, channels, taps)
    pixels = [(p, q) for p in range(height) for q in range(width)]
    totals = [x.new_zeros(len(x), channels) for _ in pixels]
    for c in range(channels):
        windows = [padded[:, c, p : p + side, q : q + side].flatten(1) for p, q in pixels]
        own = range(c * taps, (c + 1) * taps)
        features = []
        for t in own:
            spread = [(block.spread.weight[t].flatten() * window).sum(1) for window in windows]
            features.append([value.relu() for value in normed(block.norm, t, spread)])
        for n, window in enumerate(windows):
            attention = torch.stack([block.weigh.weight[t].squeeze() * window.mean(1) for t in own], 1).softmax(1)
            at = torch.stack([values[n] for values in features], 1)
            totals[n] = totals[n] + (attention * at) @ kernel[:, c].T
    return torch.stack(totals, 2).view(x.shape)


def wtconv(block: Any, x: Tensor) -> Tensor:
    """Cell by cell, level by level."""

    def transformed(low: Tensor) -> list[Tensor]:
        rows, columns = -(-low.shape[2] // 2), -(-low.shape[3] // 2)
        full = F.pad(low, (0, 2 * columns - low.shape[3], 0, 2 * rows - low.shape[2]))
        cells = []
        for p in range(rows):
            for q in range(columns):
                a, b, c, d = full[:, :, 2 * p : 2 * p + 2, 2 * q : 2 * q + 2].flatten(2).unbind(2)
                cells.append(torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2)
        return list(torch.stack(cells, 3).unflatten(3, (rows, columns)).unbind(0))

    def restored(bands: list[Tensor], height: int, width: int) -> Tensor:
        ll, lh, hl, hh = bands
        parts = [ll + lh + hl + hh, ll - lh + hl - hh, ll + lh - hl - hh, ll - lh - hl + hh]
        full = [[None] * (2 * ll.shape[3]) for _ in range(2 * ll.shape[2])]
        for p in range(ll.shape[2]):
            for q in range(ll.shape[3]):
                for number, part in enumerate(parts):
                    full[2 * p + number // 2][2 * q + number % 2] = part[:, :, p, q] / 2
        return torch.stack([torch.stack(row[:width], 2) for row in full[:height]], 2)

    def below(index: int, low: Tensor) -> Tensor:
        if index == len(block.levels):
            return torch.zeros_like(low)
        level, bands = block.levels[index], transformed(low)
        convolved = []
        for number, band in enumerate(bands):
            weight, scale = level.conv.weight[number::4], level.scale[number::4].view(-1, 1, 1)
            convolved.append(F.conv2d(band, weight, padding=level.conv.padding, groups=len(weight)) * scale)
        convolved[0] = convolved[0] + below(index + 1, bands[0])
        return restored(convolved, *low.shape[2:])

    return block.of_map.conv(x) * block.of_map.scale.view(-1, 1, 1) + below(0, x)


def pconv(block: Any, x: Tensor) -> Tensor:
    """A dense convolution whose kernels for the other channels are the identity."""
    part, side = block.conv.in_channels, block.conv.kernel_size[0]
    channels = x.shape[1]
    delta = x.new_zeros(channels, channels, side, side)
    delta[range(part, channels), range(part, channels), side // 2, side // 2] = 1
    corner = F.pad(block.conv.weight, (0, 0, 0, 0, 0, channels - part, 0, channels - part))
    return F.conv2d(x, corner + delta, padding=side // 2)


LITERAL: list[Case] = [
    ("rfaconv", {}, rfaconv),
    ("wtconv", {}, wtconv),
    ("wtconv", {"kernel_size": 3, "levels": 1}, wtconv),
    ("pconv", {}, pconv),
    ("pconv", {"n_div": 1, "kernel_size": 5}, pconv),
]


@both_modes
@every_shape
@every_case(LITERAL)
def test_equals_its_definition(name: str, options: Any, literal: Any, shape: Any, training: bool) -> None:
    check_literal(name, options, literal, shape, training)


@pytest.mark.parametrize("size", [(8, 6), (7, 13), (2, 1), (1, 1)], ids=str)
def test_the_transforms_are_inverses(size: tuple[int, int]) -> None:
    x = image(size, 3).double()
    bands = haar_transform(x)
    assert bands.shape == (2, 3, 4, -(-size[0] // 2), -(-size[1] // 2))
    torch.testing.assert_close(inverse_haar_transform(bands, *size), x, rtol=0, atol=1e-14)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())  # orthonormal
    again = haar_transform(inverse_haar_transform(bands, *size))
    torch.testing.assert_close(again, bands, rtol=0, atol=1e-14)


def test_the_low_band_of_a_constant_map_holds_it_all() -> None:
    bands = haar_transform(torch.ones(1, 2, 4, 4))
    assert torch.equal(bands[:, :, 0], torch.full((1, 2, 2, 2), 2.0))
    assert not bands[:, :, 1:].any()


@pytest.mark.parametrize(("levels", "reach"), [(1, 6), (2, 12), (3, 24)])
def test_a_level_doubles_the_reach_of_wtconv(levels: int, reach: int) -> None:
    """A 3x3 kernel sees three cells, which at level i are of 2^i pixels."""
    block = make("wtconv", 1, kernel_size=3, levels=levels)
    x = torch.zeros(1, 1, 64, 64, requires_grad=True)
    block(x)[0, 0, 32, 32].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [reach, reach]


def test_what_passes_pconv_is_not_changed() -> None:
    x = image((5, 6), 16)
    out = build_block("pconv", 16)(x)
    assert torch.equal(out[:, 4:], x[:, 4:])
    assert not torch.isclose(out[:, :4], x[:, :4]).all()
    dense = sum(p.numel() for p in build_block("conv3x3", 16).parameters())
    assert 16 * sum(p.numel() for p in build_block("pconv", 16).parameters()) == dense


@pytest.mark.parametrize(("name", "takes"), [("pconv", False), ("rfaconv", True), ("wtconv", True)])
def test_a_norm_behind_it_is_folded_or_left(name: str, takes: bool) -> None:
    check_norm_behind(name, takes)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pconv", {"n_div": 3}, "n_div must divide the 16 channels, got 3"),
        ("pconv", {"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ("rfaconv", {"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ("wtconv", {"levels": 0}, "levels must be a positive integer, got 0"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block(name, 16, **options)
