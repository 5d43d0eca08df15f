from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.errors import ConfigError
from acmix_exp.yolo.model import build_model
from acmix_exp.yolo.pretrained import check_checkpoint, is_checkpoint
from tests.yolo.builders import make_config


@pytest.fixture(scope="module")
def stock() -> DetectionModel:
    return DetectionModel("yolov8n.yaml", nc=2, verbose=False)


def test_a_checkpoint_passes(stock: DetectionModel, tmp_path: Path) -> None:
    path = tmp_path / "any.pt"
    for model in (stock, build_model(make_config(), nc=2)):
        # as in a checkpoint, where other things have the names that the network's YAML has
        torch.save({"epoch": -1, "best": "n", "train_args": {"scale": 0.5, "name": "s"}, "model": model}, path)
        check_checkpoint(path)
        check_checkpoint(path, scale="n")
        with pytest.raises(ConfigError, match=r"any\.pt: weights of scale n; must be of model\.scale=s$"):
            check_checkpoint(path, scale="s")


def test_a_checkpoint_without_a_scale(stock: DetectionModel, tmp_path: Path) -> None:
    path = tmp_path / "layer.pt"
    torch.save({"model": stock.model[0]}, path)
    check_checkpoint(path, scale="x")


def test_files_that_are_no_checkpoint(stock: DetectionModel, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save({"model": stock}, whole)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:-500])
    text = tmp_path / "text.pt"
    text.write_text("not weights")
    renamed = tmp_path / "whole.zip"
    renamed.write_bytes(whole.read_bytes())
    script = tmp_path / "script.pt"
    torch.jit.script(torch.nn.Identity()).save(str(script))
    bare = tmp_path / "bare.pt"
    torch.save({"model": stock.state_dict(), "train_args": {"project": "ultralytics"}}, bare)
    assert is_checkpoint(bare)
    for path in (cut, text, renamed, script, bare, tmp_path / "missing.pt", tmp_path):
        with pytest.raises(ConfigError, match=r"^model\.pretrained=.*must be a"):
            check_checkpoint(path)
