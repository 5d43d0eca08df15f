"""Export a checkpoint with the exporter of ultralytics, and compare the result with torch on real images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.engine.exporter import Exporter
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel
from ultralytics.utils.patches import imread

from acmix_exp.block_rules import BACKENDS
from acmix_exp.yolo import checkpoints

Network = Callable[[Tensor], Tensor]

MEASURE = (
    "the largest absolute difference to the network in torch, unfused, in float32, with the reference backend: "
    "boxes in cells of their grid (pixels / stride), scores as they are"
)


@dataclass(frozen=True)
class Difference:
    """Largest difference from torch at one image size, over all anchors and images; ``boxes`` in grid cells."""

    height: int
    width: int
    images: int
    boxes_px: float
    boxes: float
    scores: float

    @property
    def largest(self) -> float:
        return float(np.max([self.boxes, self.scores]))  # NaN if either is NaN


def export_checkpoint(
    checkpoint: Path, format: str, imgsz: int, folder: Path, *, arguments: dict[str, Any], device: str | int
) -> Path:
    """Write the fused network to a file or folder below ``folder``; returns its path.

    Input (B, 3, H, W), RGB in 0..1. Output (B, 4 + classes, anchors): centre x, centre y, width and height in pixels,
    then scores; of an RT-DETR (B, queries, 6), in fractions of the image; of two heads, those of the one whose
    duplicates are to be suppressed. Blocks are exported with the backend "shift". arguments: of the exporter, such as
    ``dynamic``.
    """
    model = _load(checkpoint)
    set_backend(model, "shift")
    model.pt_path = str(folder / checkpoint.name)  # the exporter derives the name of its file from it
    exporter = Exporter(overrides={**arguments, "format": format, "imgsz": imgsz, "device": str(device)})
    exporter.callbacks.clear()  # integrations and telemetry
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer about constant sizes: ``compare`` runs two sizes
        return Path(exporter(model=model))


def compare(
    exported: Path,
    format: str,
    checkpoint: Path,
    images: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    *,
    threads: int,
    device: str | int,
) -> list[Difference]:
    """Run the exported network on images, letterboxed to each (height, width), and compare with torch.

    Raises ImportError if the runtime of the format is not installed.
    """
    torch.set_num_threads(threads)
    model = _load(checkpoint)
    set_backend(model, "reference")
    run, batched = _runner(exported, format, threads, device)
    differences = []
    for height, width in sizes:
        batch = torch.stack([read_image(path, height, width) for path in images])
        with torch.inference_mode():
            expected = torch.cat([model(image[None])[0] for image in batch])
            outputs = [run(batch)] if batched else [run(image[None]) for image in batch]
        output = torch.cat([output.float().cpu() for output in outputs])
        differences.append(difference(expected, output, height, width, model))
    return differences


def difference(expected: Tensor, output: Tensor, height: int, width: int, model: DetectionModel) -> Difference:
    """Largest difference of two predictions (B, 4 + classes, anchors) for one image size; NaN if either holds NaN.

    Of an RT-DETR: :func:`queries_difference`.
    """
    if expected.shape != output.shape:
        raise ValueError(
            f"the exported network gives {tuple(output.shape)} at {height}x{width}, not {tuple(expected.shape)}"
        )
    if isinstance(model, RTDETRDetectionModel):
        return queries_difference(expected, output, height, width)
    strides = [int(stride) for stride in model.stride]
    cell = torch.cat([torch.full((height // stride * (width // stride),), float(stride)) for stride in strides])
    gap = (expected - output).abs()
    boxes, scores = gap[:, :4], gap[:, 4:]
    return Difference(
        height, width, len(expected), float(boxes.max()), float((boxes / cell).max()), float(scores.max())
    )


CELL = 32  # pixels in which the differences of an RT-DETR's boxes are measured, the largest of its strides
AT_THE_CUT = 1e-5  # scores this close to the lowest of an image: which of them are returned is decided by rounding


def queries_difference(expected: Tensor, output: Tensor, height: int, width: int) -> Difference:
    """Largest difference of two predictions of an RT-DETR, (B, queries, 6): centre, size, score and class.

    Boxes are in fractions of the image, by score, which rounding may reorder: each box is compared with the nearest one
    of its class in the other prediction, those of the lowest scores aside. Scores are compared in their order.
    """
    if not (expected.isfinite().all() and output.isfinite().all()):
        return Difference(height, width, len(expected), math.nan, math.nan, math.nan)
    pixels = expected.new_tensor([width, height, width, height])
    gaps = [0.0]
    for one, other in zip(expected, output, strict=True):
        apart = ((one[:, None, :4] - other[None, :, :4]).abs() * pixels).amax(-1)
        apart[one[:, None, 5] != other[None, :, 5]] = math.inf
        for found, nearest in ((one, apart.amin(1)), (other, apart.amin(0))):
            gaps += nearest[found[:, 4] > found[:, 4].min() + AT_THE_CUT].tolist()
    scores = float((expected[..., 4].sort(-1)[0] - output[..., 4].sort(-1)[0]).abs().max())
    return Difference(height, width, len(expected), max(gaps), max(gaps) / CELL, scores)


def set_backend(model: nn.Module, backend: str) -> None:
    """Set the backend of every block that has one."""
    for module in model.modules():
        if getattr(module, "backend", None) in BACKENDS:
            module.backend = backend  # type: ignore[assignment]


def read_image(path: Path, height: int, width: int) -> Tensor:
    """A letterboxed image: (3, height, width), RGB in 0..1, float32. Raises ValueError if OpenCV cannot read it."""
    image = imread(path)
    if image is None:
        raise ValueError(f"{path}: OpenCV cannot read it")
    image = LetterBox((height, width), auto=False)(image=image)[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255


def _load(checkpoint: Path) -> DetectionModel:
    model, _ = checkpoints.load(checkpoint)
    model.end2end = False  # as the exporter sets it; training may have chosen the other head
    return model.float().eval()


def _runner(exported: Path, format: str, threads: int, device: str | int) -> tuple[Network, bool]:
    """A function that runs the exported network, and whether it accepts several images at once."""
    if format == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0]), True
    if format == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.load(exported), True
    backend = AutoBackend(exported, device=torch.device("cpu" if device == "cpu" else f"cuda:{device}"), verbose=False)

    def run(x: Tensor) -> Tensor:
        output: Any = backend(x.to(backend.device))
        output = output[0] if isinstance(output, (list, tuple)) else output
        return output if isinstance(output, Tensor) else torch.from_numpy(output)

    return run, False
