"""What is expected of an odd Pascal VOC folder, and the check of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import Dataset, inspect, read_split, resolve
from acmix_exp.errors import ConfigError
from tests.data.builders import VocSet
from tests.robustness.cases import Row, add

BOXES = {"cat": [0.1, 0.1, 0.2, 0.2], "dog": [0.5, 12.5 / 30, 0.5, 0.5]}  # of every image of a VocSet
ALL = {"train": 8, "val": 2}
SEEDED = "seeded split 80/20, seed 0"
LISTED = "lists train, val of ImageSets/Main"


@dataclass(frozen=True)
class Odd:
    """A change of a VocSet, and what is expected of the result."""

    have: str
    here: str
    change: Callable[[VocSet], object]  # may return the folder that is given as dataset.path
    images: dict[str, int] | None = None  # by split; None: refused
    made: str = SEEDED
    says: tuple[str, ...] = ()  # parts of the warnings, one each, or of the message if it is refused
    only: dict[str, dict[str, list[float] | None]] | None = None  # other boxes of images, by name; None: no such box
    reported: str = ""

    def __post_init__(self) -> None:
        add(Row("Pascal VOC", self.have, self.here, self.reported))


def config(path: Path, root: Path | None = None) -> DatasetConfig:
    return DatasetConfig(name="voc_xml", path=str(path), root=str(root) if root else None)


def boxes(dataset: Dataset) -> dict[str, dict[str, list[float]]]:
    """Boxes by stem of the image and class name."""
    return {
        sample.image.stem: {dataset.names[int(row[0])]: row[1:].tolist() for row in sample.boxes}
        for split in dataset.splits
        for sample in read_split(dataset, split)
    }


def check(odd: Odd, voc: VocSet) -> None:
    """Change the folder and compare what is read, or the message, with what is expected."""
    path = odd.change(voc)
    settings = config(path if isinstance(path, Path) and path.is_dir() else voc.root)
    if odd.images is None:
        with pytest.raises(ConfigError) as caught:
            resolve(settings)
        message = str(caught.value)
        assert message.startswith(f"dataset.path={settings.path}: ")
        assert "; must be " in message
        assert "\n" not in message
        assert all(part in message for part in odd.says)
        return
    dataset = resolve(settings)
    found = inspect(dataset)
    lines = [*found.warnings, *(f"{count} {problem}" for problem, count in found.problems.items())]
    assert found.images == odd.images
    assert dataset.split_made == odd.made
    assert [part for part in odd.says if not any(part in line for line in lines)] == []
    unexpected = [line for line in found.warnings if not any(part in line for part in odd.says)]
    assert unexpected == []
    assert not any("voc_xml" in line for line in found.warnings)
    for stem, rows in boxes(dataset).items():
        expected = {**BOXES, **(odd.only or {}).get(stem, {})}
        expected = {name: box for name, box in expected.items() if box is not None}
        assert rows.keys() == expected.keys(), stem
        for name, box in expected.items():
            np.testing.assert_allclose(rows[name], box, rtol=0, atol=1e-6, err_msg=f"{stem} {name}")
