"""SimAM, coordinate attention, GAM, triplet attention and MLCA: number by number in float64, and what defines each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from acmix_exp.nn import build_block
from benchmarks.straightforward import straightforward
from tests.nn.literals import (
    Case,
    Numbers,
    as_map,
    both_modes,
    check_literal,
    check_norm_behind,
    convolved,
    every_case,
    every_shape,
    normed,
    normed_maps,
    numbers,
)
from tests.nn.test_fit_for_use import image, make


def simam(block: Any, x: Tensor) -> Tensor:
    """Each pixel by its distance from the mean of its channel."""
    maps = numbers(x)
    for rows in maps:
        pixels = [value for row in rows for value in row]
        mean = sum(pixels) / len(pixels)
        variance = sum((value - mean) ** 2 for value in pixels) / max(len(pixels) - 1, 1)
        for row in rows:
            for q, value in enumerate(row):
                inverse_energy = (value - mean) ** 2 / (4 * (variance + block.e_lambda)) + 0.5
                row[q] = value / (1 + torch.exp(-inverse_energy))
    return as_map(maps)


def coordinate_attention(block: Any, x: Tensor) -> Tensor:
    """Each pixel by the gate of its row and that of its column; both kinds of means share a convolution and a norm."""
    maps = numbers(x)
    channels, height, width = len(maps), len(maps[0]), len(maps[0][0])
    means = []  # of the rows, then of the columns, each a list over the channels
    for p in range(height):
        means.append([sum(maps[c][p]) / width for c in range(channels)])
    for q in range(width):
        means.append([sum(maps[c][p][q] for p in range(height)) / height for c in range(channels)])

    def linear(conv: Any, o: int, given: list[Tensor]) -> Tensor:
        return sum((conv.weight[o, c, 0, 0] * value for c, value in enumerate(given)), conv.bias[o])

    hidden = []  # a list over the hidden channels of lists over the means
    for h in range(block.conv1.out_channels):
        values = normed(block.bn1, h, [linear(block.conv1, h, mean) for mean in means])
        hidden.append([value * torch.clamp(value + 3, 0, 6) / 6 for value in values])
    at = [[values[n] for values in hidden] for n in range(height + width)]
    for c in range(channels):
        gates_h = [linear(block.conv_h, c, at[p]).sigmoid() for p in range(height)]
        gates_w = [linear(block.conv_w, c, at[height + q]).sigmoid() for q in range(width)]
        for p in range(height):
            maps[c][p] = [value * gates_h[p] * gates_w[q] for q, value in enumerate(maps[c][p])]
    return as_map(maps)


def gam(block: Any, x: Tensor) -> Tensor:
    """Each pixel by an MLP over its channels, then by two convolutions over the map."""
    first, _, second = block.mlp
    maps = gated(numbers(x), convolved(second, positive(convolved(first, numbers(x)))))
    inner = positive(normed_maps(block.norm1, convolved(block.narrow, maps)))
    return as_map(gated(maps, normed_maps(block.norm2, convolved(block.widen, inner))))


def positive(maps: Numbers) -> Numbers:
    return [[[torch.relu(value) for value in row] for row in rows] for rows in maps]


def gated(maps: Numbers, logits: Numbers) -> Numbers:
    pairs = zip(maps, logits, strict=True)
    return [
        [[x * y.sigmoid() for x, y in zip(a, b, strict=True)] for a, b in zip(rows, gates, strict=True)]
        for rows, gates in pairs
    ]


def triplet_attention(block: Any, x: Tensor) -> Tensor:
    """Each number by three gates: of its channel and column, of its row and channel, of its row and column."""
    maps = numbers(x)
    channels, height, width = range(len(maps)), range(len(maps[0])), range(len(maps[0][0]))

    def gate(part: Any, first: range, second: range, third: range, value: Any) -> list[list[Tensor]]:
        """Over the axes ``first`` and ``second``; ``value(i, j, k)`` is a number of the map."""
        line = {(i, j): [value(i, j, k) for k in third] for i in first for j in second}
        highest = [[torch.stack(line[i, j]).max(0).values for j in second] for i in first]
        mean = [[sum(line[i, j]) / len(third) for j in second] for i in first]
        (logits,) = normed_maps(part.bn, convolved(part.conv, [highest, mean]))
        return [[each.sigmoid() for each in row] for row in logits]

    over_rows = gate(block.over_rows, channels, width, height, lambda c, q, p: maps[c][p][q])
    over_columns = gate(block.over_columns, height, channels, width, lambda p, c, q: maps[c][p][q])
    over_channels = gate(block.over_channels, height, width, channels, lambda p, q, c: maps[c][p][q])

    def at(c: int, p: int, q: int) -> Tensor:
        return maps[c][p][q] * (over_rows[c][q] + over_columns[p][c] + over_channels[p][q]) / 3

    return as_map([[[at(c, p, q) for q in width] for p in height] for c in channels])


def mlca(block: Any, x: Tensor) -> Tensor:
    """Every area by itself, then every pixel by the areas that hold it."""
    _, channels, height, width = x.shape
    side, reach = block.local_size, block.of_areas.weight.numel() // 2

    def bounds(area: int, length: int) -> range:
        return range(area * length // side, -(-(area + 1) * length // side))

    def along_channels(values: list[Tensor], weight: Tensor) -> Tensor:
        taps = weight.flatten()
        sums = []
        for c in range(channels):
            near = [c + offset for offset in range(-reach, reach + 1)]
            sums.append(sum(taps[i] * values[n] for i, n in enumerate(near) if 0 <= n < channels))
        return torch.stack(sums, 1).sigmoid()

    areas = {}
    for i in range(side):
        for j in range(side):
            rows, columns = bounds(i, height), bounds(j, width)
            pixels = [x[:, :, p, q] for p in rows for q in columns]
            areas[i, j] = sum(pixels) / len(pixels)
    mean = sum(areas.values()) / len(areas)
    whole = along_channels(list(mean.unbind(1)), block.of_map.weight)
    gates = {}
    for key, value in areas.items():
        local = along_channels(list(value.unbind(1)), block.of_areas.weight)
        gates[key] = block.local_weight * local + (1 - block.local_weight) * whole
    out = []
    for p in range(height):
        for q in range(width):
            own = [gates[i, j] for i, j in gates if p in bounds(i, height) and q in bounds(j, width)]
            out.append(x[:, :, p, q] * sum(own) / len(own))
    return torch.stack(out, 2).view(x.shape)


LITERAL: list[Case] = [
    ("simam", {}, simam),
    ("simam", {"e_lambda": 0.3}, simam),
    ("coordinate_attention", {}, coordinate_attention),
    ("gam", {}, gam),
    ("gam", {"reduction": 2, "kernel_size": 3}, gam),
    ("triplet_attention", {}, triplet_attention),
    ("triplet_attention", {"kernel_size": 3}, triplet_attention),
    ("mlca", {}, mlca),
    ("mlca", {"local_size": 3, "kernel_size": 3, "local_weight": 0.2}, mlca),
]


@both_modes
@every_shape
@every_case(LITERAL)
def test_equals_its_definition(name: str, options: Any, literal: Any, shape: Any, training: bool) -> None:
    check_literal(name, options, literal, shape, training)


@pytest.mark.parametrize("name", ["simam", "coordinate_attention", "gam", "triplet_attention", "mlca"])
def test_its_norms_are_folded_and_one_behind_it_is_left(name: str) -> None:
    check_norm_behind(name, takes=False)


def test_simam_lets_pixels_pass_by_their_rarity() -> None:
    flat = torch.full((1, 2, 3, 4), 5.0)
    torch.testing.assert_close(make("simam", 2)(flat), flat * torch.tensor(0.5).sigmoid())
    x = torch.ones(1, 1, 4, 4)
    x[0, 0, 1, 2] = 9.0
    gate = (make("simam", 1)(x) / x)[0, 0]
    assert gate.argmax() == 6
    assert gate.min() >= torch.tensor(0.5).sigmoid()


def test_a_gate_of_coordinate_attention_is_a_product_of_rows_and_columns() -> None:
    x = image((5, 7))
    gate = (make("coordinate_attention").eval()(x) / x).double()[0, 0]
    torch.testing.assert_close(gate * gate[0, 0], gate[:, :1] * gate[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(16, 32, 8), (512, 32, 16), (64, 4, 16), (70, 4, 17)])
def test_coordinate_attention_narrows_to_8_channels_or_more(channels: int, reduction: int, hidden: int) -> None:
    assert build_block("coordinate_attention", channels, reduction=reduction).conv1.out_channels == hidden


def test_a_gate_of_triplet_attention_is_a_sum_over_pairs_of_axes() -> None:
    """The mixed difference of such a sum along all three axes is 0."""
    x = image((5, 7), 6).double()
    gate = make("triplet_attention", 6).double().eval()(x) / x
    assert gate.diff(dim=1).diff(dim=2).diff(dim=3).abs().max() < 1e-12
    assert gate.diff(dim=1).diff(dim=2).abs().max() > 1e-3


def test_gam_gates_a_pixel_by_its_own_channels_first() -> None:
    block, x = make("gam").eval(), image((5, 6))
    for parameter in (*block.widen.parameters(), *block.norm2.parameters()):
        torch.nn.init.zeros_(parameter)
    other = x.clone()
    other[:, :, 0, 0] += 1
    changed = (block(other) != block(x)).any(1)
    assert changed[:, 0, 0].all()
    assert changed.sum() == len(x)
    assert [build_block("gam", 4, reduction=reduction).narrow.out_channels for reduction in (2, 4, 16)] == [2, 1, 1]


def test_the_kernel_of_mlca_is_that_of_eca() -> None:
    sides = [build_block("mlca", channels).of_areas.weight.numel() for channels in (1, 8, 64, 127, 128, 512, 2048)]
    assert sides == [1, 3, 3, 3, 5, 5, 7]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("simam", {"e_lambda": 0}, "e_lambda must be a number above 0, got 0"),
        ("coordinate_attention", {"reduction": 0}, "reduction must be a positive integer, got 0"),
        ("gam", {"reduction": 0.5}, r"reduction must be a positive integer, got 0\.5"),
        ("gam", {"kernel_size": 4}, "kernel_size must be odd, got 4"),
        ("triplet_attention", {"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ("mlca", {"local_weight": 1.0}, r"local_weight must be from 0, below 1, got 1\.0"),
        ("mlca", {"kernel_size": 2}, "kernel_size must be odd, got 2"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block(name, 16, **options)


@pytest.mark.parametrize("size", [(10, 15), (5, 5), (10, 12)])
def test_mlca_with_and_without_gradients(size: tuple[int, int]) -> None:
    """Areas that share no pixel, and areas that do, by the ways that each takes."""
    block = build_block("mlca", 8).double().eval()
    plain, x = straightforward(block), torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = x.detach().to(memory_format=memory_format).requires_grad_()
        results = [(out := form(given), *torch.autograd.grad(out.square().sum(), given)) for form in (block, plain)]
        for actual, expected in zip(*results, strict=True):
            torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
        with torch.inference_mode():
            torch.testing.assert_close(block(given), results[1][0].detach(), rtol=1e-12, atol=1e-12)
