"""The timed training steps are those of the same network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from acmix_exp.nn import ACmix
from benchmarks import train_step
from benchmarks.verify import WrongResult

pytestmark = pytest.mark.slow
CASE = train_step.TrainCase(2, "n", "bottleneck_p4p5", 128)


@pytest.mark.parametrize(
    "case", [CASE, replace(CASE, placement="backbone_p3p4p5", family="yolo26")], ids=lambda case: case.family
)
def test_all_steps_have_the_gradients_of_their_network(case: train_step.TrainCase) -> None:
    losses = {}
    for name in train_step.names("cpu", False):
        step = train_step.prove(name, case)
        found = step.contender.gradients(step.output_gradient)
        assert all(tensor.isfinite().all() for tensor in found.values())
        losses[name] = found["output"]
    torch.testing.assert_close(losses["acmix_exp"], losses["published"], rtol=1e-4, atol=0)
    assert not torch.allclose(losses["acmix_exp"], losses["stock"], rtol=1e-4)


def test_a_wrong_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(self: ACmix, x: torch.Tensor) -> torch.Tensor:
        return right(self, x) + 1e-2 * x

    right = ACmix.forward
    monkeypatch.setattr(ACmix, "forward", forward)
    with pytest.raises(WrongResult, match="acmix_exp"):
        train_step.prove("acmix_exp", CASE)


def test_the_published_form_replaces_every_block() -> None:
    def kinds(network: nn.Module) -> list[str]:
        return [type(module).__name__ for module in network.modules() if hasattr(module, "rate1")]

    assert kinds(train_step._network("stock", CASE)) == []
    ours, published = (kinds(train_step._network(name, CASE)) for name in ("acmix_exp", "published"))
    assert set(ours) == {"ACmix"}
    assert published == ["PublishedACmix"] * len(ours)
