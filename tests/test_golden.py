"""Every module against outputs and gradients of its reference, computed in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import golden_adapter

GOLDEN = Path(__file__).with_name("golden")
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
CASES = sorted(name for name, entry in MANIFEST.items() if "output_shape" in entry and golden_adapter.knows(entry))


def load(name: str) -> dict[str, np.ndarray]:
    entry = MANIFEST[name]
    files = [entry["file"], *(extra["file"] for extra in entry.get("extra_files", ()))]
    return {key: array for file in files for key, array in np.load(GOLDEN / file).items()}


def check(what: str, actual: torch.Tensor | None, expected: np.ndarray) -> None:
    """Within 1e-9 of the largest value, 1e-6 where the array is stored as float32."""
    assert actual is not None, what
    tolerance = 1e-9 if expected.dtype == np.float64 else 1e-6
    largest = np.abs(expected).max()
    error = np.abs(actual.detach().numpy() - expected).max()
    # a gradient that cancels is rounding noise in the reference too
    assert error <= tolerance * max(largest, 1e-3), f"{what}: {error / largest:.3g} of {largest:.3g}"


def loss(out: torch.Tensor) -> torch.Tensor:
    return (out.flatten() * torch.cos(0.7 * torch.arange(out.numel(), dtype=torch.float64))).sum()


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    entry, arrays = MANIFEST[name], load(name)
    module, forward = golden_adapter.build(entry, arrays)
    assert not module.training
    x = torch.from_numpy(arrays["input"]).double().requires_grad_()
    out = forward(x)
    check("output", out, arrays["output"])
    loss(out).backward()
    check("grad_input", x.grad, arrays["grad_input"])
    parameters = dict(module.named_parameters())
    for key in arrays:
        if key.startswith("grad/"):
            check(key, parameters[key.removeprefix("grad/")].grad, arrays[key])
