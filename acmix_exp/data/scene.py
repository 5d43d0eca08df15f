"""One picture of the embedded data set: textured shapes on a textured ground.

Integer arithmetic throughout and numpy's frozen ``RandomState`` stream: the same pixels on every machine.
"""

from __future__ import annotations

import math

import numpy as np

NAMES = {0: "ring", 1: "square", 2: "triangle", 3: "cross"}
SIZE = 128  # pixels, height and width
_RADIUS = (20, 40)  # pixels, smallest and largest
_CONTRAST = 110  # least distance of a shape's colours from the ground's, summed over the channels
_ONE = 1024  # fixed-point 1.0
_Y, _X = (np.arange(SIZE, dtype=np.int32).reshape(shape) for shape in ((SIZE, 1), (1, SIZE)))


def draw_scene(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture with one to three shapes.

    Returns pixels, uint8 ``[SIZE, SIZE, 3]`` RGB, and boxes, float64 ``[n, 5]``: class, centre x, centre y,
    width, height as fractions of the picture; each box is tight around the pixels of its shape.
    """
    ground = random.randint(40, 216, 3)
    pixels = _texture(random, ground, random.randint(8, 24))
    boxes: list[tuple[int, int, int, int, int]] = []
    for _ in range(random.randint(1, 4)):
        label, radius = random.randint(len(NAMES)), random.randint(*_RADIUS)
        center_x, center_y = random.randint(radius + 1, SIZE - radius - 1, 2)
        mask = _shape_mask(label, center_x, center_y, radius, random.randint(360))
        colour = _far_colour(random, ground)
        texture = _texture(random, colour, random.randint(16, 40))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if any(_touch(box, other[1:]) for other in boxes):
            continue
        pixels[mask] = texture[mask]
        boxes.append((label, *box))
    grain = random.randint(-10, 11, (SIZE, SIZE, 1))
    return np.clip(pixels + grain, 0, 255).astype(np.uint8), np.array([_normalised(*box) for box in boxes])


def _normalised(label: int, left: int, top: int, right: int, bottom: int) -> tuple[float, ...]:
    double = 2 * SIZE
    return (
        label,
        (left + right) / double,
        (top + bottom) / double,
        (right - left) / SIZE,
        (bottom - top) / SIZE,
    )


def _touch(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _far_colour(random: np.random.RandomState, ground: np.ndarray) -> np.ndarray:
    while True:
        colour = random.randint(20, 236, 3)
        if abs(colour - ground).sum() >= _CONTRAST:
            return colour


def _texture(random: np.random.RandomState, colour: np.ndarray, strength: int) -> np.ndarray:
    """int64 ``[SIZE, SIZE, 3]``: the colour, made lighter and darker in stripes, checks, dots or clouds."""
    x, y = _X, _Y
    period, kind = random.randint(4, 10), random.randint(4)
    along, across = random.randint(-2, 3), random.randint(1, 3)
    if kind == 0:
        wave = (along * x + across * y) // period % 2 * 2 - 1
    elif kind == 1:
        wave = (x // period + y // period) % 2 * 2 - 1
    elif kind == 2:
        wave = ((x % period * 2 - period) ** 2 + (y % period * 2 - period) ** 2 < period**2 // 2) * 2 - 1
    else:
        return colour + (_clouds(random, 16) * strength // 128)[..., None]
    return colour + (wave * strength)[..., None]


def _clouds(random: np.random.RandomState, cell: int) -> np.ndarray:
    """int64 ``[SIZE, SIZE]`` in -128..127: random values at every ``cell`` pixels, bilinear between."""
    side = SIZE // cell + 1
    knots = random.randint(-128, 128, (side, side))
    whole, part = np.divmod(np.arange(SIZE), cell)
    rows = knots[whole] * (cell - part)[:, None] + knots[whole + 1] * part[:, None]
    return (rows[:, whole] * (cell - part) + rows[:, whole + 1] * part) // cell**2


def _shape_mask(label: int, center_x: int, center_y: int, radius: int, degrees: int) -> np.ndarray:
    """bool ``[SIZE, SIZE]``: the pixels of one shape, turned about its centre, within ``radius``."""
    cosine, sine = (round(_ONE * f(math.radians(degrees))) for f in (math.cos, math.sin))
    x, y = _X - center_x, _Y - center_y
    u, v = (cosine * x + sine * y), (cosine * y - sine * x)
    reach = radius * _ONE
    if NAMES[label] == "ring":
        square = x * x + y * y
        return (square <= radius**2) & (4 * square >= radius**2)
    if NAMES[label] == "square":
        return np.maximum(abs(u), abs(v)) * 7 <= reach * 5  # 5/7: just below 1/sqrt(2)
    if NAMES[label] == "triangle":
        slope = 1774  # sqrt(3) in fixed point
        return (v * 2 <= reach) & (slope * u - v * _ONE <= reach * _ONE) & (-slope * u - v * _ONE <= reach * _ONE)
    arm, wide = np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
    return (arm * 4 <= reach) & (wide * 20 <= reach * 19)
