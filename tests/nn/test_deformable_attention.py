"""Deformable attention: positions, sizes and refusals. The rest: tests/test_golden.py, tests/nn/test_fit_for_use.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.block_rules import channel_faults
from acmix_exp.nn import build_block
from acmix_exp.nn.deformable_attention import DeformableAttention, displacements, moved_points
from benchmarks.straightforward import straightforward
from tests import golden_adapter
from tests.ops.tolerances import assert_close

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
OPTIONS: list[dict[str, Any]] = [
    {"position": "table", "query_size": (5, 9)},
    {"position": "depthwise", "stride": 1, "kernel_size": 3},
    {"position": "log", "offset_range": 2.0},
    {"position": "fixed", "query_size": (7, 6), "stride": 3, "kernel_size": 3},
    {"position": "none", "stride": 2, "kernel_size": 4},
    {"offsets": False, "stride": 3},
]


@pytest.mark.parametrize("name", [name for name in MANIFEST if name.startswith("dat_") and "nooff" not in name])
def test_positions_are_the_published_ones(name: str) -> None:
    arrays = np.load(GOLDEN / MANIFEST[name]["file"])
    module, _ = golden_adapter.build(MANIFEST[name], arrays)
    assert isinstance(module, DeformableAttention)
    with torch.no_grad():
        positions = module.sampling_positions(module.proj_q(torch.from_numpy(arrays["input"]).double()))
    np.testing.assert_allclose(positions.numpy(), arrays["extra/pos"].reshape(positions.shape), rtol=0, atol=1e-12)
    assert (
        module.published_flops(*arrays["input"].shape[2:]) * len(arrays["input"])
        == 2 * MANIFEST[name]["macs_conv_matmul"]
    )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.get("position", "pooled"))
def test_every_option_matches_the_straightforward_form(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = DeformableAttention(12, 6, 3, **options).double()
    results = []
    for form in (module, straightforward(module)):
        x = torch.randn(2, 12, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
        out = form(x)
        results.append([out, *torch.autograd.grad(out, [x, *form.parameters()], out.detach().cos())])
    for name, ours, theirs in zip(["out", "x", *dict(module.named_parameters())], *results, strict=True):
        assert_close(name, ours, theirs, 1e-10)


def test_points_stay_on_the_map_or_within_the_offset_range() -> None:
    offset = 10 * torch.randn(2, 2, 4, 5, dtype=torch.float64)
    assert moved_points(offset, None).abs().max() == 1
    moved = moved_points(offset, 0.5) - moved_points(torch.zeros_like(offset), 0.5)
    assert (moved.abs() <= torch.tensor([0.5 / 3, 0.5 / 4])).all()


def test_displacements_are_query_minus_position() -> None:
    positions = torch.tensor([[[[-1.0, 1.0]]]])
    along_y, along_x = displacements(3, 2, positions)
    assert along_y.flatten().tolist() == [0, 1, 2]
    assert along_x.flatten().tolist() == [-2, 0]


def test_positions_are_not_rounded_by_autocast() -> None:
    torch.manual_seed(0)
    module = DeformableAttention(16)
    query = torch.randn(1, 16, 80, 80)
    with torch.no_grad():
        exact = module.sampling_positions(query)
        with torch.autocast("cpu", torch.bfloat16):
            positions = module.sampling_positions(query)
    assert torch.equal(positions, exact)
    assert module.half().sampling_positions(query.half()).dtype == torch.float32


def test_parameters() -> None:
    module = DeformableAttention(64, 2, 1, query_size=20, kernel_size=5)
    assert sum(parameter.numel() for parameter in module.parameters()) == 21602
    assert module.rpe_table.numel() == 3042  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide the 16 channels, got 3"),
        ({"num_heads": 4, "num_groups": 3}, "num_groups must divide the 4 heads, got 3"),
        ({"position": "sine"}, "position must be one of table, depthwise, log, fixed, none, got 'sine'"),
        ({"offset_range": -1.0}, "offset_range must be a number from 0, or null for anywhere, got -1.0"),
        ({"stride": 0}, "stride must be a positive integer, got 0"),
        ({"query_size": 0}, "query_size must be a positive integer, got 0"),
        ({"form": "bare"}, "form must be one of unit, residual, block, got 'bare'"),
        ({"form": "block", "mlp_ratio": 0.01}, "mlp_ratio must give 16 channels at least one hidden channel, got 0.01"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build_block("deformable_attention", 16, **options)


def test_fixed_biases_are_for_one_map() -> None:
    module = DeformableAttention(16, position="fixed", query_size=(8, 6))
    with pytest.raises(ValueError, match=r"^position='fixed' was made for a map of 8 x 6, got 9 x 6: use 'table'$"):
        module(torch.zeros(1, 16, 9, 6))


def test_the_command_line_refuses_heads_and_groups_that_do_not_divide() -> None:
    sites = {"backbone_p4": 128, "backbone_p5": 256}
    (line,) = channel_faults("deformable_attention", {"num_heads": 48}, {**sites, "other": 96}, "n")
    bad = "backbone_p4 has 128, backbone_p5 has 256"
    assert line == f"block.num_heads=48: must divide the channels of every site; at scale n {bad}"
    (line,) = channel_faults("deformable_attention", {"num_groups": 8}, sites, "n")
    assert line == "block.num_groups=8: must divide the heads at every site; at scale n backbone_p4 has 128"
