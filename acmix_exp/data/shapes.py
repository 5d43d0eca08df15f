"""The embedded data set: generated once, the same bytes everywhere, in YOLO layout."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from acmix_exp.data.folders import appearing
from acmix_exp.data.png import encode_png
from acmix_exp.data.scene import NAMES, draw_scene

VERSION = 1  # part of the folder's name: raise it with every change of the pictures
COUNTS = {"train": 200, "val": 64}
_FIRST_SEED = {"train": 10_000, "val": 20_000}


def make_shapes(root: Path) -> Path:
    """Return ``root/shapes-v1/data.yaml``, generating the folder where it is missing or incomplete.

    Safe for several processes at once: each generates apart and the first to finish is kept. Raises OSError.
    """
    folder = root / f"shapes-v{VERSION}"
    if not _complete(folder):
        if folder.exists():
            _throw_away(folder)
        with appearing(folder) as made:
            _generate(made)
    return folder / "data.yaml"


def _generate(folder: Path) -> None:
    for split, count in COUNTS.items():
        images, labels = folder / "images" / split, folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for index in range(count):
            pixels, boxes = draw_scene(np.random.RandomState(_FIRST_SEED[split] + index))
            (images / f"{index:04}.png").write_bytes(encode_png(pixels))
            rows = (f"{int(row[0])} " + " ".join(f"{value:.8f}" for value in row[1:]) for row in boxes)
            (labels / f"{index:04}.txt").write_text("".join(f"{row}\n" for row in rows))
    names = "".join(f"  {index}: {name}\n" for index, name in NAMES.items())
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")


def _complete(folder: Path) -> bool:
    if not (folder / "data.yaml").is_file():
        return False
    for split, count in COUNTS.items():
        for kind in ("images", "labels"):
            place = folder / kind / split
            if not place.is_dir() or len(os.listdir(place)) < count:
                return False
    return True


def _throw_away(folder: Path) -> None:
    """Move a damaged folder aside in one step, so that no other process ever sees it half deleted."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
    try:
        os.rename(folder, aside / "damaged")
    except FileNotFoundError:
        pass  # another process was quicker
    finally:
        shutil.rmtree(aside, ignore_errors=True)
