"""The attention windows drawn in the report are those that the block computes."""

import pytest
import torch

from acmix_exp.nn import ACmix
from acmix_exp.nn.attention_weights import attention_windows


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


def test_a_block_without_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="path=conv has no attention"):
        attention_windows(ACmix(4, 4, head=2, path="conv"), torch.zeros(1, 4, 3, 3), [(0, 0)])
