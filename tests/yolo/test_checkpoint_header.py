from pathlib import Path

import pytest
import torch

from acmix_exp.config import ConfigError
from acmix_exp.yolo.checkpoint_header import check_checkpoint


def test_a_checkpoint_passes(tmp_path: Path) -> None:
    path = tmp_path / "any.pt"
    torch.save({"model": torch.zeros(4)}, path)
    check_checkpoint(path)


def test_what_is_none(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save({"model": torch.zeros(1000)}, whole)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:-500])
    text = tmp_path / "text.pt"
    text.write_text("not weights")
    renamed = tmp_path / "whole.zip"
    renamed.write_bytes(whole.read_bytes())
    script = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Identity()).save(str(script))
    for path in (cut, text, renamed, script, tmp_path / "missing.pt", tmp_path):
        with pytest.raises(ConfigError, match=r"^model\.pretrained=.*must be a"):
            check_checkpoint(path)
