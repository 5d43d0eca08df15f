"""Files of pretrained weights: what counts as a whole checkpoint, and where a name is looked up."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acmix_exp.config import ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo import pretrained
from acmix_exp.yolo.families import MODELS

LARGE, SMALL = [name for name, features in MODELS.items() if features]


def test_a_truncated_checkpoint_is_detected(tmp_path: Path) -> None:
    whole, cut, text = (tmp_path / name for name in ("whole.pt", "cut.pt", "text.pt"))
    torch.save({"weight": torch.zeros(1000)}, whole)
    cut.write_bytes(whole.read_bytes()[:-100])
    text.write_text("not weights")
    assert pretrained.is_checkpoint(whole)
    assert not any(map(pretrained.is_checkpoint, (cut, text, tmp_path / "missing.pt", tmp_path)))


def test_a_name_is_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained._find.cache_clear()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: (tmp_path / "other").open("rb"))
    named = ModelConfig(name=LARGE, pretrained="DEFAULT")
    with pytest.raises(ConfigError, match=r"^model\.pretrained=DEFAULT: not on this machine, .*path of a copy$"):
        pretrained.find_pretrained(named)
    (tmp_path / "other").write_bytes(b"another file")
    with pytest.raises(ConfigError, match="the download failed \\(checksum mismatch\\)"):
        pretrained.find_pretrained(named)
    assert not list((tmp_path / "cache").rglob("*.pth"))
    file = tmp_path / "hub" / "checkpoints" / "mobilenet_v3_large-5c1a4163.pth"
    file.parent.mkdir(parents=True)
    file.touch()
    for name in ("DEFAULT", "IMAGENET1K_V2", "MobileNet_V3_Large_Weights.IMAGENET1K_V2"):
        assert pretrained.find_pretrained(replace(named, pretrained=name)) == file.resolve()
    with pytest.raises(ConfigError, match=r"IMAGENET: no such file; .* IMAGENET1K_V1 or DEFAULT$"):
        pretrained.find_pretrained(ModelConfig(name=SMALL, pretrained="IMAGENET"))


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"pretrained=no\.pt: no such file; must be .* yolov8n\.pt to yolov8x\.pt$"):
        pretrained.find_pretrained(ModelConfig(pretrained="no.pt"))
