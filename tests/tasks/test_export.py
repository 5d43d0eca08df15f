"""Exports that are right, wrong, or cannot be checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.tasks import export
from acmix_exp.tasks.export import Format

SIZE = {"height": 64, "width": 64, "images": 4, "boxes_px": 0.08, "scores": 1e-6}


@pytest.fixture
def conclude(make_run):
    """``conclude(report)``: exit code and the export folder, after a child that made last.onnx and left that report."""
    run = make_run()
    folder = run.path / "export"

    def call(report: dict[str, object], content: str = "new", format: str = "onnx") -> tuple[int, Path]:
        making = folder / ".making-test"
        (making / "made").mkdir(parents=True, exist_ok=True)
        (making / "made" / "last.onnx").write_text(content)
        (making / "log").write_text("what the packages said")
        asked = {"format": format, "imgsz": 64, "arguments": {}, "dataset": "d", "split": "val", "images": ["a/b.png"]}
        return export._conclude(run, Format(format, format, True, []), Path("last.pt"), making, asked, report), folder

    return call


def report(largest: float, **more: object) -> dict[str, object]:
    return {"file": "last.onnx", "device": "cpu", "sizes": [{**SIZE, "boxes": largest, "largest": largest}], **more}


def test_a_matching_export_is_kept_with_its_differences(conclude, capsys):
    code, folder = conclude(report(9e-4))
    assert code == 0
    assert (folder / "last.onnx").read_text() == "new"
    facts = json.loads((folder / "last.onnx.json").read_text())
    assert (facts["largest_difference"], facts["tolerance"], facts["images"]) == (9e-4, 1e-3, ["b.png"])
    assert "largest difference 9.0e-04" in capsys.readouterr().out


def test_a_wrong_export_fails_in_one_line_and_the_earlier_file_stays(conclude, capsys):
    conclude(report(1e-6), "earlier")
    capsys.readouterr()
    code, folder = conclude(report(1.1e-3))
    assert code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "format=onnx: differs from torch by 1.1e-03, more than 1e-03" in err
    assert (folder / "last.onnx").read_text() == "earlier"
    assert json.loads((folder / "last.onnx.json").read_text())["largest_difference"] == 1e-6
    assert (folder / "onnx.log").read_text() == "what the packages said"


def test_a_failure_is_one_line_and_only_its_log_is_kept(conclude, capsys):
    code, folder = conclude({"error": "no such operator"})
    assert code == 1
    assert capsys.readouterr().err == f"acmix_exp: format=onnx: no such operator; see {folder / 'onnx.log'}\n"
    assert {entry.name for entry in folder.iterdir()} == {".making-test", "onnx.log"}


def test_an_export_that_cannot_be_run_here_says_so(conclude, capsys):
    code, folder = conclude(
        {"file": "last.onnx", "device": "cpu", "sizes": [], "not_run": "the package openvino is not installed"}
    )
    assert code == 0
    assert "not run, so not compared with torch: the package openvino" in capsys.readouterr().out
    assert json.loads((folder / "last.onnx.json").read_text())["largest_difference"] is None


def test_a_missing_package_is_named(conclude):
    with pytest.raises(ConfigError, match="format=openvino: needs the package openvino; pip install it"):
        conclude({"missing": "openvino"}, format="openvino")


def test_the_missing_extra_is_named_before_the_export_starts(monkeypatch, make_config):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ConfigError, match=r"format=onnx: needs onnxruntime; pip install 'acmix_exp\[export\]'"):
        export._format(make_config("task=export", "format=onnx"))


def test_weights_that_were_not_kept_are_refused(make_run, make_config):
    from acmix_exp.sweep.compose import Composed
    from acmix_exp.tasks.finished_run import finished, kept_weights

    run = make_run(status="done")
    (run.path / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')
    finished_run, config = finished(Composed(make_config("task=export", f"run={run.path}"), ()))
    assert finished_run == run
    with pytest.raises(ConfigError, match=r"weights were not kept \(train.keep=both\)"):
        kept_weights(run, config)
