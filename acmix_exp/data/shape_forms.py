"""Polygons, keypoints and oriented boxes of the embedded data set's shapes.

Angles are in fixed point, so that the labels have the same bytes on every machine. Values outside of the image are
moved to its edge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = {0: "ring", 1: "square", 2: "triangle", 3: "cross"}
SIZE = 128  # pixels of an image, height and width
ONE = 1024  # fixed-point 1.0
RING_STEP = 15  # degrees between two corners of a ring's polygon
# The keypoints are the points of an outline that are highest, furthest right, lowest and furthest left.
YAML_KEYS = {"pose": "kpt_shape: [4, 3]\nflip_idx: [0, 3, 2, 1]\n"}


@dataclass(frozen=True)
class Shape:
    """A drawn shape: its class, centre and radius in pixels, and the angle by which it is rotated."""

    label: int
    x: int
    y: int
    radius: int
    degrees: int


Point = tuple[float, float]


def fixed(degrees: int) -> tuple[int, int]:
    """Cosine and sine in fixed point."""
    cosine, sine = (round(ONE * f(math.radians(degrees))) for f in (math.cos, math.sin))
    return cosine, sine


def row(shape: Shape, box: Sequence[float], task: str) -> str:
    """The row of a label file. box: its class, centre and size, in fractions of the image."""
    if task == "segment":
        values = _flat(polygon(shape))
    elif task == "obb":
        values = _flat(corners(shape))
    else:
        values = [float(value) for value in box[1:]]
        for point in extremes(outline(shape)):
            values += [*_flat([point]), 2]
    return f"{shape.label} " + " ".join("2" if value == 2 else f"{value:.8f}" for value in values)


def _flat(points: Sequence[Point]) -> list[float]:
    """In fractions of the image, within it; a pixel's centre is half a pixel from its corner."""
    return [min(max((value + 0.5) / SIZE, 0.0), 1.0) for point in points for value in point]


def outline(shape: Shape) -> list[Point]:
    """The outer corners, in pixels, in order; of a ring a polygon."""
    if NAMES[shape.label] == "ring":
        return _circle(shape, shape.radius)
    return _placed(shape, _CORNERS[NAMES[shape.label]])


def polygon(shape: Shape) -> list[Point]:
    """The outline; of a ring the outer circle and, the other way round, the inner one, joined by a cut."""
    outer = outline(shape)
    if NAMES[shape.label] != "ring":
        return outer
    inner = _circle(shape, shape.radius / 2)
    return [*outer, outer[0], inner[0], *reversed(inner)]


def corners(shape: Shape) -> list[Point]:
    """The rectangle around a shape in its own frame; around a ring, which has none, that along the image's sides."""
    if NAMES[shape.label] == "ring":
        r = float(shape.radius)
        return [(shape.x + u, shape.y + v) for u, v in ((-r, -r), (r, -r), (r, r), (-r, r))]
    us, vs = zip(*_CORNERS[NAMES[shape.label]], strict=True)
    left, top, right, bottom = min(us), min(vs), max(us), max(vs)
    return _placed(shape, ((left, top), (right, top), (right, bottom), (left, bottom)))


def extremes(points: Sequence[Point]) -> list[Point]:
    """The highest, rightmost, lowest and leftmost of the points; of equals the first."""
    by_x, by_y = sorted(points, key=lambda p: p[0]), sorted(points, key=lambda p: p[1])
    return [by_y[0], by_x[-1], by_y[-1], by_x[0]]


def _circle(shape: Shape, radius: float) -> list[Point]:
    around = (fixed(degrees) for degrees in range(0, 360, RING_STEP))
    return [(shape.x + radius * cosine / ONE, shape.y + radius * sine / ONE) for cosine, sine in around]


def _placed(shape: Shape, points: Sequence[Point]) -> list[Point]:
    """Points in the frame of a shape of radius 1, in pixels of the image: the inverse of the rotation of its mask."""
    cosine, sine = fixed(shape.degrees)
    r = shape.radius / ONE
    return [(shape.x + r * (cosine * u - sine * v), shape.y + r * (sine * u + cosine * v)) for u, v in points]


_SIDE, _ROOT = 5 / 7, 1774 / ONE  # as the masks are drawn: half a square's side; sqrt(3)
_ARM, _REACH = 1 / 4, 19 / 20  # half the width of a cross's arm, and its length
_QUARTER = ((_ARM, -_REACH), (_ARM, -_ARM), (_REACH, -_ARM))  # of a cross, clockwise from its upper arm
_CORNERS: dict[str, tuple[Point, ...]] = {
    "square": ((-_SIDE, -_SIDE), (_SIDE, -_SIDE), (_SIDE, _SIDE), (-_SIDE, _SIDE)),
    "triangle": ((0.0, -1.0), (1.5 / _ROOT, 0.5), (-1.5 / _ROOT, 0.5)),
    "cross": tuple((u * c - v * s, u * s + v * c) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1)) for u, v in _QUARTER),
}
