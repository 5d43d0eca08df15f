"""Images for the report: a few of a run's scored split with ground truth, predictions and attention windows."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox, classify_transforms
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils.ops import xywh2xyxy
from ultralytics.utils.patches import imread

from acmix_exp.config import Config
from acmix_exp.data import Dataset, Sample, read_split
from acmix_exp.errors import one_line
from acmix_exp.files import appearing
from acmix_exp.model_tasks import CLASSIFY
from acmix_exp.nn import ACmix
from acmix_exp.nn.attention_weights import attention_windows
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.classification import most_probable
from acmix_exp.yolo.heads import predicts_by_headline
from acmix_exp.yolo.picture_objects import LOWEST_CONFIDENCE, fraction, predictions, truth

OBJECTS = 3
MOST_NUMBERS = 12_000  # attention weights over all sites and points: about 100 kB of JSON
GRID = 12  # grid points per side among which the background point is chosen


class LetterboxedImage(NamedTuple):
    """A resized image with a border. pixels: (1, 3, H, W), RGB in 0..1, H and W multiples of the stride. scale: its
    pixels per pixel of the image, in x and y. left, top: width of the border. width, height: of the image."""

    pixels: Tensor
    scale: tuple[float, float]
    left: int
    top: int
    width: int
    height: int

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """A position in ``pixels`` in fractions of the image."""
        return (x - self.left) / self.scale[0] / self.width, (y - self.top) / self.scale[1] / self.height


@contextlib.contextmanager
def recorded_inputs(model: nn.Module) -> Iterator[dict[str, tuple[ACmix, Tensor]]]:
    """Yield a dict that gets, by the name of its site, every ACmix block with attention that runs, and its input."""
    recorded: dict[str, tuple[ACmix, Tensor]] = {}

    def record(name: str, block: ACmix, inputs: tuple[Tensor, ...]) -> None:
        recorded[name] = (block, inputs[0].detach())

    blocks: dict[str, nn.Module] = getattr(model, "blocks", dict)()
    with contextlib.ExitStack() as hooks:
        for name, block in blocks.items():
            if isinstance(block, ACmix) and block.has_attention:
                hooks.callback(block.register_forward_pre_hook(partial(record, name)).remove)
        yield recorded


def site_windows(
    recorded: dict[str, tuple[ACmix, Tensor]], boxed: LetterboxedImage, points: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One entry per site, in network order.

    ``map`` [rows, columns] of the feature map; ``origin`` [x, y] of its corner and ``cell`` [width, height], in
    fractions of the image; ``windows``, one per point, or for the first points only if there are too many:
    ``site`` [row, column], ``rows`` and ``columns`` under the taps, ``mean`` over the heads [k][k], and ``heads``
    [head][k][k], null if there are too many numbers.
    """
    numbers = sum(block.head * block.kernel_att**2 for block, _ in recorded.values())
    points = points[: max(1, MOST_NUMBERS // max(numbers, 1))]
    every_head = numbers * len(points) <= MOST_NUMBERS
    entries = []
    for name, (block, x) in recorded.items():
        rows, columns = x.shape[-2:]
        high, wide = boxed.pixels.shape[-2] / rows, boxed.pixels.shape[-1] / columns
        sites = []
        for point in points:
            row = int((point["y"] * boxed.height * boxed.scale[1] + boxed.top) / high)
            column = int((point["x"] * boxed.width * boxed.scale[0] + boxed.left) / wide)
            sites.append((min(row, rows - 1) // block.stride, min(column, columns - 1) // block.stride))
        windows = attention_windows(block, x, sites)
        entries.append(
            {
                "site": name,
                "head": block.head,
                "kernel_att": block.kernel_att,
                "map": [rows, columns],
                "origin": list(boxed.to_image(0, 0)),
                "cell": [wide / boxed.scale[0] / boxed.width, high / boxed.scale[1] / boxed.height],
                "windows": [
                    {
                        "site": list(site),
                        "rows": windows.rows[i].tolist(),
                        "columns": windows.columns[i].tolist(),
                        "mean": _rounded(windows.weights[i].mean(0)),
                        "heads": _rounded(windows.weights[i]) if every_head else None,
                    }
                    for i, site in enumerate(sites)
                ],
            }
        )
    return entries


def query_points(boxes: np.ndarray, names: dict[int, str]) -> list[dict[str, Any]]:
    """Query points: the centres of the largest objects, different classes first, and one point of the background.

    ``boxes``: [n, 5], class, then centre, width and height in fractions. Each point has ``x``, ``y`` and ``of``: the
    class, or null for background.
    """
    order = sorted(range(len(boxes)), key=lambda i: (-float(boxes[i, 3] * boxes[i, 4]), i))
    first_of_class = [i for n, i in enumerate(order) if boxes[i, 0] not in boxes[order[:n], 0]]
    selected = [*first_of_class, *(i for i in order if i not in first_of_class)][:OBJECTS]
    points = [{"x": fraction(boxes[i, 1]), "y": fraction(boxes[i, 2]), "of": names[int(boxes[i, 0])]} for i in selected]
    grid = (np.arange(GRID) + 0.5) / GRID
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    # Distance of each grid point from the nearest box, then also from the border of the image.
    from_boxes = np.maximum(
        np.abs(x[:, None] - boxes[:, 1]) - boxes[:, 3] / 2, np.abs(y[:, None] - boxes[:, 2]) - boxes[:, 4] / 2
    ).min(1, initial=1.0)
    clearance = np.minimum(from_boxes, np.minimum.reduce([x, y, 1 - x, 1 - y]))
    best = int(clearance.argmax())
    if from_boxes[best] > 0:
        points.append({"x": fraction(x[best]), "y": fraction(y[best]), "of": None})
    return points


def _rounded(weights: Tensor) -> Any:
    """Nested lists of the weights [..., k, k]; the more there are, the more decimals, for each is smaller."""
    decimals = 4 + len(str(weights.shape[-1] ** 2))
    return np.round(weights.double().cpu().numpy(), decimals).tolist()


FOLDER = "images"
COUNT = 12
WINDOWS_COUNT = 4  # windows are of the first of so many, which are among the COUNT; version 0.1 stored no others
LONGEST = 416  # pixels of the longer side of a stored image
MOST_BYTES = 45_000  # per stored image


def store_pictures(
    run_dir: Path, dataset: Dataset, metrics: dict[str, Any], config: Config, *, device: str | int
) -> None:
    """Write ``RUN/images``: a few images, the same in every run of a data set, ``images.json`` with ground truth and
    predictions of the headline's checkpoint, and ``windows.json`` if an ACmix block has attention.

    Objects are as in picture_objects.py. Never raises: an error is one line on stdout, and the folder is
    created complete or not at all.
    """
    target = run_dir / FOLDER
    try:
        with appearing(target) as folder:
            _write(folder, run_dir / "weights" / metrics["checkpoint"], dataset, metrics["split"], config, device)
            shutil.rmtree(target, ignore_errors=True)
    except Exception as error:
        print(f"images for the report were not stored: {one_line(error)}", flush=True)


def chosen(samples: Sequence[Sample], count: int = COUNT) -> list[Sample]:
    """``count`` samples with a box, evenly spaced in the sorted names; depends on the data only."""
    labelled = [sample for sample in samples if len(sample.boxes)]
    indices = [(2 * i + 1) * len(labelled) // (2 * count) for i in range(count)]
    return [labelled[index] for index in dict.fromkeys(indices)] if labelled else []


def _write(folder: Path, checkpoint: Path, dataset: Dataset, split: str, config: Config, device: str | int) -> None:
    torch_device = torch.device("cpu" if device == "cpu" else f"cuda:{device}")
    model, _ = checkpoints.load(checkpoint)
    model = model.to(torch_device).eval()
    predicts_by_headline(model, config)
    stride = max(int(model.stride.max()), 32)
    task, kpt_shape = dataset.task, getattr(model, "kpt_shape", None)
    entries = []
    samples = read_split(dataset, split)
    with_windows = [sample.image for sample in chosen(samples, WINDOWS_COUNT)[:1]]
    for number, sample in enumerate(chosen(samples)):
        image = imread(str(sample.image), cv2.IMREAD_COLOR)
        if image is None:
            raise OSError(f"{sample.image.name} can't be read")
        stretched = isinstance(model, RTDETRDetectionModel)
        place = centre_crop if task == CLASSIFY else stretch if stretched else letterbox
        boxed = place(image, config.train.imgsz, stride, torch_device)
        with torch.no_grad(), recorded_inputs(model) as recorded:
            output = model(boxed.pixels)
        if sample.image in with_windows and recorded:
            points = query_points(sample.boxes, dataset.names)
            windows = {"image": number, "points": points, "sites": site_windows(recorded, boxed, points)}
            _write_json(folder / "windows.json", windows)
        name = f"{number}.jpg"
        (folder / name).write_bytes(encoded(image))
        if task == CLASSIFY:  # images of several classes may have one name
            shown, found = f"{sample.image.parent.name}/{sample.image.name}", [most_probable(output, dataset.names)]
        else:
            shown, output = sample.image.name, in_pixels(output, boxed) if stretched else output
            end2end = getattr(model, "end2end", False)
            found = predictions(output, boxed, dataset.names, task, kpt_shape, end2end=end2end)
        sides = {"width": image.shape[1], "height": image.shape[0]}
        entry = {"file": name, "name": shown, **sides, "truth": truth(sample, dataset.names, task)}
        entries.append({**entry, "predictions": found})
    lowest = 0.0 if task == CLASSIFY else LOWEST_CONFIDENCE
    scored = {"split": split, "checkpoint": checkpoint.name, "lowest_confidence": lowest}
    _write_json(folder / "images.json", {**scored, "images": entries})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, allow_nan=False) + "\n", encoding="utf-8")


def letterbox(image: np.ndarray, imgsz: int, stride: int, device: torch.device) -> LetterboxedImage:
    """A BGR image resized to ``imgsz`` on its longer side, with a border to multiples of the stride and half a stride
    more, as in the rectangular validation of ultralytics."""
    height, width = image.shape[:2]
    scale = imgsz / max(height, width)
    inner = [max(round(side * scale), 1) for side in (height, width)]
    outer = [int(np.ceil(side * scale / stride + 0.5)) * stride for side in (height, width)]
    top, left = ((outside - inside) // 2 for outside, inside in zip(outer, inner, strict=True))
    resized = image if scale == 1 else cv2.resize(image, (inner[1], inner[0]), interpolation=cv2.INTER_LINEAR)
    boxed = LetterBox((outer[0], outer[1]), scaleup=False)(image=resized)
    pixels = torch.from_numpy(boxed[..., ::-1].transpose(2, 0, 1)[None].copy()).to(device).float() / 255
    return LetterboxedImage(pixels, (scale, scale), left, top, width, height)


def stretch(image: np.ndarray, imgsz: int, stride: int, device: torch.device) -> LetterboxedImage:
    """A BGR image stretched to a square of ``imgsz`` without a border, as the validation of RT-DETR has it."""
    height, width = image.shape[:2]
    resized = cv2.resize(image, (imgsz, imgsz), interpolation=cv2.INTER_LINEAR)
    pixels = torch.from_numpy(resized[..., ::-1].transpose(2, 0, 1)[None].copy()).to(device).float() / 255
    return LetterboxedImage(pixels, (imgsz / width, imgsz / height), 0, 0, width, height)


def centre_crop(image: np.ndarray, imgsz: int, stride: int, device: torch.device) -> LetterboxedImage:
    """A BGR image as the validation of a classifier has it: its centre, normalised; the border is then negative."""
    height, width = image.shape[:2]
    pixels = classify_transforms(size=imgsz)(Image.fromarray(np.ascontiguousarray(image[..., ::-1])))[None].to(device)
    scale = imgsz / min(height, width)
    top, left = (round((imgsz - side * scale) / 2) for side in (height, width))
    return LetterboxedImage(pixels, (scale, scale), left, top, width, height)


def encoded(image: np.ndarray) -> bytes:
    """The image as a small JPEG."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    data = b""
    for quality in (85, 70, 50, 30):
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= MOST_BYTES:
            break
    return data


def in_pixels(output: Any, boxed: LetterboxedImage) -> Tensor:
    """What an RT-DETR returns, (1, queries, 6) with centres and sizes in fractions, with corners in pixels."""
    predictions: Tensor = output[0]
    height, width = boxed.pixels.shape[-2:]
    sides = predictions.new_tensor([width, height, width, height])
    return torch.cat([xywh2xyxy(predictions[..., :4]) * sides, predictions[..., 4:]], dim=-1)
