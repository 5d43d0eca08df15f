from __future__ import annotations

import copy
import time
import warnings

import pytest
import torch
from torch import nn

from acmix_exp.profile import count
from tests.profile.builders import Halving, Net, NoMeta, NoMetaBlock, Outer, ShiftBlock


def test_plain_network_by_hand() -> None:
    counted = count(Net(), 32)
    assert counted.parameters == (3 * 9 * 8 + 8) + 16 + (8 * 5 + 5)
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR) / 1e9, rel=1e-12)
    assert counted.gflops_block == 0.0


def test_a_block_counts_by_its_flops_method() -> None:
    block = ShiftBlock(8)
    own = block.flops(16, 16)
    counted = count(Net(block), 32)
    assert counted.gflops_block == pytest.approx(own / 1e9, rel=1e-12)
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + own) / 1e9, rel=1e-12)


def test_several_blocks_at_maps_of_different_size() -> None:
    counted = count(Net(ShiftBlock(8), nn.MaxPool2d(2), ShiftBlock(8, taps=25)), 32)
    own = ShiftBlock(8).flops(16, 16) + ShiftBlock(8, taps=25).flops(8, 8)
    assert counted.gflops_block == pytest.approx(own / 1e9, rel=1e-12)
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + own) / 1e9, rel=1e-12)


def test_a_block_called_twice_costs_twice_and_has_its_parameters_once() -> None:
    block = ShiftBlock(8)
    counted = count(Net(block, block), 32)
    assert counted.gflops_block == pytest.approx(2 * block.flops(16, 16) / 1e9, rel=1e-12)
    assert counted.parameters == count(Net(block), 32).parameters


def test_a_block_inside_a_block_is_not_counted_again() -> None:
    block = Outer(8)
    counted = count(Net(block), 32)
    assert counted.gflops_block == pytest.approx(block.flops(16, 16) / 1e9, rel=1e-12)
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + block.flops(16, 16)) / 1e9, rel=1e-12)


def test_a_block_that_needs_numbers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert count(Net(NoMetaBlock(8)), 32)[:5] == count(Net(ShiftBlock(8)), 32)[:5]


def test_a_network_that_needs_numbers_is_counted_on_the_cpu() -> None:
    with pytest.warns(UserWarning, match="on the CPU"):
        counted = count(Net(NoMeta(), ShiftBlock(8)), 32)
    conv = 2 * 16 * 16 * 64
    assert counted.gflops_block == count(Net(ShiftBlock(8)), 32).gflops_block
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + conv) / 1e9 + counted.gflops_block, rel=1e-12)


def test_a_block_that_halves_its_map() -> None:
    counted = count(Net(Halving(8), nn.Conv2d(8, 8, 1, bias=False)), 32)
    conv = 2 * 8 * 8 * 64
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + conv) / 1e9 + counted.gflops_block, rel=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_not_changed(training: bool) -> None:
    model = Net(ShiftBlock(8)).train(training).half()
    before = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        count(model, 32)
    assert model.training is training
    assert not model.blocks[0]._forward_hooks
    assert not model.blocks[0]._forward_pre_hooks
    for key, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, before[key])


def test_a_forward_that_fails_is_an_error() -> None:
    with pytest.warns(UserWarning, match="on the CPU"), pytest.raises(RuntimeError):
        count(Net(ShiftBlock(7)), 32)


@pytest.mark.parametrize("ran", [pytest.param(False, id="fresh"), pytest.param(True, id="anchors-kept")])
def test_yolov8n_against_ultralytics(ran: bool) -> None:
    tasks = pytest.importorskip("ultralytics.nn.tasks")
    from ultralytics.utils.torch_utils import get_flops

    model = tasks.DetectionModel("yolov8n.yaml", nc=80, verbose=False).eval()
    ultralytics_gflops = get_flops(model, 640)
    if ran:
        with torch.no_grad():
            model(torch.zeros(1, 3, 640, 640))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        counted = count(model, 640)
        began = time.process_time()
        count(model, 640)
    assert time.process_time() - began < 3.0
    assert counted.parameters == 3_157_200
    assert counted.gflops == pytest.approx(8.7, abs=0.06)  # ultralytics' published figure
    # ultralytics adds 8 operations per element of every batch norm, 0.11 here
    assert counted.gflops == pytest.approx(ultralytics_gflops, rel=0.02)
    assert counted.gflops < ultralytics_gflops


class Swin(nn.Module):
    """A block of one's own: its ``flops`` takes other arguments, a block inside it counts itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.inner = ShiftBlock(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.conv(x))

    def flops(self) -> int:
        return 0


class WithBlocks(Net):
    def blocks(self) -> dict[str, nn.Module]:
        return {"site": self.blocks_[0]}

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.blocks_ = self._modules.pop("blocks")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks_(self.norm(self.stem(x))).mean((2, 3)))


def test_an_inserted_block_without_a_count_of_its_own_is_a_site() -> None:
    counted = count(WithBlocks(Swin(8)), 32)
    (site,) = counted.sites
    own = 2 * 16 * 16 * 64 + ShiftBlock(8).flops(16, 16)
    assert (site.kind, site.flops, site.published_flops, site.parameters) == ("Swin", own, own, 64 + 64)
    assert counted.gflops_block == pytest.approx(own / 1e9, rel=1e-12)
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + own) / 1e9, rel=1e-12)


class Branches(nn.Module):
    """Two branches in training, one convolution in inference."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 1, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(branch(x) for branch in self.branches)  # type: ignore[return-value]


class Fusing(Net):
    def fuse(self) -> None:
        block = self.blocks[0]
        block.branches[0].weight.data += block.branches[1].weight.data
        del block.branches[1]


def test_what_is_counted_is_the_fused_network() -> None:
    counted = count(Fusing(Branches(8)), 32)
    assert (counted.parameters, counted.parameters_fused) == (
        count(Net(), 32).parameters + 128,
        counted.parameters - 64,
    )
    assert counted.gflops == pytest.approx((Net.CONV + Net.LINEAR + 2 * 16 * 16 * 64) / 1e9, rel=1e-12)
