"""The layers of timm as blocks. Without timm, a module of the same names stands in for it."""

from __future__ import annotations

import io
import sys
import types
import zipfile
from importlib.machinery import ModuleSpec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acmix_exp import block_rules
from acmix_exp.block_rules import TIMM_LAYERS, library_faults, option_faults
from acmix_exp.config import block_label
from acmix_exp.nn import build_block
from acmix_exp.yolo.pickle_scan import scan
from acmix_exp.yolo.preflight import block_faults
from tests.extras import needs_timm

WITHOUT = "block=timm: timm is not installed; pip install 'acmix_exp[timm]'"


class Gate(nn.Conv2d):
    """What the stand-in gives for any name: a convolution that halves the map for a ``stride`` of 2."""

    def __init__(self, channels: int, rd_ratio: float = 0.0625, stride: int = 1) -> None:
        super().__init__(channels, channels, 1, stride)
        self.rd_ratio = rd_ratio

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid() * (x if self.stride == (1, 1) else 1)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    timm, layers = types.ModuleType("timm"), types.ModuleType("timm.layers")
    timm.__spec__ = ModuleSpec("timm", None, origin="stand-in")
    layers.create_attn = lambda name, channels, **options: Gate(channels, **options)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.layers", layers)


def faults(**options: Any) -> list[str]:
    return block_faults({"name": "timm", "layer": "se", **options}, [16, 24])


def test_without_timm_it_is_refused_by_the_name_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_rules, "find_spec", lambda name: None)
    assert library_faults({"name": "timm", "layer": "se"}) == [WITHOUT]
    assert library_faults({"name": "acmix"}) == library_faults({}) == []


def test_a_folder_called_timm_is_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_rules, "find_spec", lambda name: ModuleSpec(name, None))
    assert library_faults({"name": "timm"}) == [WITHOUT]


def test_options_go_to_timm(stand_in: None) -> None:
    assert library_faults({"name": "timm"}) == []
    block = build_block("timm", 16, layer="eca", rd_ratio=0.5)
    assert block.rd_ratio == 0.5
    assert option_faults("timm", {"layer": "eca", "rd_ratio": 0.5}) == []
    assert faults(rd_ratio=0.5) == []
    assert block_label({"name": "timm", "layer": "eca", "rd_ratio": 0.5}) == "timm-eca"


def test_a_layer_that_changes_the_shape_is_refused(stand_in: None) -> None:
    (line,) = faults(stride=2)
    assert line == (
        "block=timm block.layer=se: se(16) on a map of 8 x 8 gives (2, 16, 4, 4) torch.float32; must keep the "
        "shape and dtype, (2, 16, 8, 8) torch.float32"
    )


def test_an_option_that_timm_refuses_is_one_line(stand_in: None) -> None:
    (line,) = faults(ratio=1)
    assert line.startswith("block=timm: cannot be built for 16 channels (")
    assert "'ratio'" in line


def test_only_layers_that_keep_every_map_are_offered() -> None:
    (line,) = option_faults("timm", {"layer": "halo"})
    assert line == f"block.layer=halo: must be one of {', '.join(TIMM_LAYERS)}"


@needs_timm
@pytest.mark.parametrize("layer", TIMM_LAYERS)
def test_every_layer_passes_the_preflight(layer: str) -> None:
    assert faults(layer=layer) == []


@needs_timm
@pytest.mark.parametrize("layer", TIMM_LAYERS)
def test_every_layer_can_be_read_by_restricted_unpickling(layer: str) -> None:
    saved = io.BytesIO()
    torch.save(build_block("timm", 16, layer=layer), saved)
    with zipfile.ZipFile(saved) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        assert scan(archive.read(name)).foreign() == []


@needs_timm
def test_a_stride_is_refused() -> None:
    (line,) = faults(layer="lambda", stride=2)
    assert "must keep the shape" in line
