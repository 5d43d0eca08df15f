"""Train arguments that are refused without asking ultralytics."""

from typing import Any

import pytest
from ultralytics.utils import DEFAULT_CFG_DICT

from acmix_exp.config import ModelConfig
from acmix_exp.yolo.arguments import refused
from acmix_exp.yolo.families import FAMILIES


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("epochs", "many", "set by train.epochs"),
        ("save_dir", "x", "set by the run directory"),
        ("cache", "Disk", "would write beside the images; must be ram or false"),
        ("cache", "disc", "must be ram or false"),
        ("copy_paste_mode", "mix", "must be flip or mixup"),
        ("freeze", "abc", "must be how many layers from the first, 0 to 22, or a list"),
        ("freeze", 23, "must be how many"),
        ("freeze", True, "must be how many"),
        ("freeze", [1.5], "must be how many"),
    ],
)
def test_lines(name: str, value: Any, cure: str) -> None:
    (line,) = refused({name: value}, ModelConfig())
    assert line.startswith(f"train.extra.{name}={value}: {cure}")


@pytest.mark.parametrize(
    ("family", "name", "value", "line"),
    [
        ("rtdetr", "rect", True, "the training of RT-DETR does not use it; leave it out"),
        ("rtdetr", "dfl", 2.0, "the training of RT-DETR does not use it; leave it out"),
        ("yolov8", "nms", False, "yolov8n has one head, which needs it; leave it out"),
        ("yolo26", "freeze", 24, "must be how many layers from the first, 0 to 23"),
    ],
)
def test_lines_of_a_family(family: str, name: str, value: Any, line: str) -> None:
    (found,) = refused({name: value}, ModelConfig(family, FAMILIES[family].scales[0]))
    assert found.startswith(f"train.extra.{name}={str(value).lower() if name == 'nms' else value}: {line}")
    assert refused({"nms": False}, ModelConfig("yolo26")) == refused({"nms": False}, ModelConfig("yolov10")) == []


def test_valid_extra_arguments() -> None:
    assert [refused({"freeze": value}, ModelConfig()) for value in (0, 22, [0, 1], ["23.cv2"], None)] == [[]] * 5
    assert [refused({"cache": value}, ModelConfig()) for value in ("ram", True, False, None)] == [[]] * 4
    free = ("cache", "copy_paste_mode", "freeze", "mosaic", "lrf")
    assert refused({key: DEFAULT_CFG_DICT[key] for key in free}, ModelConfig()) == []
