"""A fused ACmix against the same block before it was fused."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.nn.test_acmix import make

PATHS = ("mixed", "attention", "conv")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def batch_norm(channels: int = 8, dtype: torch.dtype = torch.float32, **options: Any) -> nn.BatchNorm2d:
    """A BatchNorm with random statistics and weights, one of them zero."""
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(channels, **options).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.2, 3)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        nn.init.zeros_(norm.weight[:1])
    return norm.to(dtype)


def check(actual: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    error = (actual - expected).abs().max() / expected.abs().max()
    assert error <= (tolerance or TOLERANCE[expected.dtype]), f"{error:.2g}"


@pytest.mark.parametrize("norm", [False, True], ids=["bare", "norm"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (7, 5)),
        ({"backend": "reference"}, (3, 4)),
        ({"backend": "shift", "kernel_att": 3}, (9, 13)),
        ({"backend": "tile"}, (20, 9)),
        ({"stride": 2, "kernel_conv": 5}, (7, 6)),
        ({"stride": 3, "dilation": 2, "kernel_att": 3}, (11, 8)),
        ({"head": 8, "kernel_conv": 1}, (1, 1)),
        ({"head": 1}, (2, 17)),
    ],
    ids=str,
)
def test_fused_equals_unfused(
    options: dict[str, Any], size: tuple[int, int], path: str, dtype: torch.dtype, norm: bool
) -> None:
    block = make(path=path, **options).to(dtype)
    after = batch_norm(dtype=dtype) if norm else nn.Identity()
    x = torch.randn(2, 6, *size, dtype=dtype)
    with torch.no_grad():
        expected = after(block(x))
        check(block.fuse(after if norm else None)(x), expected)


@pytest.mark.parametrize("path", PATHS)
def test_weights_are_stored_and_not_composed_again(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = make(path=path)
    assert not block.is_fused
    assert block.fuse() is block
    assert block.is_fused
    names = {
        "mixed": {"projection", "projection_bias", "conv", "position", "rate"},
        "conv": {"projection", "projection_bias", "conv"},
        "attention": {"projection", "projection_bias", "position"},
    }
    assert {name for name, _ in block.named_parameters()} == {f"fused.{name}" for name in names[path]}
    assert not any(parameter.requires_grad for parameter in block.parameters())
    monkeypatch.delattr("acmix_exp.nn.acmix.compose")
    block(torch.randn(1, 6, 5, 4))
    assert block.flops(7, 5) == make(path=path).flops(7, 5)


@pytest.mark.parametrize("path", PATHS)
def test_fusing_again_changes_nothing_but_takes_a_norm(path: str) -> None:
    block, norm = make(path=path).double(), batch_norm(dtype=torch.float64)
    x = torch.randn(1, 6, 6, 5, dtype=torch.float64)
    once = copy.deepcopy(block).fuse(norm)
    weights = [parameter.clone() for parameter in once.parameters()]
    assert all(map(torch.equal, once.fuse().parameters(), weights))
    check(block.fuse().fuse(norm)(x), once(x))
    check(block.fuse(norm)(x), norm(once(x)))


@pytest.mark.parametrize("options", [{"affine": False}, {"eps": 1e-3}], ids=str)
def test_norm_options(options: dict[str, Any]) -> None:
    block, norm = make(), batch_norm(**options)
    x = torch.randn(2, 6, 5, 5)
    expected = norm(block(x)).detach()
    check(block.fuse(norm)(x), expected)


def test_a_norm_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be a BatchNorm2d with running statistics, got BatchNorm2d"):
        make().fuse(nn.BatchNorm2d(8, track_running_stats=False))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("path", PATHS)
def test_copies_of_a_fused_block(path: str) -> None:
    block = make(path=path).fuse(batch_norm())
    x = torch.randn(1, 6, 5, 4)
    expected = block(x)
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), expected)
    check(torch.jit.trace(block, x)(x), expected)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-2), (torch.bfloat16, 6e-2)], ids=str)
def test_half_precision(path: str, dtype: torch.dtype, tolerance: float) -> None:
    block, norm = make(path=path), batch_norm()
    x = torch.randn(2, 6, 7, 5)
    expected = norm(block(x)).detach()
    fused_first = copy.deepcopy(block).fuse(norm).to(dtype)
    cast_first = copy.deepcopy(block).to(dtype).fuse(norm)
    assert {parameter.dtype for parameter in cast_first.parameters()} == {dtype}
    for fused in (fused_first, cast_first):
        out = fused(x.to(dtype))
        assert out.dtype == dtype
        check(out.float(), expected, tolerance)
    with torch.autocast("cpu", dtype):
        out = block.fuse(norm)(x)
    check(out.float(), expected, tolerance)


@pytest.mark.parametrize("path", PATHS)
def test_fused_keeps_the_memory_format(path: str) -> None:
    block = make(path=path).fuse(batch_norm())
    x = torch.randn(2, 6, 6, 7)
    out = block(x.contiguous(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)
    check(out.contiguous(), block(x))


@pytest.mark.slow
def test_export_leaves_the_size_open() -> None:
    block = make(kernel_att=3).fuse(batch_norm())
    size = {2: torch.export.Dim("height", min=2, max=64), 3: torch.export.Dim("width", min=2, max=64)}
    exported = torch.export.export(block, (torch.randn(2, 6, 9, 11),), dynamic_shapes=(size,)).module()
    x = torch.randn(2, 6, 13, 7)
    check(exported(x), block(x))
