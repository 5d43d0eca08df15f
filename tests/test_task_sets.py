"""Other tasks than detection on data as people have them, from the plan to the exported network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.example_sets import coco8_pose, coco8_seg, dota8

SETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "segment": (coco8_seg, "mask"),
    "pose": (coco8_pose, "pose"),
    "obb": (dota8, "rotated-box"),
}


def command(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code, and what is printed."""
    done = subprocess.run([sys.executable, "-m", "acmix_exp", *arguments], cwd=folder, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", SETS)
def test_from_the_plan_to_the_exported_network(task: str, tmp_path: Path) -> None:
    make, metric = SETS[task]
    data = make(tmp_path / "data")
    given = (f"model.task={task}", "dataset=yolo", f"dataset.path={data}", "train.imgsz=64", "train.batch=4")
    given += ("hardware=cpu", "logger=disabled", "train.epochs=1")
    arms = ("-m", "arm=baseline,identity,configured", *given, "name=own")

    code, text = command(tmp_path, *arms, "task=plan")
    assert (code, "own: 3 cells, 3 runs" in text) == (0, True), text
    code, text = command(tmp_path, *arms)
    assert code == 0, text
    folder = tmp_path / "runs" / "own"
    (table,) = json.loads((folder / "summary.json").read_text())["tables"]
    assert table["metric"] == f"{metric} mAP50-95"
    assert [row["verdict"] for row in table["rows"]] == ["reference", "harness_ok", "too_few_seeds"]
    for file in ("report.html", "summary.md", "table.tex"):
        assert f"{metric} mAP50-95" in (folder / file).read_text(), file
    (run,) = folder.glob("acmix-mixed-s0-*")
    if task == "pose":
        from acmix_exp.yolo import checkpoints

        assert checkpoints.load(run / "weights" / "last.pt")[0].kpt_names[0][:2] == ["nose", "left_eye"]
    assert (run / "images" / "images.json").is_file()

    code, text = command(tmp_path, "task=evaluate", f"run={run}", "hardware=cpu")
    assert (code, f"{metric} mAP50-95" in text) == (0, True), text
    code, text = command(tmp_path, *arms, "task=profile", "profile.seconds=1")
    assert (code, "acmix-mixed" in text) == (0, True), text
    code, text = command(tmp_path, "task=judge", f"a={run}", "b=runs/own/baseline", "hardware=cpu")
    assert (code, f"{metric} mAP50-95" in text) == (11, True), text
    code, text = command(tmp_path, "task=report", "name=own")
    assert code == 0, text
    if task == "pose":
        code, text = command(tmp_path, *arms, "+train.extra.fliplr=0.5", f"dataset.path={without_flip_idx(data)}")
        assert (code, len(text.strip().splitlines())) == (2, 1), text
        assert "has no flip_idx, without which no image is mirrored" in text
    if task != "obb":  # its four corners are polygons too
        other = "obb" if task == "segment" else "segment"
        code, text = command(tmp_path, f"model.task={other}", *given[1:], "name=other")
        assert (code, f"model.task={other} needs" in text) == (2, True), text
        assert not (tmp_path / "runs" / "other").exists()
    pytest.importorskip("onnxruntime")
    code, text = command(tmp_path, "task=export", f"run={run}", "hardware=cpu")
    assert (code, "last.onnx" in text) == (0, True), text


def without_flip_idx(data: Path) -> Path:
    made = data.with_name("plain.yaml")
    made.write_text("".join(line for line in data.read_text().splitlines(True) if not line.startswith("flip_idx")))
    return made
