"""ACmix against outputs and gradients of the published module, computed in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.nn import ACmix

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())
CASES = sorted(name for name in MANIFEST if name.startswith("acmix_c") or "branches" in name)
BACKENDS = ("auto", "reference", "shift", "tile")


def load(name: str) -> dict[str, np.ndarray]:
    files = [MANIFEST[name]["file"], *(extra["file"] for extra in MANIFEST[name].get("extra_files", ()))]
    return {key: array for file in files for key, array in np.load(GOLDEN / file).items()}


def module(name: str, arrays: dict[str, np.ndarray], **options: Any) -> ACmix:
    block = ACmix(**MANIFEST[name]["config"], **options).double()
    weights = {key[6:]: torch.from_numpy(array) for key, array in arrays.items() if key.startswith("param/")}
    kept = block.state_dict().keys()
    block.load_state_dict({key: value for key, value in weights.items() if key in kept or not options.get("path")})
    return block


def check(what: str, actual: torch.Tensor | None, expected: np.ndarray) -> None:
    assert actual is not None, what
    tolerance = 1e-9 if expected.dtype == np.float64 else 1e-6
    largest = np.abs(expected).max()
    error = np.abs(actual.detach().numpy() - expected).max()
    assert error <= tolerance * max(largest, 1e-3), f"{what}: {error / largest:.3g} of {largest:.3g}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, backend: str) -> None:
    arrays = load(name)
    block = module(name, arrays, backend=backend)
    x = torch.from_numpy(arrays["input"]).double().requires_grad_()
    out = block(x)
    check("output", out, arrays["output"])
    (out.flatten() * torch.cos(0.7 * torch.arange(out.numel(), dtype=torch.float64))).sum().backward()
    check("grad_input", x.grad, arrays["grad_input"])
    for key, parameter in block.named_parameters():
        check(key, parameter.grad, arrays[f"grad/{key}"])


@pytest.mark.parametrize(("path", "extra", "rate"), [("attention", "out_att", "rate1"), ("conv", "out_conv", "rate2")])
def test_a_path_is_its_branch_of_the_mixture(path: str, extra: str, rate: str) -> None:
    name = next(name for name in CASES if "branches" in name)
    arrays = load(name)
    block = module(name, arrays, path=path)
    with torch.no_grad():
        out = block(torch.from_numpy(arrays["input"]).double())
    check(path, out, arrays[f"extra/{extra}"] * arrays[f"param/{rate}"].astype(np.float64))


def test_initial_weights() -> None:
    arrays = np.load(GOLDEN / MANIFEST["acmix_init_c16"]["file"])
    block = ACmix(16, 16)
    for key, array in arrays.items():
        value = block.dep_conv.weight if key == "dep_conv_weight" else getattr(block, key)
        np.testing.assert_array_equal(value.detach().numpy(), array)


def test_there_are_golden_files() -> None:
    assert len(CASES) == 3
