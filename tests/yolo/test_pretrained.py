"""Files of pretrained weights: what counts as a whole checkpoint, and where a name is looked up."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acmix_exp.config import ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo import pretrained
from acmix_exp.yolo.families import FAMILIES

LARGE, SMALL = [name for name, family in FAMILIES.items() if family.backbone]


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
    named = ModelConfig(family=LARGE, pretrained="DEFAULT")
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
        pretrained.find_pretrained(ModelConfig(family=SMALL, pretrained="IMAGENET"))


@pytest.mark.parametrize(
    ("family", "variant", "names"),
    [
        ("yolov8", None, ", or yolov8n.pt to yolov8x.pt"),
        ("yolov5", None, ", or yolov5nu.pt to yolov5xu.pt"),
        ("yolov5", "p6", ", or yolov5n6u.pt to yolov5x6u.pt"),
        ("yolov9", None, ", or yolov9t.pt to yolov9e.pt"),
        ("rtdetr", None, ", or rtdetr-l.pt to rtdetr-x.pt"),
        ("yolo26", "p2", ""),
    ],
)
def test_a_path_that_is_not_there(family: str, variant: str | None, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pretrained.find_pretrained(ModelConfig(family, variant=variant, pretrained="no.pt"))
    assert str(caught.value) == f"model.pretrained=no.pt: no such file; must be a checkpoint's path{names}"


def test_the_names_of_weights_are_those_of_ultralytics() -> None:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    for family in FAMILIES.values():
        for variant in (None, *family.variants):
            assert set(family.checkpoints(variant).values()) <= GITHUB_ASSETS_NAMES
