"""Restricted loading allows what the blocks are made of, in every form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from acmix_exp.nn import build_block
from acmix_exp.yolo.safe_globals import register
from benchmarks.block_costs import variants


@pytest.mark.parametrize(("name", "options"), variants(), ids=lambda value: value if isinstance(value, str) else None)
def test_a_block_is_allowed(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    register()
    torch.save(build_block(name, 16, **options), tmp_path / "block.pt")
    needed = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "block.pt")
    # ultralytics allows the modules of torch.nn itself
    assert [found for found in needed if not found.startswith("torch.nn.modules.")] == []
