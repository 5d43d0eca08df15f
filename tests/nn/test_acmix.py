"""ACmix as a module: parameters, sizes, dtypes, copies, invalid values."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from acmix_exp.nn import ACmix
from tests.ops import loop_reference

KEYS = {
    "mixed": {
        *("rate1", "rate2", "conv_p.weight", "conv_p.bias", "fc.weight", "dep_conv.weight"),
        *(f"conv{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")),
    }
}
KEYS["attention"] = KEYS["mixed"] - {"rate2", "fc.weight", "dep_conv.weight"}
KEYS["conv"] = KEYS["mixed"] - {"rate1", "conv_p.weight", "conv_p.bias"}


def make(seed: int = 0, **options: Any) -> ACmix:
    """A small block with randomised weights: the initial ones are special."""
    torch.manual_seed(seed)
    block = ACmix(**{"in_planes": 6, "out_planes": 8, "head": 2, **options})
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


def literal(block: ACmix, x: Tensor) -> Tensor:
    """The module step by step from its definition."""
    query, key, value = block.conv1(x), block.conv2(x), block.conv3(x)
    batch, _, height, width = query.shape
    out: Any = 0
    if block.path != "conv":
        attention = loop_reference.window_attention(
            query,
            key,
            value,
            block.conv_p.weight,
            kernel_size=block.kernel_att,
            heads=block.head,
            stride=block.stride,
            dilation=block.dilation,
        )
        out = out + block.rate1 * attention
    if block.path != "attention":
        split = (t.view(batch, block.head, block.head_dim, height * width) for t in (query, key, value))
        features = block.fc(torch.cat(list(split), dim=1)).transpose(1, 2)
        out = out + block.rate2 * block.dep_conv(features.reshape(batch, -1, height, width))
    return out


@pytest.mark.parametrize("path", KEYS)
def test_state_dict(path: str) -> None:
    block = ACmix(64, 64, path=path)
    assert set(block.state_dict()) == KEYS[path]
    shapes = {
        "rate1": (1,),
        "rate2": (1,),
        **{f"conv{i}.weight": (64, 64, 1, 1) for i in (1, 2, 3)},
        **{f"conv{i}.bias": (64,) for i in (1, 2, 3)},
        "conv_p.weight": (16, 2, 1, 1),
        "conv_p.bias": (16,),
        "fc.weight": (9, 12, 1, 1),
        "dep_conv.weight": (64, 9, 3, 3),
    }
    assert {key: tuple(value.shape) for key, value in block.state_dict().items()} == {
        key: shapes[key] for key in KEYS[path]
    }


@pytest.mark.parametrize(("channels", "count"), [(64, 17822), (128, 60110), (256, 218414)])
def test_number_of_parameters(channels: int, count: int) -> None:
    assert sum(p.numel() for p in ACmix(channels, channels).parameters()) == count


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (1, 1)),
        ({}, (2, 2)),
        ({}, (7, 5)),
        ({"kernel_att": 3, "kernel_conv": 1}, (5, 4)),
        ({"kernel_att": 5, "kernel_conv": 5, "stride": 2}, (7, 6)),
        ({"kernel_conv": 7, "stride": 3}, (8, 5)),
        ({"kernel_att": 3, "dilation": 2}, (6, 7)),
        ({"kernel_att": 1, "head": 8}, (3, 3)),
        ({"path": "attention", "stride": 2}, (5, 5)),
        ({"path": "conv", "stride": 2}, (5, 5)),
    ],
    ids=str,
)
def test_equals_its_definition(options: dict[str, Any], size: tuple[int, int]) -> None:
    block = make(**options).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(p for name, p in block.named_parameters() if name != "conv_p.bias")]
    results = []
    for out in (block(x), literal(block, x)):
        weight = torch.cos(torch.arange(out.numel(), dtype=torch.float64)).view(out.shape)
        results.append([out, *torch.autograd.grad(out, inputs, weight, allow_unused=True)])
    assert results[0][0].shape == (2, 8, *(-(-n // block.stride) for n in size))
    for actual, expected in zip(*results, strict=True):
        expected = torch.zeros_like(actual) if expected is None else expected
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("path", KEYS)
def test_every_parameter_has_a_gradient(path: str) -> None:
    block = make(path=path)
    block(torch.randn(2, 6, 5, 6)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad == 0).all() == (name == "conv_p.bias"), name


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)], ids=str
)
@pytest.mark.parametrize("path", KEYS)
def test_dtype(path: str, dtype: torch.dtype, tolerance: float) -> None:
    block = make(path=path).to(dtype)
    x = torch.randn(2, 6, 7, 5).to(dtype).requires_grad_()
    out = block(x)
    assert out.dtype == dtype
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    expected = copy.deepcopy(block).double()(x.detach().double())
    assert (out.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("path", KEYS)
def test_autocast(path: str, dtype: torch.dtype) -> None:
    block = make(path=path)
    x = torch.randn(2, 6, 7, 5, requires_grad=True)
    with torch.autocast("cpu", dtype):
        out = block(x)
        assert out.dtype == dtype
        out.float().square().sum().backward()  # inside on purpose: the backward pass must not be cast either
    expected = block(x)
    assert (out - expected).abs().max() <= 4e-2 * expected.abs().max()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("path", KEYS)
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_last(stride: int, path: str) -> None:
    block = make(path=path, stride=stride).double()
    x = torch.randn(2, 6, 6, 7, dtype=torch.float64)
    out = block(x.contiguous(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()
    torch.testing.assert_close(out.contiguous(), block(x))


def test_copies_are_equal() -> None:
    block = make()
    x = torch.randn(1, 6, 5, 4)
    expected = block(x)
    file = io.BytesIO()
    torch.save(block, file)
    file.seek(0)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block)), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), expected)


def test_a_call_leaves_no_state() -> None:
    block = make()
    before = set(vars(block))
    block(torch.randn(1, 6, 5, 4)).sum().backward()
    assert set(vars(block)) == before
    assert not list(block.buffers())
    assert not any(isinstance(value, Tensor) for value in vars(block).values())


def test_eval_and_no_grad_do_not_change_the_output() -> None:
    block = make()
    x = torch.randn(2, 6, 9, 8)
    expected = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block.eval()(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(block(x), expected.detach())


def test_paths_start_from_the_same_seed_with_the_same_scale() -> None:
    torch.manual_seed(1)
    mixed = ACmix(8, 8)
    attention, conv = ACmix(8, 8, path="attention"), ACmix(8, 8, path="conv")
    for branch in (attention, conv):
        branch.load_state_dict({key: mixed.state_dict()[key] for key in branch.state_dict()})
    x = torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(attention(x) + conv(x), mixed(x))


def test_article_names() -> None:
    block = ACmix(16, 32, 5, 8, 1, 2, 3, "mixed", "shift")
    names = ("in_planes", "out_planes", "kernel_att", "head", "kernel_conv", "stride", "dilation", "path", "backend")
    assert [getattr(block, name) for name in names] == [16, 32, 5, 8, 1, 2, 3, "mixed", "shift"]
    assert block.head_dim == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_att": 4}, "kernel_att must be odd, got 4"),
        ({"kernel_conv": 2}, "kernel_conv must be odd, got 2"),
        ({"head": 3}, "head must divide out_planes 8, got 3"),
        *(
            ({name: bad}, f"{name} must be a positive integer, got {bad!r}")
            for name in ("in_planes", "out_planes", "kernel_att", "head", "kernel_conv", "stride", "dilation")
            for bad in (0, -1, 1.0, True)
        ),
        ({"path": "both"}, "path must be one of conv, attention, mixed, got 'both'"),
        ({"backend": "cuda"}, "backend must be one of auto, reference, shift, tile, triton, got 'cuda'"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_invalid_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        ACmix(**{"in_planes": 8, "out_planes": 8, **change})
    assert str(caught.value) == message


def test_flops() -> None:
    assert ACmix(64, 64).published_flops(16, 16) == 2 * 6_529_024
    assert ACmix(64, 64, stride=2).published_flops(16, 16) == 2 * 4_329_472
    mixed, attention, conv = (ACmix(12, 8, stride=2, path=path) for path in ("mixed", "attention", "conv"))
    shared = 2 * 3 * 12 * 8 * 7 * 5
    assert attention.flops(7, 5) + conv.flops(7, 5) - shared == mixed.flops(7, 5)
    assert attention.flops(7, 5) == shared + 2 * (2 * 2 * 35 + 2 * 8 * 49 * 12)
