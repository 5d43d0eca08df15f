"""What the labels of a data set are like: boxes by class, their sizes and their centres; for a figure of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from acmix_exp.data.scan import Scan
from acmix_exp.files import write_json

VERSION = 1  # of the file
GRID = 24  # cells of the map of centres, along each side of the image
OCTAVES, BINS = 9, 27  # sizes from 2**-9 of the longer side of the image to all of it, in thirds of an octave


def label_statistics(names: Mapping[int, str], scans: Mapping[str, Scan], *, of_images: bool = False) -> dict[str, Any]:
    """Of each split: ``images``, ``boxes`` [C] by class, ``sizes`` [BINS] and ``centres`` [GRID][GRID], counts.

    of_images: the images have a class each, and ``boxes`` is their number; there are no sizes and centres.

    A size is the square root of a box's area over the longer side of its image; bin i begins at
    2 ** (i * OCTAVES / BINS - OCTAVES), and smaller boxes are in the first one. Centres are by row, from the top left.
    """
    return {
        "version": VERSION,
        "classes": list(names.values()),
        "splits": {split: _split(scan, len(names), of_images) for split, scan in scans.items()},
    }


def _split(scan: Scan, classes: int, of_images: bool) -> dict[str, Any]:
    if of_images:
        counts = np.bincount(scan.boxes[:, 0].astype(int), minlength=classes)
        return {"images": int(scan.readable.sum()), "boxes": counts.tolist()}
    label, x, y, width, height = scan.boxes[:, :5].T
    sides = np.repeat(scan.sizes.astype(np.float64), scan.counts, axis=0)
    size = np.sqrt(width * height * sides[:, 0] * sides[:, 1]) / sides.max(1)
    octave = np.log2(np.maximum(size, 2.0**-OCTAVES)) + OCTAVES
    bins = np.minimum((octave * BINS / OCTAVES).astype(int), BINS - 1)
    cells = [np.clip((value * GRID).astype(int), 0, GRID - 1) for value in (y, x)]
    centres = np.bincount(cells[0] * GRID + cells[1], minlength=GRID * GRID).reshape(GRID, GRID)
    return {
        "images": int(scan.readable.sum()),
        "boxes": np.bincount(label.astype(int), minlength=classes).tolist(),
        "sizes": np.bincount(bins, minlength=BINS).tolist(),
        "centres": centres.tolist(),
    }


def statistics_file(folder: Path, fingerprint: str) -> Path:
    """The file of a data set in an experiment's folder."""
    return folder / f"labels-{fingerprint[:16]}.json"


def store(folder: Path, fingerprint: str, statistics: dict[str, Any]) -> None:
    """Write the file unless it is there: the fingerprint stands for its content. Raises OSError."""
    path = statistics_file(folder, fingerprint)
    if not path.exists():
        write_json(path, statistics)
