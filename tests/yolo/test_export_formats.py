"""What an export format takes, by the tables of ultralytics, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.yolo import export_formats
from acmix_exp.yolo.export_formats import PACKAGES, Format, missing, settled
from acmix_exp.yolo.run import prepare

prepare()
import ultralytics  # noqa: E402
from ultralytics.cfg import QUANTIZE_ALIASES  # noqa: E402
from ultralytics.engine import exporter  # noqa: E402

TABLE = exporter.export_formats()
NAMES = TABLE["Argument"][1:]


@pytest.fixture
def all_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_formats, "missing", lambda name, quantize: [])


def asked(name: str, **asks: object) -> Format:
    return Format(**settled(name, asks))


@pytest.mark.usefixtures("all_packages")
@pytest.mark.parametrize("name", NAMES)
def test_each_format_takes_the_precisions_that_ultralytics_says(name: str) -> None:
    for quantize in (None, *dict.fromkeys(QUANTIZE_ALIASES.values())):
        arguments = exporter.get_cfg(overrides={"quantize": quantize, "format": name, "batch": 1})
        arguments.data = arguments.device = None
        try:
            exporter.validate_args(name, arguments, ["batch", "data", "quantize"])
            right = name not in exporter.FP32_UNSUPPORTED_FORMATS or quantize not in (None, 32)
        except AssertionError:
            right = False
        if right:
            assert asked(name, quantize=quantize).quantize == (None if quantize == 32 else quantize)
        else:
            with pytest.raises(ConfigError, match=rf"^(export.quantize={quantize}|format={name}): .*export.quantize="):
                settled(name, {"quantize": quantize})


@pytest.mark.usefixtures("all_packages")
def test_the_facts_of_a_format() -> None:
    onnx = asked("onnx", quantize="int8", opset=17)
    assert (onnx.title, onnx.precision, onnx.opset, onnx.dynamic, onnx.calibrates) == ("ONNX", "int8", 17, True, True)
    assert onnx.arguments == TABLE["Arguments"][TABLE["Argument"].index("onnx")]
    assert (onnx.file("last"), asked("onnx", nms=True).file("best")) == ("last_int8.onnx", "best_nms.onnx")
    assert asked("openvino", quantize=16).file("last") == "last_fp16_openvino_model"
    assert (asked("onnx", nms=True).dynamic, asked("onnx", nms=True, dynamic=True).dynamic) == (False, True)
    assert [name for name in NAMES if name not in exporter.FP32_UNSUPPORTED_FORMATS and asked(name).needs_gpu] == [
        "engine"
    ]
    assert asked("torchscript", quantize=16).needs_gpu
    assert not asked("coreml", quantize=8).calibrates  # of the weights alone
    assert not asked("rknn", quantize=16).runs_here


@pytest.mark.usefixtures("all_packages")
@pytest.mark.parametrize(
    ("name", "asks", "line"),
    [
        ("onxx", {}, "format=onxx: unknown format; did you mean onnx?"),
        ("-", {}, "format=-: unknown format; must be one of torchscript, onnx"),
        ("imx", {}, "format=imx: has no float32; use export.quantize=8"),
        ("rknn", {"quantize": 32}, "export.quantize=32: format=rknn does not have it; use export.quantize=16 or "),
        ("ncnn", {"quantize": 8}, "export.quantize=8: format=ncnn does not have it; use export.quantize=32 or "),
        ("onnx", {"quantize": 4}, "export.quantize=4: must be one of 32, 16, 8, w8a16, w8a32, or a name such as int8"),
        ("onnx", {"quantize": True}, "export.quantize=true: must be one of 32, 16, 8"),
        ("torchscript", {"opset": 17}, "export.opset=17: format=torchscript has no opset; it takes export.quantize"),
        ("litert", {"nms": True}, "export.nms=true: format=litert has no nms; it takes export.quantize"),
        ("pb", {"dynamic": True}, "export.dynamic=true: format=pb has no dynamic; it takes export.opset"),
        ("paddle", {"dynamic": True}, "export.dynamic=true: format=paddle has no dynamic; it takes none of export.*"),
        ("onnx", {"opset": 3}, "export.opset=3: must be from 9 to 20"),
        ("onnx", {"opset": 30}, "export.opset=30: must be from 9 to 20"),
    ],
)
def test_what_a_format_lacks_is_refused(name: str, asks: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        settled(name, asks)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("onnxruntime", "nncf") else object())
    with pytest.raises(ConfigError, match=r"^format=onnx: needs onnxruntime; pip install 'acmix_exp\[export\]'$"):
        settled("onnx", {})
    assert (missing("openvino", None), missing("openvino", 8)) == ([], ["nncf"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^format=rknn: needs rknn-toolkit2, onnx; pip install rknn-toolkit2 onnx$"):
        settled("rknn", {"quantize": 16})


def test_the_packages_are_what_the_exporter_imports() -> None:
    root = Path(ultralytics.__file__).parent
    text = "\n".join(path.read_text() for path in (root / "engine/exporter.py", *(root / "utils/export").glob("*.py")))
    assert set(PACKAGES) == set(NAMES)
    for name, packages in PACKAGES.items():
        for each in packages.split():
            module, _, package = each.lstrip("+").partition(":")
            assert any(words in text for words in (f"import {module}", f"from {module}", f'"{package}')), (name, each)
