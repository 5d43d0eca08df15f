"""Train arguments that are refused without asking ultralytics."""

from typing import Any

import pytest
from ultralytics.utils import DEFAULT_CFG_DICT

from acmix_exp.config import ModelConfig
from acmix_exp.yolo.arguments import refused


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


def test_valid_extra_arguments() -> None:
    assert [refused({"freeze": value}, ModelConfig()) for value in (0, 22, [0, 1], ["23.cv2"], None)] == [[]] * 5
    assert [refused({"cache": value}, ModelConfig()) for value in ("ram", True, False, None)] == [[]] * 4
    free = ("cache", "copy_paste_mode", "freeze", "mosaic", "lrf")
    assert refused({key: DEFAULT_CFG_DICT[key] for key in free}, ModelConfig()) == []
