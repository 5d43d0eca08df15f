"""The analytic cost against loops that compute ACmix and count their multiply-adds and accesses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acmix_exp.nn import ACmix
from acmix_exp.nn.complexity import Stage, acmix_stages
from tests.ops.loop_reference import reflected


class Ledger:
    """Counts multiply-adds, and the elements of named arrays that are touched."""

    def __init__(self) -> None:
        self.macs = 0
        self.touched: set[tuple[str, tuple[int, ...]]] = set()

    def read(self, name: str, array: np.ndarray, *index: int) -> float:
        self.touched.add((name, index))
        return float(array[index])

    def times(self, a: float, b: float) -> float:
        self.macs += 1
        return a * b

    def stage(self, written: np.ndarray, parameters: int) -> Stage:
        return Stage(2 * self.macs, 4 * (len(self.touched) + written.size), parameters)


def loops(block: ACmix, x: np.ndarray) -> tuple[np.ndarray, dict[str, Stage]]:
    """The published formulas on one image (Ci, H, W), one multiply-add after another."""
    weights = {key: value.detach().numpy() for key, value in block.state_dict().items()}
    (_, height, width), channels, d, heads = x.shape, block.out_planes, block.head_dim, block.head
    pixels = [(i, j) for i in range(height) for j in range(width)]
    rows, columns = range(0, height, block.stride), range(0, width, block.stride)
    stages = {}

    ledger = Ledger()
    qkv = np.zeros((3, channels, height, width))
    for n in range(3):
        weight, bias = weights[f"conv{n + 1}.weight"], weights[f"conv{n + 1}.bias"]
        for c in range(channels):
            for i, j in pixels:
                qkv[n, c, i, j] = ledger.read(f"bias{n}", bias, c) + sum(
                    ledger.times(ledger.read(f"weight{n}", weight, c, m, 0, 0), ledger.read("x", x, m, i, j))
                    for m in range(x.shape[0])
                )
    stages["projection"] = ledger.stage(
        qkv, sum(weights[f"conv{n}.{w}"].size for n in (1, 2, 3) for w in ("weight", "bias"))
    )

    out = np.zeros((channels, len(rows), len(columns)))
    if block.has_attention:
        ledger, k = Ledger(), block.kernel_att
        place = [np.linspace(-1, 1, n) if n > 1 else -np.ones(1) for n in (width, height)]
        embedding = np.zeros((d, height, width))
        for c in range(d):
            for i, j in pixels:
                embedding[c, i, j] = ledger.read("conv_p.bias", weights["conv_p.bias"], c) + sum(
                    ledger.times(ledger.read("conv_p", weights["conv_p.weight"], c, n, 0, 0), place[n][(j, i)[n]])
                    for n in range(2)
                )
        margin = k // 2 * block.dilation
        up, across = reflected(height, margin), reflected(width, margin)
        rate = ledger.read("rate1", weights["rate1"], 0)
        for m in range(heads):
            for y, i in enumerate(rows):
                for z, j in enumerate(columns):
                    taps = [
                        (up[i + a * block.dilation], across[j + b * block.dilation]) for a in range(k) for b in range(k)
                    ]
                    logits = [
                        sum(
                            ledger.times(
                                ledger.read("query", qkv[0], m * d + c, i, j) * d**-0.5,
                                ledger.read("key", qkv[1], m * d + c, *tap) + embedding[c, i, j] - embedding[(c, *tap)],
                            )
                            for c in range(d)
                        )
                        for tap in taps
                    ]
                    a = np.exp(np.array(logits) - max(logits))
                    a /= a.sum()
                    for c in range(d):
                        out[m * d + c, y, z] += rate * sum(
                            ledger.times(a[t], ledger.read("value", qkv[2], m * d + c, *tap))
                            for t, tap in enumerate(taps)
                        )
        stages["attention"] = ledger.stage(out, 3 * d + 1)
    if block.has_conv:
        ledger, k = Ledger(), block.kernel_conv
        stack = qkv.reshape(3 * heads, d, height, width)
        maps = np.zeros((d * k * k, height, width))
        fc, dep = weights["fc.weight"], weights["dep_conv.weight"]
        for c in range(d):
            for t in range(k * k):
                for i, j in pixels:
                    maps[c * k * k + t, i, j] = sum(
                        ledger.times(ledger.read("fc", fc, t, m, 0, 0), ledger.read("qkv", stack, m, c, i, j))
                        for m in range(3 * heads)
                    )
        padded = np.pad(maps, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        rate = ledger.read("rate2", weights["rate2"], 0)
        for o in range(channels):
            for y, i in enumerate(rows):
                for z, j in enumerate(columns):
                    out[o, y, z] += rate * sum(
                        ledger.times(ledger.read("dep", dep, o, t, a, b), padded[o // heads * k * k + t, i + a, j + b])
                        for t in range(k * k)
                        for a in range(k)
                        for b in range(k)
                    )
        stages["convolution"] = ledger.stage(out, fc.size + dep.size + 1)
    return out, stages


@pytest.mark.parametrize(
    ("options", "size"),
    [
        pytest.param({"kernel_att": 3, "head": 2}, (4, 5), id="k3-h2-4x5"),
        pytest.param({"kernel_att": 5, "head": 4, "stride": 2}, (5, 3), id="k5-h4-s2-5x3"),
        pytest.param({"kernel_att": 1, "head": 1, "stride": 3}, (4, 7), id="k1-s3-gaps"),
        pytest.param({"kernel_att": 3, "head": 2, "dilation": 2, "kernel_conv": 1}, (6, 1), id="dilated-kc1-6x1"),
        pytest.param({"kernel_att": 3, "head": 2, "path": "attention"}, (3, 4), id="attention"),
        pytest.param({"head": 2, "path": "conv"}, (3, 4), id="conv"),
    ],
)
def test_stages_equal_the_count_of_loops(options: dict[str, object], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    block = ACmix(3, 8, **options).double()  # type: ignore[arg-type]
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    out, counted = loops(block, x[0].numpy())
    np.testing.assert_allclose(block(x)[0].detach().numpy(), out, atol=1e-9)
    assert acmix_stages(block, *size, published=True) == counted
    assert block.published_flops(*size) == sum(stage.flops for stage in counted.values())
    assert sum(stage.parameters for stage in counted.values()) == sum(p.numel() for p in block.parameters())


def test_the_published_table() -> None:
    """Stage I 3 C^2, Stage II 2 k_a^2 C and 3 k_c^2 C + k_c^4 C multiply-adds per pixel; embedding 2 C / head."""
    channels, head, pixels = 128, 4, 400
    stages = acmix_stages(ACmix(channels, channels, kernel_att=7, head=head), 20, 20, published=True)
    assert stages["projection"].flops == 2 * pixels * 3 * channels**2
    assert stages["attention"].flops == 2 * pixels * (2 * 49 * channels + 2 * channels // head)
    assert stages["convolution"].flops == 2 * pixels * (27 * channels + 81 * channels)


def test_half_precision_halves_the_bytes() -> None:
    block = ACmix(16, 16)
    single, half = block.stages(8, 8), block.stages(8, 8, itemsize=2)
    assert all(single[name].bytes == 2 * half[name].bytes for name in single)
