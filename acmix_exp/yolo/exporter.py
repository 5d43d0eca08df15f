"""Export a checkpoint with the exporter of ultralytics, and compare the result with torch on real images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from ultralytics.data.augment import LetterBox, classify_transforms
from ultralytics.engine.exporter import Exporter, NMSModel
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import BaseModel, RTDETRDetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.patches import imread

from acmix_exp.block_rules import BACKENDS
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import CLASSIFY
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.agreement import (
    Difference,
    dense_difference,
    listed_difference,
    probability_difference,
    queries_to_list,
    suppressed_difference,
)
from acmix_exp.yolo.export_formats import Format

Network = Callable[[Tensor], list[Tensor]]  # images to the outputs: predictions and, for segmentation, prototypes

REFERENCE = "the network in torch, unfused, in float32, with the reference backend"
MORE_ARGUMENTS: dict[str, Any] = {}  # of the exporter
NMS_SCORE = 0.25  # of the exporter with nms: a prediction with a lower score is dropped


class _Exporter(Exporter):
    """Calibrates on the given images, letterboxed as for the comparison; nothing is written beside them."""

    images: Sequence[Path] = ()

    def get_int8_calibration_dataloader(self, prefix: str = "") -> DataLoader[dict[str, Tensor]]:
        height, width = self.imgsz
        images = _Images(self.images, height, width, crops=self.model.task == CLASSIFY)
        return DataLoader(images, batch_size=self.args.batch)  # type: ignore[arg-type]


class _Images:
    """Images (3, H, W), uint8, each read when it is asked for."""

    def __init__(self, paths: Sequence[Path], height: int, width: int, *, crops: bool) -> None:
        self.paths, self.height, self.width, self.crops = paths, height, width, crops

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        image = read_image(self.paths[number], self.height, self.width, crops=self.crops)
        return {"img": (image * 255).round().byte()}


def export_checkpoint(
    checkpoint: Path, format: Format, imgsz: int, folder: Path, *, calibration: Sequence[Path] = (), device: str | int
) -> Path:
    """Write the fused network to a file or folder below ``folder``; returns its path, whose name is ``format.file``.

    Input (B, 3, H, W), RGB in 0..1; B is 1 unless sizes are dynamic. Output (B, 4 + classes, anchors): centre x, centre
    y, width and height in pixels, then scores; of an RT-DETR (B, queries, 6), in fractions of the image; of a
    classifier (B, classes), probabilities; with ``format.nms`` not None (B, 300, 6), x1, y1, x2, y2 in pixels, score
    and class. Blocks are exported with the backend
    "shift". calibration: images for int8.

    Raises ConfigError if the network, or ultralytics, cannot do what ``format`` says.
    """
    model = _load(checkpoint)
    require_head(model, format)
    set_backend(model, "shift")
    model.pt_path = str(folder / checkpoint.name)  # the exporter derives the name of its file from it
    # Not simplified: for the many slices of a window onnxslim takes minutes, the file grows, and nothing runs faster.
    asked = {"quantize": format.quantize, "nms": format.nms, "dynamic": format.dynamic}
    options: dict[str, Any] = {"opset": format.opset, "simplify": False, "data": "val" if calibration else None}
    options = {**asked, "batch": 1, **{key: value for key, value in options.items() if key in format.arguments}}
    exporter = _Exporter(
        overrides={**options, **MORE_ARGUMENTS, "format": format.name, "imgsz": imgsz, "device": str(device)}
    )
    exporter.images = calibration
    exporter.callbacks.clear()  # integrations and telemetry
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer about constant sizes: ``compare`` runs two sizes
        made = Path(exporter(model=model))
    for key, value in {**asked, "end2end": format.nms is False}.items():
        got = exporter.metadata["end2end"] if key == "end2end" else getattr(exporter.args, key)
        if (got or None) != (value or None):
            key, got = ("nms", None) if key == "end2end" else (key, got)
            raise ConfigError(f"export.{key}={asked[key]}: ultralytics exports {format.name} with {key}={got} only")
    named = made.with_name(format.file(checkpoint.stem))
    return made if made == named else made.rename(named)


def require_head(model: BaseModel, format: Format) -> None:
    """Raise ConfigError if the network has no head for ``format.nms``."""
    if format.nms is not None and model.task != "detect":
        raise ConfigError(
            f"export.nms={str(format.nms).lower()}: goes with model.task=detect, for which it is compared with torch; "
            f"this network is for {model.task}, leave it out"
        )
    if format.nms and isinstance(model, RTDETRDetectionModel):
        raise ConfigError("export.nms=true: an RT-DETR predicts without duplicates; leave it out")
    if format.nms is False and getattr(model.model[-1], "one2one_cv2", None) is None:
        raise ConfigError(
            "export.nms=false: exports the head without non-maximum suppression, which this network does not have; "
            "leave it out for raw boxes and scores"
        )


def compare(
    exported: Path,
    format: Format,
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
    model = _load(checkpoint, end2end=format.nms is False)
    set_backend(model, "reference")
    strides = [int(stride) for stride in model.stride]
    reference = _with_nms(model, format) if format.nms else lambda x: _tensors(model(x)[0])
    run = runner(exported, format, threads, device)
    batched = format.dynamic and not format.nms and format.name in ("onnx", "torchscript")
    differences = []
    for height, width in sizes:
        crops = model.task == CLASSIFY
        batch = torch.stack([read_image(path, height, width, crops=crops) for path in images])
        with torch.inference_mode():
            expected = _joined([reference(image[None]) for image in batch])
            output = _joined([run(batch)] if batched else [run(image[None]) for image in batch])[: len(expected)]
        if model.task == CLASSIFY:
            differences.append(probability_difference(expected[0], output[0], height, width, format.precision))
        elif format.nms and format.precision == "fp32":
            with torch.inference_mode():
                raw = torch.cat([model(image[None])[0] for image in batch])
            differences.append(suppressed_difference(expected[0], output[0], raw, height, width, NMS_SCORE))
        elif format.nms is not None:
            lowest = NMS_SCORE if format.nms else 0.0
            differences.append(listed_difference(expected[0], output[0], height, width, format.precision, lowest))
        elif isinstance(model, RTDETRDetectionModel):
            one, other = (queries_to_list(each, height, width) for each in (expected[0], output[0]))
            differences.append(listed_difference(one, other, height, width, format.precision))
        else:
            differences.append(
                dense_difference(expected, output, height, width, strides, len(model.names), format.precision)
            )
    return differences


def to_time(
    exported: Path, format: Format, checkpoint: Path, *, threads: int, device: str | int
) -> tuple[BaseModel, nn.Module]:
    """The network in torch, unfused, and the exported one as a module, for profile/latency.py."""
    torch.set_num_threads(threads)
    return _load(checkpoint, end2end=format.nms is False), _Module(runner(exported, format, threads, device))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())


class _Module(nn.Module):
    def __init__(self, run: Network) -> None:
        super().__init__()
        self.run = [run]  # in a list, so that it is no submodule, which would be moved and converted

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.run[0](x)


def _with_nms(model: BaseModel, format: Format) -> Network:
    """The network in torch with the non-maximum suppression that the exporter adds."""
    model.model[-1].xyxy = True
    names = ("iou", "max_det", "agnostic_nms")
    arguments = {**{name: DEFAULT_CFG_DICT[name] for name in names}, "conf": NMS_SCORE}
    arguments |= {"format": "-", "batch": 1, "dynamic": False, "opset": None, "quantize": None}
    suppress = NMSModel(model, SimpleNamespace(**arguments))
    return lambda x: [suppress(x)]


def set_backend(model: nn.Module, backend: str) -> None:
    """Set the backend of every block that has one."""
    for module in model.modules():
        if getattr(module, "backend", None) in BACKENDS:
            module.backend = backend  # type: ignore[assignment]


def read_image(path: Path, height: int, width: int, *, crops: bool = False) -> Tensor:
    """A letterboxed image, or with ``crops`` its centre as a classifier gets it: (3, height, width), RGB in 0..1,
    float32. Raises ValueError if OpenCV cannot read it."""
    image = imread(path)
    if image is None:
        raise ValueError(f"{path}: OpenCV cannot read it")
    if crops:
        cropped: Tensor = classify_transforms((height, width))(Image.fromarray(np.ascontiguousarray(image[..., ::-1])))
        return cropped
    image = LetterBox((height, width), auto=False)(image=image)[..., ::-1].transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(image)).float() / 255


def _load(checkpoint: Path, *, end2end: bool = False) -> BaseModel:
    model, _ = checkpoints.load(checkpoint)
    model.end2end = end2end  # as the exporter sets it; training may have chosen the other head
    return model.float().eval()


def runner(exported: Path, format: Format, threads: int, device: str | int) -> Network:
    """A function that runs the exported network on images (B, 3, H, W) in 0..1, float32."""
    if format.name == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: _tensors(session.run(None, {name: x.numpy()}))
    place = torch.device("cpu" if device == "cpu" else f"cuda:{device}")
    if format.name == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = torch.jit.load(exported, map_location=place)
        type_ = torch.float16 if format.precision == "fp16" else torch.float32
        return lambda x: _tensors(network(x.to(place, type_)))
    backend = AutoBackend(exported, device=place, verbose=False)

    return lambda x: _tensors(backend(x.to(backend.device)))


def _tensors(outputs: Any) -> list[Tensor]:
    """The outputs of a network, arrays too, as tensors on the CPU in float32."""
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [torch.as_tensor(each).float().cpu() for each in outputs]


def _joined(outputs: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The outputs of several images, each as one tensor."""
    return [torch.cat(each) for each in zip(*outputs, strict=True)]
