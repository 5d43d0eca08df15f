"""Data sets laid out as coco8-seg, coco8-pose and dota8 of ultralytics are, with objects drawn at random.

Four images to train on and four for val; ``NAME.yaml`` beside the folder ``NAME``, as ultralytics ships it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

Points = np.ndarray  # float [n, 2], x and y in fractions of the image
STEMS = ("train/000000000009", "train/000000000025", "train/000000000030", "train/000000000034")
STEMS += ("val/000000000036", "val/000000000042", "val/000000000049", "val/000000000061")
TILES = ("train/P0861__1024__0___1648", "train/P1053__1024__0___90", "train/P1142__1024__0___824")
TILES += ("train/P1161__1024__3296___1648", "val/P0006__1024__0___0", "val/P0047__1024__0___0")
TILES += ("val/P0168__1024__0___0", "val/P2331__1024__0___0")
PARTS = {1: "left", 2: "right"}
JOINTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")  # of each side, behind the nose
MIRRORED = [0, *(2 * joint + side for joint in range(8) for side in (2, 1))]


def coco8_seg(root: Path) -> Path:
    """Polygons of up to 120 points, some of several parts that a line joins.

    80 classes, of which three have objects. One image of train has no label file, one of val an empty one. The last
    polygon of val/000000000061 covers most of its image.
    """
    random = np.random.default_rng(1)

    def row(label: int, points: Points) -> str:
        return f"{label} " + " ".join(f"{value:g}" for value in points.round(6).ravel())

    def rows(stem: str, image: np.ndarray) -> list[str] | None:
        if stem == STEMS[1]:
            return None
        found = []
        for number in range(0 if stem == STEMS[6] else 4):
            centre, radius = random.uniform(0.15, 0.85, 2), random.uniform(0.08, 0.2)
            polygon = _blob(random, centre, radius, int(random.integers(12, 120)))
            if number == 2:  # a part hidden by something else: two polygons, joined there and back
                other = _blob(random, np.clip(centre + 0.25, 0, 0.95), radius / 2, 20)
                polygon = np.concatenate([polygon, polygon[:1], other, other[:1], polygon[:1]])
            found.append(row((0, 24, 79)[number % 3], polygon))
            _fill(image, polygon, random)
        if stem == STEMS[-1]:
            found.append(row(0, _blob(random, np.array([0.5, 0.5]), 0.6, 60)))
        return found

    names = "".join(f"  {index}: thing {index}\n" for index in range(80))
    return _write(root, "coco8-seg", STEMS, (480, 640), rows, f"names:\n{names}")


def coco8_pose(root: Path, values: int = 3) -> Path:
    """Persons with 17 keypoints, written as COCO's: a keypoint that is not labelled is 0 0 0.

    values: of each keypoint; with 2 there is no visibility, and what is not labelled is -0.01 -0.01, as people write
    it. One person of val has no keypoint at all, one image of val has no person.
    """
    random = np.random.default_rng(2)

    def rows(stem: str, image: np.ndarray) -> list[str]:
        found = []
        for number in range(0 if stem == STEMS[6] else 2):
            width, height = random.uniform(0.2, 0.4), random.uniform(0.3, 0.6)
            x, y = random.uniform(width / 2, 1 - width / 2), random.uniform(height / 2, 1 - height / 2)
            points = np.array([x, y]) + random.uniform(-0.5, 0.5, (17, 2)) * [width, height]
            visible = random.choice([0, 1, 2], 17, p=[0.2, 0.2, 0.6])
            visible[0] = 2
            if (stem, number) == (STEMS[4], 1):
                visible[:] = 0
            _fill(
                image,
                np.array([[x, y - height / 2], [x + width / 2, y], [x, y + height / 2], [x - width / 2, y]]),
                random,
            )
            found.append(f"0 {x:.6f} {y:.6f} {width:.6f} {height:.6f}")
            for (u, v), shown in zip(points, visible, strict=True):
                if values == 3:
                    found[-1] += f" {u:.6f} {v:.6f} {shown:.6f}" if shown else " 0.000000 0.000000 0.000000"
                else:
                    found[-1] += f" {u:.6f} {v:.6f}" if shown else " -0.01 -0.01"
        return found

    joints = ["nose", *(f"{side}_{joint}" for joint in JOINTS for side in PARTS.values())]
    written = "".join(f"    - {joint}\n" for joint in joints)
    keys = f"kpt_shape: [17, {values}] # number of keypoints\nflip_idx: {MIRRORED}\n\nnames:\n  0: person\n"
    return _write(root, "coco8-pose", STEMS, (480, 640), rows, f"{keys}\nkpt_names:\n  0:\n{written}")


def dota8(root: Path) -> Path:
    """Rotated boxes on tiles of 1024 pixels; objects that a tile cuts reach beyond it."""
    random = np.random.default_rng(3)

    def rows(stem: str, image: np.ndarray) -> list[str]:
        found = []
        for number in range(6):
            low, high = (0.0, 0.0) if number == 0 else (0.1, 0.9)
            corners = _rectangle(random.uniform(low, high, 2) + (0.012 if number == 0 else 0), random)
            found.append(f"{(1, 9, 10)[number % 3]} " + " ".join(f"{value:.6g}" for value in corners.ravel()))
            _fill(image, corners, random)
        return found

    names = ("plane", "ship", "storage tank", "baseball diamond", "tennis court", "basketball court")
    names += ("ground track field", "harbor", "bridge", "large vehicle", "small vehicle", "helicopter", "roundabout")
    names += ("soccer ball field", "swimming pool")
    listed = "".join(f"  {index}: {name}\n" for index, name in enumerate(names))
    return _write(root, "dota8", TILES, (1024, 1024), rows, f"names:\n{listed}")


def _write(
    root: Path,
    name: str,
    stems: Sequence[str],
    size: tuple[int, int],
    rows: Callable[[str, np.ndarray], list[str] | None],
    keys: str,
) -> Path:
    random = np.random.default_rng(0)
    for stem in stems:
        image = cv2.resize(random.integers(0, 90, (12, 16, 3), np.uint8), size[::-1])
        lines = rows(stem, image)
        for folder in ("images", "labels"):
            (root / name / folder / stem).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name / "images" / f"{stem}.jpg"), image)
        if lines is not None:
            (root / name / "labels" / f"{stem}.txt").write_text("".join(f"{line}\n" for line in lines))
    head = f"path: {name} # dataset root dir\ntrain: images/train\nval: images/val\ntest: # test images (optional)\n"
    file = root / f"{name}.yaml"
    file.write_text(f"{head}\n{keys}\ndownload: https://example.org/{name}.zip\n")
    return file


def _blob(random: np.random.Generator, centre: Points, radius: float, count: int) -> Points:
    """A closed outline around a centre, within the image."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radii = radius * random.uniform(0.8, 1.2, count)
    return np.clip(centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1), 0, 1)


def _rectangle(centre: Points, random: np.random.Generator) -> Points:
    """The four corners of a rotated rectangle."""
    angle, half = random.uniform(0, np.pi), random.uniform([0.03, 0.015], [0.08, 0.03])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return centre + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn


def _fill(image: np.ndarray, points: Points, random: np.random.Generator) -> None:
    pixels = (points * image.shape[1::-1]).round().astype(np.int32)
    cv2.fillPoly(image, [pixels], random.integers(120, 255, 3).tolist())
