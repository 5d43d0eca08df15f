"""Several processes on gloo give the gradients of one process, and use every parameter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from acmix_exp.nn import ACmix

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")
PATHS = ("mixed", "attention", "conv")
WORLD = 2


def block(path: str) -> nn.Module:
    torch.manual_seed(0)
    return ACmix(8, 8, kernel_att=5, head=2, path=path)


def images() -> Tensor:
    return torch.randn(2 * WORLD, 8, 7, 6, generator=torch.Generator().manual_seed(1))


def worker(rank: int, folder: str, world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world)
    gradients = {}
    try:
        for path in PATHS:
            network = DistributedDataParallel(block(path), find_unused_parameters=False)
            for _ in range(2):  # a parameter without a gradient is missed in the second step
                network.zero_grad()
                network(images().chunk(world)[rank]).square().mean().backward()
            gradients[path] = {name: p.grad for name, p in network.module.named_parameters()}
        if rank == 0:
            torch.save(gradients, Path(folder) / "gradients.pt")
    finally:
        dist.destroy_process_group()


def check(folder: Path) -> None:
    gradients = torch.load(folder / "gradients.pt")
    for path in PATHS:
        network = block(path)
        network(images()).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            torch.testing.assert_close(gradients[path][name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_one_process(tmp_path: Path) -> None:
    worker(0, str(tmp_path), world=1)
    check(tmp_path)


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    mp.start_processes(worker, (str(tmp_path), WORLD), nprocs=WORLD, start_method="spawn")
    check(tmp_path)
