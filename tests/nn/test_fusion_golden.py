"""Fused convolutions against the weights, and MobileNetV3 against the maps, that the references have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acmix_exp.nn.fusion import fuse
from tests import golden_adapter
from tests.golden.fusion_mobilenet import generated_image

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
MANIFEST: dict[str, Any] = json.loads((GOLDEN / "manifest.json").read_text())


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float = 1e-9) -> bool:
    return bool(np.abs(actual.detach().numpy() - expected).max() <= tolerance * np.abs(expected).max())


@pytest.mark.parametrize("name", sorted(name for name in MANIFEST if name.startswith("convbn_")))
def test_fused_weights(name: str) -> None:
    arrays = np.load(GOLDEN / MANIFEST[name]["file"])
    _, fused = golden_adapter.build(MANIFEST[name], arrays)
    assert close(fused.weight, arrays["fused/weight"])
    assert close(fused.bias, arrays["fused/bias"])


@pytest.mark.parametrize("fused", [False, True], ids=["as trained", "fused"])
@pytest.mark.parametrize("network", ["large", "small"])
def test_mobilenet_v3(network: str, fused: bool) -> None:
    entry = MANIFEST[f"mobilenet_v3_{network}_96x64"]
    arrays = np.load(GOLDEN / entry["file"])
    module, forward = golden_adapter.build(entry, arrays)
    assert close(module.state_dict()["0.0.weight"].flatten()[:8], arrays["spot/0.0.weight"])
    assert sum(p.numel() for p in module.parameters()) == entry["params_features"]
    if fused:
        norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())
        fuse(module)
        assert norms == {"large": 46, "small": 34}[network]
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())
    image = generated_image(arrays["input"]).requires_grad_()
    maps = forward(image)
    for name, found in zip(entry["outputs"], maps, strict=True):
        assert close(found, arrays[name]), name
    sum((m.flatten() * torch.cos(0.7 * torch.arange(m.numel(), dtype=m.dtype))).sum() for m in maps[:3]).backward()
    assert close(image.grad, arrays["grad_input"], 1e-6)
