"""The attention windows drawn in the report are those that the block computes."""

import pytest
import torch

from acmix_exp.nn import ACmix
from acmix_exp.nn.attention_weights import attention_windows
from acmix_exp.report.figures.attention_maps import times_uniform


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)], ids=["plain", "stride2", "dilation2"])
@pytest.mark.parametrize("size", [(7, 9), (2, 3), (1, 5)], ids=["7x9", "2x3", "1x5"])
def test_weighted_values_are_the_attention(size: tuple[int, int], stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    block = ACmix(8, 12, kernel_att=5, head=3, stride=stride, dilation=dilation, path="attention").double()
    with torch.no_grad():
        block.rate1.fill_(1.0)
    x = torch.randn(1, 8, *size, dtype=torch.float64)
    out = block(x)[0].detach()
    sites = [(r, c) for r in range(out.shape[1]) for c in range(out.shape[2])]
    weights, rows, columns = attention_windows(block, x, sites)
    assert weights.shape == (len(sites), 3, 5, 5)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(len(sites), 3, dtype=torch.float64))
    value = block.conv3(x)[0].unflatten(0, (3, 4)).detach()
    for (row, column), weight, under, across in zip(sites, weights, rows, columns, strict=True):
        taps = value[:, :, under][..., across]
        torch.testing.assert_close((weight[:, None] * taps).sum((2, 3)).flatten(), out[:, row, column])


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)], ids=["plain", "stride2", "dilation2"])
def test_without_query_and_position_the_attention_is_uniform_and_drawn_as_one(stride: int, dilation: int) -> None:
    block = ACmix(8, 8, kernel_att=5, head=2, stride=stride, dilation=dilation, path="attention")
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.bias.zero_()
    x = torch.randn(1, 8, 6, 7)
    sites = [(r, c) for r in range(-(-6 // stride)) for c in range(-(-7 // stride))]
    weights, rows, columns = attention_windows(block, x, sites)
    for mean, under, across in zip(weights.mean(1), rows, columns, strict=True):
        relative = times_uniform((6, 7), {"rows": under.tolist(), "columns": across.tolist()}, mean.tolist())
        assert abs(relative - 1).max() < 1e-5


def test_a_block_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="path=conv has no attention"):
        attention_windows(ACmix(4, 4, head=2, path="conv"), torch.zeros(1, 4, 3, 3), [(0, 0)])
