"""Export a checkpoint with the exporter of ultralytics, and compare the result with torch on real images."""

from __future__ import annotations

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
from ultralytics.nn.tasks import DetectionModel
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
    then scores; of two heads, those of the one whose duplicates are to be suppressed. Blocks are exported with the
    backend "shift". arguments: of the exporter, such as ``dynamic``.
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
    """Largest difference of two predictions (B, 4 + classes, anchors) for one image size; NaN if either holds NaN."""
    if expected.shape != output.shape:
        raise ValueError(
            f"the exported network gives {tuple(output.shape)} at {height}x{width}, not {tuple(expected.shape)}"
        )
    strides = [int(stride) for stride in model.stride]
    cell = torch.cat([torch.full((height // stride * (width // stride),), float(stride)) for stride in strides])
    gap = (expected - output).abs()
    boxes, scores = gap[:, :4], gap[:, 4:]
    return Difference(
        height, width, len(expected), float(boxes.max()), float((boxes / cell).max()), float(scores.max())
    )


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
