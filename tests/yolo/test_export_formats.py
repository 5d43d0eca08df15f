"""The table that is read from ultralytics' source is the one that it exports by."""

from __future__ import annotations

from acmix_exp.yolo.export_formats import export_formats


def test_is_the_table_of_the_installed_version() -> None:
    from ultralytics.engine import exporter

    theirs = exporter.export_formats()
    ours = export_formats()
    assert ["-", *ours] == list(theirs["Argument"])
    assert ["PyTorch", *(format.title for format in ours.values())] == list(theirs["Format"])
    assert [list(format.arguments) for format in ours.values()] == list(theirs["Arguments"][1:])
    assert [format.cpu for format in ours.values()] == list(theirs["CPU"][1:])
    assert [format.gpu for format in ours.values()] == list(theirs["GPU"][1:])
    lacking = {name for name, format in ours.items() if not format.full_precision}
    assert lacking == exporter.FP32_UNSUPPORTED_FORMATS
    assert "dynamic" in ours["onnx"].arguments
