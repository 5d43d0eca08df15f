"""What an export format takes, by the tables of ultralytics. Importing this module imports no torch.

For other modules: :class:`Format`, :data:`PRECISIONS`, and, in a child process, :func:`settled`.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acmix_exp.errors import ConfigError

PRECISIONS = {None: "fp32", 32: "fp32", 16: "fp16", 8: "int8"}  # of export.quantize; others go by their own name
KEYS = ("quantize", "opset", "nms", "dynamic")  # of export.*
OPSETS = (9, 20)  # of the tracing exporter of torch, which ultralytics uses
LARGEST_INT8_OPSET = 20  # ONNX Runtime quantises none above it
# The module that the exporter imports and the package it is in; those of int8 follow a plus sign.
PACKAGES = {
    "torchscript": "",
    "onnx": "onnx onnxruntime",
    "openvino": "openvino +nncf",
    "engine": "tensorrt onnx",
    "coreml": "coremltools",
    "coreai": "coreai_torch:coreai-torch",
    "saved_model": "tensorflow onnx2tf",
    "pb": "tensorflow onnx2tf",
    "edgetpu": "tensorflow onnx2tf",
    "litert": "litert_torch:litert-torch +ai_edge_quantizer:ai-edge-quantizer",
    "paddle": "paddle:paddlepaddle x2paddle",
    "mnn": "MNN onnx",
    "ncnn": "ncnn pnnx",
    "imx": "model_compression_toolkit:model-compression-toolkit edgemdt_tpc:edge-mdt-tpc",
    "rknn": "rknn:rknn-toolkit2 onnx",
    "executorch": "executorch",
    "axelera": "axelera:axelera-devkit",
    "deepx": "dx_com",
    "qnn": "onnxruntime_qnn:onnxruntime-qnn onnx",
    "hailo": "hailo_sdk_client onnx",
    "ascend": "onnx",
    "xilinx": "quark:amd-quark onnx",
}
EXTRA = ("onnx", "onnxruntime")  # packages of the extra `export`


@dataclass(frozen=True)
class Format:
    """An export format as ultralytics describes it, with what one command asks of it.

    name: as in ``format=``. suffix: of the exported file. needs_gpu: it cannot be exported on a CPU. runs_here: it can
    be run on a CPU or GPU. arguments: of the exporter, that it takes. quantize: None, 16, 8 or a name such as w8a16.
    nms: True: with non-maximum suppression inside, False: the head without, None: raw boxes and scores.
    """

    name: str
    title: str
    suffix: str
    needs_gpu: bool
    runs_here: bool
    arguments: list[str]
    quantize: Any = None
    nms: bool | None = None
    dynamic: bool = False
    opset: int | None = None

    @property
    def precision(self) -> str:
        return str(PRECISIONS.get(self.quantize, self.quantize))

    @property
    def calibrates(self) -> bool:
        """Whether activations are quantised by what they are on images."""
        return self.quantize in (8, "w8a16") and "data" in self.arguments

    def file(self, checkpoint: str) -> str:
        """The name of the exported file: ``last_int8.onnx``."""
        tags = "" if self.precision == "fp32" else f"_{self.precision}"
        tags += {None: "", True: "_nms", False: "_nonms"}[self.nms]
        return f"{checkpoint}{tags}{self.suffix}"


def settled(name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of :class:`Format` for what ``export.*`` asks. For a child process: imports ultralytics.

    Raises ConfigError for an unknown format, for what it does not take by the tables of ultralytics, and if a package
    that it needs is not installed.
    """
    from ultralytics.engine.exporter import export_formats

    table = export_formats()
    names = list(table["Argument"][1:])  # the first row is PyTorch itself
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]}?" if close else f"must be one of {', '.join(names)}"
        raise ConfigError(f"format={name}: unknown format; {hint}")
    row = {column: values[table["Argument"].index(name)] for column, values in table.items()}
    arguments = list(row["Arguments"])
    quantize = _quantize(name, asked.get("quantize"))
    opset, nms, dynamic = asked.get("opset"), asked.get("nms"), asked.get("dynamic")
    for key, value in {"opset": opset, "nms": nms, "dynamic": dynamic or None}.items():
        if value is not None and key not in arguments and (key, value) != ("nms", False):
            taken = [f"export.{each}" for each in KEYS if each in arguments] or ["none of export.*"]
            raise ConfigError(f"export.{key}={_typed(value)}: format={name} has no {key}; it takes {', '.join(taken)}")
    if opset is not None and not OPSETS[0] <= opset <= OPSETS[1]:
        raise ConfigError(f"export.opset={opset}: must be from {OPSETS[0]} to {OPSETS[1]}")
    if lacking := missing(name, quantize):
        raise ConfigError(f"format={name}: needs {', '.join(lacking)}; {_install(lacking)}")
    exported_on_gpu = (name, quantize) == ("torchscript", 16)  # the tracer of a CPU has no half precision
    return {
        "name": name,
        "title": row["Format"],
        "suffix": row["Suffix"],
        "needs_gpu": exported_on_gpu or (row["GPU"] and not row["CPU"]),
        "runs_here": row["CPU"] or row["GPU"],
        "arguments": arguments,
        "quantize": quantize,
        "nms": nms,
        "dynamic": "dynamic" in arguments and not nms if dynamic is None else dynamic,
        "opset": opset,
    }


def _quantize(name: str, asked: Any) -> Any:
    """What ultralytics calls the precision. Raises ConfigError for one that the format does not have."""
    from ultralytics.cfg import QUANTIZE_ALIASES
    from ultralytics.engine.exporter import FP16_FORMATS, FP32_UNSUPPORTED_FORMATS, INT8_FORMATS
    from ultralytics.engine.exporter import W8A16_FORMATS as W8A16
    from ultralytics.engine.exporter import W8A32_FORMATS as W8A32

    has: dict[Any, bool] = {32: name not in FP32_UNSUPPORTED_FORMATS, 16: name in FP16_FORMATS, 8: name in INT8_FORMATS}
    has |= {"w8a16": name in W8A16, "w8a32": name in W8A32}
    right = [f"export.quantize={each}" for each, there in has.items() if there]
    choice = f"use {' or '.join(right)}" if right else "it has no other"
    if asked is None:
        if not has[32]:
            raise ConfigError(f"format={name}: has no float32; {choice}")
        return None
    scheme = QUANTIZE_ALIASES.get(str(asked).lower())
    if scheme is None:
        words = ", ".join(map(str, has))
        raise ConfigError(f"export.quantize={_typed(asked)}: must be one of {words}, or a name such as int8 or fp16")
    if not has[scheme]:
        raise ConfigError(f"export.quantize={asked}: format={name} does not have it; {choice}")
    return None if scheme == 32 else scheme


def missing(name: str, quantize: Any) -> list[str]:
    """The packages that the format needs and that are not installed."""
    lacking = []
    for text in PACKAGES.get(name, "").split():
        module, _, package = text.lstrip("+").partition(":")
        if (not text.startswith("+") or quantize == 8) and importlib.util.find_spec(module) is None:
            lacking.append(package or module)
    return lacking


def _install(lacking: list[str]) -> str:
    return "pip install " + ("'acmix_exp[export]'" if set(lacking) <= set(EXTRA) else " ".join(lacking))


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
