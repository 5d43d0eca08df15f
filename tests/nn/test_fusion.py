from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp.nn.fusion import absorb, fuse, fuse_bn_conv, fuse_conv_bn, merge_branches, norm_affine
from tests.nn.test_acmix import make
from tests.nn.test_acmix_fuse import batch_norm, check

KINDS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": 1},
    {"kernel_size": (3, 5), "padding": (0, 2), "stride": 2, "groups": 2},
    {"kernel_size": 5, "padding": 4, "dilation": 2, "groups": 6, "bias": False},
    {"kernel_size": 3, "padding": "same", "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "groups": 3},
]
TRANSPOSED: list[dict[str, Any]] = [
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1, "groups": 3, "bias": False},
    {"kernel_size": 3, "dilation": 2, "groups": 6},
]


def image(channels: int = 6) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(2, channels, 9, 7, dtype=torch.float64)


def conv(**options: Any) -> nn.Conv2d:
    torch.manual_seed(3)
    return nn.Conv2d(6, 12, **options).double()


def double(channels: int) -> nn.BatchNorm2d:
    return batch_norm(channels, torch.float64)


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_convolution(options: dict[str, Any]) -> None:
    layer, norm = conv(**options), double(12)
    before = copy.deepcopy(layer.state_dict())
    fused = fuse_conv_bn(layer, norm)
    check(fused(image()), norm(layer(image())))
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("options", TRANSPOSED, ids=str)
def test_transposed_convolution(options: dict[str, Any]) -> None:
    layer, norm = nn.ConvTranspose2d(6, 12, **options).double(), double(12)
    check(fuse_conv_bn(layer, norm)(image()), norm(layer(image())))


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_norm_before_a_convolution(options: dict[str, Any]) -> None:
    layer, norm = conv(**options), double(6)
    if options.get("padding") and "padding_mode" not in options:
        with pytest.raises(ValueError, match="pads with zeros"):
            fuse_bn_conv(norm, layer)
    else:
        check(fuse_bn_conv(norm, layer)(image()), layer(norm(image())))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 4e-3)], ids=str)
def test_dtype(dtype: torch.dtype, tolerance: float) -> None:
    layer, norm = conv(kernel_size=3), double(12)
    expected = norm(layer(image())).detach()
    fused = fuse_conv_bn(layer.to(dtype), norm.to(dtype))
    assert fused.weight.dtype == dtype
    check(fused.double()(image()), expected, tolerance)


def test_norm_in_eval_mode_is_scale_and_shift() -> None:
    norm, x = double(6), image()
    scale, shift = norm_affine(norm.train())
    check(x * scale[:, None, None] + shift[:, None, None], norm.eval()(x))


@pytest.mark.parametrize(
    "options", [{}, {"groups": 3}, {"groups": 12}, {"bias": False}, {"k": 5, "dilation": 2}], ids=str
)
@pytest.mark.parametrize("point", [True, False], ids=["point", "no point"])
@pytest.mark.parametrize("identity", ["norm", "plain", "none"])
def test_branches(options: dict[str, Any], point: bool, identity: str) -> None:
    torch.manual_seed(0)
    options = {"groups": 1, "bias": True, "dilation": 1, "k": 3, **options}
    kernel, dilation = options.pop("k"), options.pop("dilation")
    dense = nn.Conv2d(12, 12, kernel, padding=dilation * (kernel // 2), dilation=dilation, **options).double()
    small = nn.Conv2d(12, 12, 1, **options).double() if point else None
    same = {"norm": double(12), "plain": nn.Identity(), "none": None}[identity]
    branches = [branch for branch in (dense, small, same) if branch is not None]
    merged = merge_branches(dense, point=small, identity=same)
    check(merged(image(12)), torch.stack([branch(image(12)) for branch in branches]).sum(0))
    assert merged.weight.shape == dense.weight.shape


def test_branches_with_a_stride() -> None:
    dense, point = conv(kernel_size=3, padding=1, stride=2), conv(kernel_size=1, stride=2)
    check(merge_branches(dense, point=point)(image()), dense(image()) + point(image()))


@pytest.mark.parametrize(
    ("dense", "branches", "message"),
    [
        ({"kernel_size": 3}, {}, "dense must have an odd kernel and keep the size"),
        ({"kernel_size": 2, "padding": 1}, {}, "dense must have an odd kernel"),
        ({}, {"point": conv(kernel_size=3, padding=1)}, "point must be a 1x1"),
        ({}, {"point": conv(kernel_size=1, padding=1)}, "point must be a 1x1"),
        ({}, {"point": conv(kernel_size=1, stride=2)}, "point must be a 1x1"),
        ({}, {"identity": nn.Identity()}, "as many channels out as in"),
    ],
    ids=str,
)
def test_branches_that_do_not_fit(dense: dict[str, Any], branches: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge_branches(conv(**(dense or {"kernel_size": 3, "padding": 1})), **branches)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(5), nn.GroupNorm(2, 12), nn.BatchNorm2d(12, track_running_stats=False)]
)
def test_a_norm_that_does_not_fit(norm: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"^norm must"):
        fuse_conv_bn(conv(kernel_size=1), norm)


def test_a_tree_of_modules() -> None:
    """Chains are fused at any depth; a merge that is not exact is not made."""
    tree = nn.Sequential(
        nn.Sequential(conv(kernel_size=3, padding=1, bias=False), double(12), nn.ReLU()),
        nn.ModuleDict({"unused": nn.Sequential(double(12), nn.Conv2d(12, 6, 1).double())})["unused"],
        double(6),  # after a chain that ends in a convolution
        nn.Sequential(nn.ReLU(), double(6), conv(kernel_size=3, padding=1)),  # padded: stays
        nn.Sequential(nn.ConvTranspose2d(12, 6, 2).double(), double(6)),
        make(path="mixed").double(),
        double(8),
    ).eval()
    expected = tree(image()).detach()
    names = [name for name, _ in tree.named_modules() if name.count(".") < 2]
    fused = fuse(tree)
    assert fused is tree
    check(fused(image()), expected)
    assert norms(fused) == 1
    assert [name for name, _ in fused.named_modules() if name.count(".") < 2 and "5." not in name] == [
        name for name in names if "5." not in name
    ]
    weights = [parameter.clone() for parameter in fused.parameters()]
    assert all(map(torch.equal, fuse(fused).parameters(), weights))


def test_a_layer_used_twice() -> None:
    shared = conv(kernel_size=1)
    pair = nn.ModuleList([nn.Sequential(shared, double(12)), nn.Sequential(shared, nn.ReLU())]).eval()
    expected = [chain(image()).detach() for chain in pair]
    fuse(pair)
    for chain, wanted in zip(pair, expected, strict=True):
        check(chain(image()), wanted)


def test_modules_that_are_not_fused() -> None:
    """A Sequential with another forward, a layer with a hook or parametrised weights, an unrelated ``fuse``."""

    class Backwards(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](self[1](x))

    class Mixer(nn.Module):
        def fuse(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    square = nn.Conv2d(12, 12, 1)
    hooked = nn.Conv2d(12, 12, 1)
    hooked.register_forward_hook(lambda *_: None)
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(12, 12, 1))
    chains = [Backwards(square, batch_norm(12)), *(nn.Sequential(layer, batch_norm(12)) for layer in (hooked, normed))]
    tree = nn.ModuleList([*chains, Mixer()]).eval()
    assert norms(fuse(tree)) == len(chains)
    assert absorb(nn.ReLU(), batch_norm(12)) is None
    assert absorb(square, nn.BatchNorm2d(12, track_running_stats=False)) is None
