"""The keypoints that a data.yaml describes: kpt_shape, flip_idx, kpt_oks_sigmas and kpt_names."""

from __future__ import annotations

import math
from typing import Any

from acmix_exp.data.dataset import Keypoints
from acmix_exp.errors import ConfigError

_SHAPE = "must be [keypoints, 2 or 3 values of each], as in kpt_shape: [17, 3]"


def read_keypoints(data: dict[str, Any], setting: str, classes: int) -> Keypoints:
    """The keypoints of a data.yaml for ``model.task=pose``. Raises ConfigError that names ``setting``."""
    shape = data.get("kpt_shape")
    if shape is None:
        raise ConfigError(f"{setting}: no key kpt_shape, which model.task=pose needs; {_SHAPE}")
    whole = isinstance(shape, list) and len(shape) == 2 and all(type(number) is int for number in shape)
    if not whole or shape[0] < 1 or shape[1] not in (2, 3):
        raise ConfigError(f"{setting}: kpt_shape is {shape}; {_SHAPE}")
    count, values = shape
    flip = data.get("flip_idx") or []
    if not isinstance(flip, list) or (flip and sorted(map(str, flip)) != sorted(map(str, range(count)))):
        right = f"must be a list of 0 to {count - 1}, each once: the keypoint that each one is in a mirrored image"
        raise ConfigError(f"{setting}: flip_idx is {flip}; {right}")
    flip = list(map(int, flip))
    for keypoint, other in enumerate(flip):
        if flip[other] != keypoint:
            wrong = f"keypoint {keypoint} is {other} in a mirrored image, and {other} is {flip[other]}"
            raise ConfigError(f"{setting}: flip_idx is {flip}: {wrong}; mirrored twice, an image must be as before")
    sigmas = data.get("kpt_oks_sigmas") or []
    if not isinstance(sigmas, list) or (sigmas and (len(sigmas) != count or not all(map(_positive, sigmas)))):
        raise ConfigError(f"{setting}: kpt_oks_sigmas is {sigmas}; must be {count} numbers above 0")
    names = _names(data.get("kpt_names"), setting, count, classes)
    return Keypoints(count, values, tuple(flip), tuple(map(float, sigmas)), names)


def _names(given: Any, setting: str, count: int, classes: int) -> tuple[tuple[str, ...], ...]:
    """By class the names of its keypoints; empty if there are none."""
    if not given:
        return ()
    of_class = given if isinstance(given, dict) else {}
    names = tuple(tuple(map(str, of_class.get(index) or ())) for index in range(classes))
    if wrong := [index for index, each in enumerate(names) if len(each) != count]:
        right = f"must have a list of {count} names for each class, 0 to {classes - 1}, or be left out"
        raise ConfigError(f"{setting}: kpt_names has {len(names[wrong[0]])} for class {wrong[0]}; {right}")
    return names


def _positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
