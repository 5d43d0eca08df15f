"""A checkpoint in another format by ultralytics' own exporter, and how far it is from torch on real images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.engine.exporter import Exporter
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import DetectionModel, load_checkpoint

from acmix_exp.block_rules import BACKENDS

Network = Callable[[Tensor], Tensor]

MEASURE = (
    "the largest absolute difference to the network in torch, unfused, in float32, with the reference backend: "
    "boxes in cells of their grid (pixels / stride 8, 16 or 32), scores as they are"
)


@dataclass(frozen=True)
class Difference:
    """To torch at one size, the largest over all anchors and images; ``boxes`` in grid cells."""

    height: int
    width: int
    images: int
    boxes_px: float
    boxes: float
    scores: float

    @property
    def largest(self) -> float:
        return float(np.max([self.boxes, self.scores]))  # NaN where either is


def export_checkpoint(
    checkpoint: Path, format: str, imgsz: int, folder: Path, *, arguments: dict[str, Any], device: str | int
) -> Path:
    """Write the fused network to a file or folder under ``folder``, which is returned.

    It takes (B, 3, H, W) in 0..1, RGB, and gives (B, 4 + classes, anchors): centre x, centre y, width, height in
    pixels, then scores. Blocks are exported in their form of shifts, whatever backend they were trained with.
    arguments: of ultralytics' exporter, such as ``dynamic``.
    """
    model = _load(checkpoint)
    set_backend(model, "shift")
    model.pt_path = str(folder / checkpoint.name)  # names the file that is written
    exporter = Exporter(overrides={**arguments, "format": format, "imgsz": imgsz, "device": str(device)})
    exporter.callbacks.clear()  # integrations and telemetry
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer: that sizes are not constants is checked by running it
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
    """Run what was exported on images, letterboxed to each (height, width), and compare with torch.

    Raises ImportError where the format's runtime is not installed.
    """
    torch.set_num_threads(threads)
    model = _load(checkpoint)
    set_backend(model, "reference")
    run, batched = _runner(exported, format, threads, device)
    found = []
    for height, width in sizes:
        batch = torch.stack([read_image(path, height, width) for path in images])
        with torch.inference_mode():
            right = torch.cat([model(image[None])[0] for image in batch])
            outputs = [run(batch)] if batched else [run(image[None]) for image in batch]
        found.append(difference(right, torch.cat([output.float().cpu() for output in outputs]), height, width, model))
    return found


def difference(right: Tensor, output: Tensor, height: int, width: int, model: DetectionModel) -> Difference:
    """Of two predictions (B, 4 + classes, anchors) for images of one size; NaN where either holds one."""
    if right.shape != output.shape:
        raise ValueError(
            f"the exported network gives {tuple(output.shape)} at {height}x{width}, not {tuple(right.shape)}"
        )
    strides = [int(stride) for stride in model.stride]
    cell = torch.cat([torch.full((height // stride * (width // stride),), float(stride)) for stride in strides])
    gap = (right - output).abs()
    boxes, scores = gap[:, :4], gap[:, 4:]
    return Difference(height, width, len(right), float(boxes.max()), float((boxes / cell).max()), float(scores.max()))


def set_backend(model: nn.Module, backend: str) -> None:
    """Have every block that has a choice of backend take this one."""
    for module in model.modules():
        if getattr(module, "backend", None) in BACKENDS:
            module.backend = backend  # type: ignore[assignment]


def read_image(path: Path, height: int, width: int) -> Tensor:
    """(3, height, width), RGB, 0..1, float32. Raises ValueError for what OpenCV cannot read."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: OpenCV cannot read it")
    image = LetterBox((height, width), auto=False)(image=image)[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255


def _load(checkpoint: Path) -> DetectionModel:
    model, _ = load_checkpoint(checkpoint)
    return model.float().eval()


def _runner(exported: Path, format: str, threads: int, device: str | int) -> tuple[Network, bool]:
    """What runs the exported network, and whether it takes several images at once."""
    if format == "onnx":
        return _onnx(exported, threads), True
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


def _onnx(exported: Path, threads: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])
