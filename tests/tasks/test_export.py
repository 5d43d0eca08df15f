"""Exports that are right, wrong, or cannot be checked; which images they are calibrated and compared on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.config import Config
from acmix_exp.data import Dataset
from acmix_exp.errors import ConfigError
from acmix_exp.run.directory import Run
from acmix_exp.sweep.compose import Composed
from acmix_exp.tasks import export
from acmix_exp.tasks.finished_run import finished, kept_weights, why_kept
from acmix_exp.yolo.export_formats import Format

SIZE = {"height": 64, "width": 64, "images": 4, "boxes_px": 0.08, "scores": 1e-6, "compared": 84}
FORMAT = Format("onnx", "ONNX", ".onnx", False, True, ["dynamic", "data"], dynamic=True)


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
        asked = {"imgsz": 64, "dataset": "d", "split": "val", "images": ["a/b.png"], "calibration": [], "threads": 1}
        asked["weights"] = "weights/last.pt"
        named = replace(FORMAT, name=format)
        return export._conclude(run, named, "last.pt, the last epoch", making, asked, report), folder

    return call


def report(largest: float, **more: object) -> dict[str, object]:
    facts = {"file": "last.onnx", "device": "cpu", "measure": "the largest", "passes": 20}
    facts |= {"limits": {"boxes": 1e-3, "scores": 1e-3}, "latency_ms": {"torch": 5.25, "exported": 2.5}}
    facts |= {"bytes": {"torch": 6_100_000, "exported": 12_200_000}, "sizes": [{**SIZE, "boxes": largest}]}
    return {**facts, **more}


def test_a_format_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^format=onxx: unknown format; did you mean onnx"):
        export._format(Config(format="onxx"))
    assert list(tmp_path.iterdir()) == []


def test_a_matching_export_is_kept_with_its_differences(conclude, capsys):
    code, folder = conclude(report(9e-4))
    assert code == 0
    assert (folder / "last.onnx").read_text() == "new"
    facts = json.loads((folder / "last.onnx.json").read_text())
    assert (facts["sizes"][0]["boxes"], facts["limits"]["boxes"], facts["images"]) == (9e-4, 1e-3, ["b.png"])
    assert (facts["precision"], facts["checkpoint"], facts["latency_ms"]["exported"]) == ("fp32", "last.pt", 2.5)
    out = capsys.readouterr().out
    for text in ("9.0e-04", "0.001", "12.20", "2.50", "checkpoint: last.pt, the last epoch", "any height and width"):
        assert text in out


def test_a_wrong_export_fails_in_one_line_and_the_earlier_file_stays(conclude, capsys):
    conclude(report(1e-6), "earlier")
    capsys.readouterr()
    code, folder = conclude(report(1.1e-3))
    assert code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "format=onnx: differs from torch: boxes at 64x64 by 0.0011, limit 0.001; it was not kept; see" in err
    assert (folder / "last.onnx").read_text() == "earlier"
    assert json.loads((folder / "last.onnx.json").read_text())["sizes"][0]["boxes"] == 1e-6
    assert (folder / "onnx.log").read_text() == "what the packages said"


def test_a_failure_is_one_line_and_only_its_log_is_kept(conclude, capsys):
    code, folder = conclude({"error": "no such operator"})
    assert code == 1
    assert capsys.readouterr().err == f"acmix_exp: format=onnx: no such operator; see {folder / 'onnx.log'}\n"
    assert {entry.name for entry in folder.iterdir()} == {".making-test", "onnx.log"}


def test_an_export_that_cannot_be_run_here_says_so(conclude, capsys):
    more = {"sizes": [], "latency_ms": {}, "not_run": "the package openvino is not installed"}
    code, folder = conclude(report(0, **more))
    assert code == 0
    assert "not run, so not compared with torch: the package openvino" in capsys.readouterr().out
    assert json.loads((folder / "last.onnx.json").read_text())["sizes"] == []


def test_nothing_to_compare_is_said(conclude, capsys):
    assert conclude(report(0, sizes=[{**SIZE, "boxes": 0, "compared": 0}]))[0] == 0
    assert "predicts nothing above the score of the suppression" in capsys.readouterr().out


def test_nan_is_beyond_the_limit(conclude, capsys):
    assert conclude(report(float("nan")))[0] == 1
    assert "boxes at 64x64 by nan" in capsys.readouterr().err


def images(folder: Path, *contents: str) -> tuple[Path, ...]:
    paths = []
    for number, content in enumerate(contents):
        folder.mkdir(exist_ok=True)
        path = folder / f"{number:03}.png"
        path.write_text(content)
        paths.append(path)
    return tuple(paths)


INT8 = replace(FORMAT, quantize=8)


def test_calibration_is_on_val_and_the_comparison_on_other_images(tmp_path):
    val = images(tmp_path / "val", *(f"v{number}" for number in range(40)))
    test = images(tmp_path / "test", "t0", "v3", "t2")  # one is val's too
    split, compared, calibration = export._images(INT8, Dataset("d", {}, {"val": val, "test": test}, tmp_path))
    assert (split, compared) == ("test", list(test))
    assert calibration == [path for path in val if path != val[3]]
    split, compared, calibration = export._images(INT8, Dataset("d", {}, {"val": val}, tmp_path))
    assert (split, len(compared), len(calibration)) == ("val", 16, 24)
    assert not {*compared} & {*calibration}
    many = images(tmp_path / "many", *(f"m{number}" for number in range(700)))
    _, compared, calibration = export._images(INT8, Dataset("d", {}, {"val": many}, tmp_path))
    assert (len(compared), len(calibration)) == (16, 300)
    assert calibration[-1] > many[650]
    assert len(export._images(FORMAT, Dataset("d", {}, {"val": val}, tmp_path))[1]) == 4


@pytest.mark.parametrize("contents", [("a",), ("a", "a")])
def test_too_few_images_to_calibrate_are_refused(tmp_path, contents):
    dataset = Dataset("mine", {}, {"val": images(tmp_path / "val", *contents)}, tmp_path)
    with pytest.raises(ConfigError, match=f"^export.quantize=8: .* mine has too few, {len(contents)} in val$"):
        export._images(INT8, dataset)


@pytest.mark.parametrize(
    ("metrics", "file", "words"),
    [
        (
            {"checkpoint": "best.pt", "split": "test"},
            "best.pt",
            "the best epoch on val; the table's figures .* on test",
        ),
        ({"checkpoint": "last.pt", "split": "val"}, "last.pt", "the last epoch; the table's .* on val, where best.pt"),
        ({"checkpoint": "last.pt", "split": "val"}, "best.pt", "as last.pt of the table's figures was not kept"),
    ],
)
def test_which_checkpoint_and_why(make_run, make_config, metrics, file, words):
    run = make_run(status="done")
    result = {"metrics": {"map50_95": 0.5, "map50": 0.7, **metrics}, "cost": {}}
    (run.path / "result.json").write_text(json.dumps(result))
    assert re.match(f"{file}, {words}", why_kept(run, make_config(), Path("weights") / file))


def test_a_missing_package_is_named(conclude):
    with pytest.raises(ConfigError, match="format=openvino: needs the package openvino; pip install it"):
        conclude({"missing": "openvino"}, format="openvino")


def test_weights_that_were_not_kept_are_refused(make_run, make_config):
    run = make_run(status="done")
    (run.path / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')
    finished_run, config = finished(Composed(make_config("task=export", f"run={run.path}"), ()))
    assert finished_run == run
    with pytest.raises(ConfigError, match=r"weights were not kept \(train.keep=both\)"):
        kept_weights(run, config)


@pytest.fixture
def arm(make_run, make_config):
    """``arm(seed, status, **identity)``: a run of the arm mixed; and ``found()`` of ``run=.../mixed``."""

    def make(seed: int, status: str = "done", **identity: object) -> Run:
        run = make_run(f"mixed-s{seed}-{len(identity):08}", f"seed={seed}", status=status, seed=seed)
        if status == "done":
            (run.path / "result.json").write_text('{"metrics": {"map50_95": 0.5, "map50": 0.7}, "cost": {}}')
        (run.path / "provenance.json").write_text(json.dumps({"identity": {"seed": seed, **identity}}))
        return run

    return make


def found(make_config, path: Path) -> Run:
    return finished(Composed(make_config("task=export", f"run={path}"), ()))[0]


def test_an_arm_is_its_first_finished_seed(arm, make_config, capsys):
    arm(0, "failed")
    second, third = arm(2), arm(1)
    assert found(make_config, third.path.with_name("mixed")) == third
    assert f"mixed: is {third.path}, the first of its finished seeds 1, 2" in capsys.readouterr().out.replace("\n", "")
    assert found(make_config, second.path) == second


def test_an_arm_that_does_not_stand_for_a_run(arm, make_config):
    path = arm(0, "failed").path.with_name("mixed")
    with pytest.raises(ConfigError, match=f"^run={path}: none of its 1 runs is finished$"):
        found(make_config, path)
    with pytest.raises(ConfigError, match=r"/conv: no such run or arm; the arms of .*/test are mixed$"):
        found(make_config, path.with_name("conv"))
    with pytest.raises(ConfigError, match="none: no finished run; must be a directory runs/NAME/RUN whose status"):
        found(make_config, path.parent / "none" / "none")
    arm(1)
    arm(2, block={"kernel_att": 5})
    with pytest.raises(ConfigError, match=r"2 settings are of this arm; name a run, such as .*mixed-s1-"):
        found(make_config, path)
