"""The embedded data set in YOLO layout: textured shapes, generated once, with the same bytes on every machine.

Every task has a folder of its own with the same images; labels of other tasks than detection are those of
shape_forms.py. For classify the images are cut out of them, one for each object, into a folder for each class.
Generation first, then the drawing of one image, then the PNG encoder.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from acmix_exp.data import shape_forms
from acmix_exp.data.shape_forms import NAMES, SIZE, Shape, fixed
from acmix_exp.files import appearing
from acmix_exp.model_tasks import CLASSIFY, DETECT

VERSION = 1  # part of the folder's name: raise it with every change of the images
COUNTS = {"train": 200, "val": 64}
_FIRST_SEED = {"train": 10_000, "val": 20_000}
_RADIUS = (20, 40)  # pixels, smallest and largest
_CONTRAST = 110  # smallest distance of a shape's colour from the background's, summed over the channels
_ONE = shape_forms.ONE
_Y, _X = (np.arange(SIZE, dtype=np.int32).reshape(shape) for shape in ((SIZE, 1), (1, SIZE)))
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STORED_BLOCK = 65535  # most bytes in a stored deflate block (RFC 1951, section 3.2.4)


def make_shapes(root: Path, task: str = DETECT) -> Path:
    """Return ``root/shapes-v1/data.yaml``, or that of a task; generate the folder if it is missing or incomplete.

    For classify the folder of splits is returned, which has no data.yaml.
    Safe for several processes at once: each generates its copy and the first to finish is kept. Raises OSError.
    """
    folder = root / (f"shapes-v{VERSION}" if task == DETECT else f"shapes-{task}-v{VERSION}")
    if not _complete(folder, task):
        if folder.exists():
            _remove(folder)
        with appearing(folder) as output:
            _generate(output, task)
    return folder if task == CLASSIFY else folder / "data.yaml"


def _generate(folder: Path, task: str) -> None:
    for split, count in COUNTS.items():
        seeds = range(_FIRST_SEED[split], _FIRST_SEED[split] + count)
        if task == CLASSIFY:
            write_class_folders(folder, split, seeds)
        else:
            write_split(folder, split, seeds, task)
    if task != CLASSIFY:
        write_data_yaml(folder, task)


def write_class_folders(folder: Path, split: str, seeds: Iterable[int]) -> None:
    """Write ``SPLIT/CLASS``, an image for each object of each seed's image: a square around its circle, with a margin
    of a quarter of the radius where the image has it."""
    for name in NAMES.values():
        (folder / split / name).mkdir(parents=True)
    for index, seed in enumerate(seeds):
        pixels, _, shapes = draw_objects(np.random.RandomState(seed))
        for number, shape in enumerate(shapes):
            reach = shape.radius + min(shape.radius // 4, *(_to_edge(at) - shape.radius for at in (shape.x, shape.y)))
            rows, columns = (slice(at - reach, at + reach + 1) for at in (shape.y, shape.x))
            file = folder / split / NAMES[shape.label] / f"{index:04}-{number}.png"
            file.write_bytes(encode_png(pixels[rows, columns]))


def _to_edge(at: int) -> int:
    """Pixels between a place and the nearer edge of the image."""
    return min(at, SIZE - 1 - at)


def write_split(folder: Path, split: str, seeds: Iterable[int], task: str = DETECT) -> None:
    """Write ``images/SPLIT`` and ``labels/SPLIT``, an image for each seed."""
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for index, seed in enumerate(seeds):
        pixels, boxes, shapes = draw_objects(np.random.RandomState(seed))
        (images / f"{index:04}.png").write_bytes(encode_png(pixels))
        if task == DETECT:
            rows = [f"{int(row[0])} " + " ".join(f"{value:.8f}" for value in row[1:]) for row in boxes]
        else:
            rows = [shape_forms.row(*each, task) for each in zip(shapes, boxes, strict=True)]
        (labels / f"{index:04}.txt").write_text("".join(f"{row}\n" for row in rows))


def write_data_yaml(folder: Path, task: str = DETECT) -> None:
    names = "".join(f"  {index}: {name}\n" for index, name in NAMES.items())
    keys = shape_forms.YAML_KEYS.get(task, "")
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\n{keys}names:\n{names}")


def _complete(folder: Path, task: str) -> bool:
    if task == CLASSIFY:
        of_class = [(split, folder / split / name) for split in COUNTS for name in NAMES.values()]
        images = dict.fromkeys(COUNTS, 0)
        for split, place in of_class:
            images[split] += (found := len(list(place.glob("*.png"))))
            if not found:
                return False
        return all(images[split] >= count for split, count in COUNTS.items())
    return (folder / "data.yaml").is_file() and all(
        len(list((folder / files / split).glob("*"))) >= count
        for split, count in COUNTS.items()
        for files in ("images", "labels")
    )


def _remove(folder: Path) -> None:
    """Delete a damaged folder after renaming it, so that no other process sees it half deleted."""
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
    try:
        os.rename(folder, aside / "damaged")
    except FileNotFoundError:
        pass  # another process was faster
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def draw_scene(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image with one to three shapes.

    Returns pixels, uint8 ``[SIZE, SIZE, 3]`` RGB, and boxes, float64 ``[n, 5]``: class, centre x, centre y, width,
    height as fractions of the image; each box is tight around the pixels of its shape.
    """
    pixels, boxes, _ = draw_objects(random)
    return pixels, boxes


def draw_objects(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, list[Shape]]:
    """As :func:`draw_scene`, and the shape of each box."""
    background = random.randint(40, 216, 3)
    pixels = _texture(random, background, random.randint(8, 24))
    boxes: list[tuple[int, int, int, int, int]] = []
    shapes: list[Shape] = []
    for _ in range(random.randint(1, 4)):
        label, radius = random.randint(len(NAMES)), random.randint(*_RADIUS)
        center_x, center_y = random.randint(radius + 1, SIZE - radius - 1, 2)
        shape = Shape(label, int(center_x), int(center_y), radius, random.randint(360))
        mask = _shape_mask(shape)
        colour = _contrasting_colour(random, background)
        texture = _texture(random, colour, random.randint(16, 40))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        if any(_overlap(box, other[1:]) for other in boxes):
            continue
        pixels[mask] = texture[mask]
        boxes.append((label, *box))
        shapes.append(shape)
    grain = random.randint(-10, 11, (SIZE, SIZE, 1))
    image = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return image, np.array([_normalized(*box) for box in boxes]), shapes


def _normalized(label: int, left: int, top: int, right: int, bottom: int) -> tuple[float, ...]:
    double = 2 * SIZE
    return (label, (left + right) / double, (top + bottom) / double, (right - left) / SIZE, (bottom - top) / SIZE)


def _overlap(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _contrasting_colour(random: np.random.RandomState, background: np.ndarray) -> np.ndarray:
    while True:
        colour = random.randint(20, 236, 3)
        if abs(colour - background).sum() >= _CONTRAST:
            return colour


def _texture(random: np.random.RandomState, colour: np.ndarray, strength: int) -> np.ndarray:
    """int64 ``[SIZE, SIZE, 3]``: the colour with lighter and darker stripes, checks, dots or clouds."""
    x, y = _X, _Y
    period, pattern = random.randint(4, 10), random.randint(4)
    along, across = random.randint(-2, 3), random.randint(1, 3)
    if pattern == 0:
        wave = (along * x + across * y) // period % 2 * 2 - 1
    elif pattern == 1:
        wave = (x // period + y // period) % 2 * 2 - 1
    elif pattern == 2:
        wave = ((x % period * 2 - period) ** 2 + (y % period * 2 - period) ** 2 < period**2 // 2) * 2 - 1
    else:
        return colour + (_clouds(random, 16) * strength // 128)[..., None]
    return colour + (wave * strength)[..., None]


def _clouds(random: np.random.RandomState, cell: int) -> np.ndarray:
    """int64 ``[SIZE, SIZE]`` in -128..127: random values at every ``cell`` pixels, interpolated bilinearly."""
    side = SIZE // cell + 1
    knots = random.randint(-128, 128, (side, side))
    whole, part = np.divmod(np.arange(SIZE), cell)
    rows = knots[whole] * (cell - part)[:, None] + knots[whole + 1] * part[:, None]
    return (rows[:, whole] * (cell - part) + rows[:, whole + 1] * part) // cell**2


def _shape_mask(shape: Shape) -> np.ndarray:
    """bool ``[SIZE, SIZE]``: the pixels of one shape, rotated about its centre, within its radius."""
    label, radius, (cosine, sine) = shape.label, shape.radius, fixed(shape.degrees)
    x, y = _X - shape.x, _Y - shape.y
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


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode RGB pixels, uint8 ``[H, W, 3]``, as a PNG without compression. Format: RFC 1950, 1951, 2083.

    Written here because the fingerprint of the data set, a part of the run key, covers these bytes, and those of an
    image library depend on its version and on its build of zlib.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with 0: filter type none
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    stream = b"\x78\x01"
    for start in range(0, len(raw), _STORED_BLOCK):
        block = raw[start : start + _STORED_BLOCK]
        last = start + _STORED_BLOCK >= len(raw)
        stream += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    stream += struct.pack(">I", zlib.adler32(raw))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", stream) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
