"""SimAM as its equations say: every pixel's energy against the others of its channel."""

from __future__ import annotations

from torch import Tensor

from acmix_exp.nn.simam import SimAM


def forward(block: SimAM, x: Tensor) -> Tensor:
    n = max(x.shape[2] * x.shape[3] - 1, 1)
    d = (x - x.mean(dim=[2, 3], keepdim=True)).pow(2)
    v = d.sum(dim=[2, 3], keepdim=True) / n
    inverse_energy = d / (4 * (v + block.e_lambda)) + 0.5
    return x * inverse_energy.sigmoid()


FORWARDS = {SimAM: forward}
