"""Against ultralytics' own check of its arguments, which the module under test never imports."""

import subprocess
import sys
from typing import Any

import pytest
from ultralytics import cfg
from ultralytics.utils import DEFAULT_CFG_DICT

from acmix_exp.yolo.arguments import OWNED_ARGS, RULES, defaults, faults, in_fraction, refused, types

VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 300, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, float("nan"), float("inf")),
    *("", "abc", "0.5", "flip", [], [0.5, 0.5], [1, 0.5], [0, 1], [10, 5, 0], [2, 1.5], [1, 2, 3, 4], ["a", "b"]),
]
NOT_HEEDED = ("freeze", "cache", "copy_paste_mode")  # wrong values are taken, and ignored or fatal later


def test_read_as_imported() -> None:
    for kind in ("FLOAT", "FRACTION", "INT", "BOOL", "STR"):
        assert types()[kind] == getattr(cfg, f"CFG_{kind}_KEYS")
        assert types()[kind]
    assert types()["INT_MIN"] == cfg.CFG_INT_MIN
    assert defaults() == DEFAULT_CFG_DICT


def test_ultralytics_defaults_are_fine() -> None:
    assert faults(dict(DEFAULT_CFG_DICT)) == []


@pytest.mark.parametrize("name", sorted(set(DEFAULT_CFG_DICT) - set(OWNED_ARGS) - set(NOT_HEEDED)))
def test_refused_where_ultralytics_refuses(name: str) -> None:
    for value in VALUES:
        try:
            cfg.check_cfg({name: value})
        except (TypeError, ValueError):
            fine = False
        else:
            fine = True
        lines = faults({name: value})
        assert (lines == []) == fine, (name, value)
        assert all(line.startswith(f"train.extra.{name}={value}: must be ") for line in lines)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("lrf", 5, "must be a number from 0 to 1"),
        ("box", "abc", "must be a number"),
        ("close_mosaic", 2.5, "must be a whole number"),
        ("max_det", 0, "must be a whole number from 1"),
        ("rect", 1, "must be true or false"),
        ("freeze", "abc", "must be how many layers from the first, 0 to 22, or a list"),
        ("freeze", 23, "must be how many"),
        ("cache", "disc", "must be ram or false"),
        ("copy_paste_mode", "mix", "must be flip or mixup"),
        ("mosiac", 0.5, "no such ultralytics argument; did you mean train.extra.mosaic?"),
        ("zzz", 1, "no such ultralytics argument; see ultralytics' train arguments"),
    ],
)
def test_lines(name: str, value: Any, right: str) -> None:
    (line,) = faults({name: value})
    assert line.startswith(f"train.extra.{name}={value}: {right}")


def test_freeze_and_cache() -> None:
    assert [faults({"freeze": value}) for value in (0, 22, [0, 1], ["23.cv2"], None)] == [[]] * 5
    assert [faults({"cache": value}) for value in ("ram", True, False, None)] == [[]] * 4
    assert set(RULES) <= set(defaults())


def test_owned_arguments_are_told_once() -> None:
    extra = {"epochs": "many", "save_dir": "x", "cache": "Disk"}
    assert faults(extra) == []
    assert [line.split("=")[0] for line in refused(extra)] == [f"train.extra.{key}" for key in extra]


def test_in_fraction() -> None:
    assert in_fraction("lr0", 1)
    assert not in_fraction("lr0", 1.5)
    assert not in_fraction("lr0", float("nan"))
    assert in_fraction("box", 7.5)


def test_without_importing_ultralytics() -> None:
    code = """
import sys
from acmix_exp.yolo.arguments import faults
assert faults({"lrf": 5})
assert not {"torch", "ultralytics"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
