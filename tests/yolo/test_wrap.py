import copy

import pytest
import torch
from torch import nn
from ultralytics.nn.modules import SPPF, C2f, Conv

from acmix_exp.nn import ACmix
from acmix_exp.yolo.wrap import After, BlockConv, insert_after
from tests.nn.test_fit_for_use import ids, image, make, variants
from tests.yolo.builders import is_zero_branch


@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("act", [True, False], ids=["act", "linear"])
@pytest.mark.parametrize("norm", [True, False], ids=["norm", "raw"])
def test_after_applies_norm_act_and_residual(norm: bool, act: bool, residual: bool) -> None:
    after = After(nn.Conv2d(8, 8, 1), 8, norm, act, residual)
    x = torch.randn(2, 8, 5, 4)
    y = after.block(x)
    if norm:
        y = (y - y.mean((0, 2, 3), keepdim=True)) / (
            y.var((0, 2, 3), keepdim=True, correction=0) + after.norm.eps
        ).sqrt()
    if act:
        y = y * y.sigmoid()
    torch.testing.assert_close(after(x), x + y if residual else y)


def test_a_zero_branch_is_exactly_zero_and_learns() -> None:
    after = After(nn.Conv2d(8, 8, 3, padding=1), 8, zero=True)
    x = torch.randn(2, 8, 5, 4)
    assert is_zero_branch(after)
    for mode in (after.train(), after.eval()):
        assert torch.equal(mode(x), x)
    after.train()(x).pow(2).sum().backward()
    assert after.norm.weight.grad.abs().min() > 0
    assert not is_zero_branch(After(nn.Identity(), 8))
    with pytest.raises(ValueError, match="norm and residual"):
        After(nn.Identity(), 8, residual=False, zero=True)


def test_a_block_may_hand_back_its_input() -> None:
    """Ultralytics sets ``inplace`` on everything it loads."""
    after = After(nn.Identity(), 8, norm=False)
    for module in after.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    x = torch.randn(2, 8, 5, 4)
    before = x.clone()
    torch.testing.assert_close(after(x), before + before * before.sigmoid())


@pytest.mark.parametrize("stock", [C2f(8, 8, 2, True), SPPF(8, 8)], ids=["C2f", "SPPF"])
def test_insert_after_keeps_stock_keys(stock: nn.Module) -> None:
    layer = copy.deepcopy(stock).eval()
    insert_after(layer, After(nn.Conv2d(8, 8, 1), 8).eval())
    x = torch.randn(1, 8, 6, 6)
    assert isinstance(layer, type(stock))
    assert [key for key in layer.state_dict() if not key.startswith("after.")] == list(stock.state_dict())
    torch.testing.assert_close(layer(x), layer.after(stock.eval()(x)))
    if isinstance(layer, C2f):  # the exporter's way in
        torch.testing.assert_close(layer.forward_split(x), layer(x))


def test_block_conv_keeps_bn_and_activation() -> None:
    conv = Conv(8, 8, 3)
    wrapper = BlockConv(nn.Conv2d(8, 8, 1), conv)
    assert wrapper.bn is conv.bn
    assert wrapper.act is conv.act
    assert not isinstance(wrapper, Conv)
    x = torch.randn(2, 8, 5, 4)
    torch.testing.assert_close(wrapper(x), conv.act(conv.bn(wrapper.block(x))))


def block(kind: str) -> nn.Module:
    return {
        "mixed": ACmix(8, 8, 3, 4),
        "attention": ACmix(8, 8, 3, 4, path="attention"),
        "conv": ACmix(8, 8, 3, 4, path="conv"),
        "conv2d": nn.Conv2d(8, 8, 3, padding=1),
        "chain": nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 8, 1)),
        "identity": nn.Identity(),
        "silu": nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU()),
    }[kind]


@pytest.mark.parametrize("kind", ["mixed", "attention", "conv", "conv2d", "chain", "identity", "silu"])
@pytest.mark.parametrize("how", ["after", "raw", "zero", "replace"])
def test_fuse(kind: str, how: str) -> None:
    torch.manual_seed(0)
    if how == "replace":
        wrapper: nn.Module = BlockConv(block(kind), Conv(8, 8, 3))
    else:
        wrapper = After(block(kind), 8, norm=how != "raw", zero=how == "zero")
    for norm in (module for module in wrapper.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 8, 7, 5)
    expected = wrapper.eval()(x).detach()
    assert wrapper.fuse() is wrapper
    torch.testing.assert_close(wrapper(x), expected, rtol=1e-5, atol=1e-5)
    left = sum(isinstance(module, nn.BatchNorm2d) for module in wrapper.modules())
    assert left == (kind in ("identity", "silu") and how != "raw")  # nothing linear before the wrapper's norm
    torch.testing.assert_close(copy.deepcopy(wrapper.fuse())(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), variants(), ids=ids)
def test_every_block_can_be_fused(name: str, options: dict[str, str]) -> None:
    wrapper = After(make(name, **options), 16).eval()
    for norm in (module for module in wrapper.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
    x = image((9, 7))
    expected = wrapper(x).detach()
    torch.testing.assert_close(wrapper.fuse()(x), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(copy.deepcopy(wrapper.fuse())(x), expected, rtol=1e-5, atol=1e-5)
