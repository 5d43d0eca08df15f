"""``task=judge``: runs, arms, checkpoints and COCO files against each other; exit code, lines and judge.json."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acmix_exp.data import read_split, resolve
from acmix_exp.outcomes import Outcomes
from acmix_exp.report.judgement import score
from acmix_exp.run.directory import runs_in
from acmix_exp.run.replicates import multiplicities
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.tasks.judge import judge
from tests.report.builders import add_run
from tests.report.test_object_sizes import Image, made_up, recorded
from tests.robustness.commands import COMMON, QUIET, tiny_data


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def moved(images: list[Image], share: float, seed: int) -> list[Image]:
    """The detections moved at random by a share of their sides: a worse network."""
    random, result = np.random.default_rng(seed), []
    for image in images:
        sides = np.tile(image["found_boxes"][:, 2:] - image["found_boxes"][:, :2], 2)
        boxes = image["found_boxes"] + share * sides * random.normal(size=sides.shape)
        result.append({**image, "found_boxes": boxes.astype(np.float32)})
    return result


@cache
def scored(share: float, seed: int) -> Outcomes:
    return recorded(moved(made_up(0, images=40), share, seed))


def add_arm(folder: Path, arm: str, share: float, seeds: int, old: bool = False) -> None:
    """Finished runs of an arm, whose detections are moved by ``share``."""
    for seed in range(seeds):
        path = add_run(folder, arm, seed, 2, pictures=False)
        outcomes = scored(share, seed + 1000 * (arm == "baseline"))
        arrays = {name: value for name, value in vars(outcomes).items() if name != "boxes"}
        np.savez(path / "outcomes.npz", **arrays) if old else outcomes.save(path / "outcomes.npz")


def judged(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """Exit code, what is printed and the content of judge.json."""
    code = judge(compose_cells(["task=judge", "name=j", *arguments])[0])
    return code, capsys.readouterr().out, json.loads(Path("runs/j/judge.json").read_text())


def test_arms_of_two_folders_by_seed(capsys: pytest.CaptureFixture[str]) -> None:
    add_arm(Path("runs/mine"), "mixed", 0.0, 8)
    add_arm(Path("runs/theirs"), "baseline", 0.15, 7)
    code, out, content = judged(capsys, "a=runs/mine/mixed", "b=runs/theirs/baseline")
    assert code == 0
    assert content["verdict"] == "better"
    assert content["seeds"]["n"] == 7
    assert content["population"]["low"] > 0
    assert "seed 7 of a has no partner and is left out" in out
    assert "a: runs/mine/mixed (8 runs)" in out
    assert "a is better than b: +" in out.splitlines()[-2]
    assert out.splitlines()[-1] == "written to runs/j/judge.json"
    assert [row.split()[1:3] for row in out.splitlines() if "AP " in row] == [
        ["AP", size] for size in ("small", "medium", "large")
    ]
    assert {"0", "1", "2"} == content["by_class"].keys()
    assert judged(capsys, "b=runs/mine/mixed", "a=runs/theirs/baseline")[0] == 12
    assert judged(capsys, "b=runs/mine/mixed", "a=runs/theirs/baseline", "report.margin=0.9")[0] == 10


def test_two_runs_are_judged_by_their_images_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    add_arm(Path("runs/mine"), "mixed", 0.0, 1)
    add_arm(Path("runs/mine"), "baseline", 0.15, 1)
    paths = [str(run.path) for run in runs_in(Path("runs/mine"))]
    code, out, content = judged(capsys, f"a={paths[1]}", f"b={paths[0]}")
    assert code == 0
    assert content["covers"] == ["test images"]
    assert content["seeds"] is None
    assert "only the noise of the test images is covered" in out
    sides = content["sides"]
    assert sides["a"]["things"][0]["map50_95"] - sides["b"]["things"][0]["map50_95"] == content["difference"]


def test_the_head_that_is_scored_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    add_arm(Path("runs/mine"), "mixed", 0.0, 2)
    add_arm(Path("runs/mine"), "baseline", 0.15, 2)
    for run in runs_in(Path("runs/mine")):
        if run.name.startswith("mixed"):
            result = json.loads((run.path / "result.json").read_text())
            result["metrics"] |= {
                "head": "nms_free",
                "heads": {"nms": {"map50_95": 0.4}, "nms_free": {"map50_95": 0.3}},
            }
            (run.path / "result.json").write_text(json.dumps(result))
    _, out, content = judged(capsys, "a=runs/mine/mixed", "b=runs/mine/baseline")
    assert out.count("a=runs/mine/mixed: scored by the head one-to-one, NMS-free, of two") == 1
    assert [each.get("head") for each in content["sides"]["a"]["things"]] == ["nms_free", "nms_free"]
    assert "head" not in content["sides"]["b"]["things"][0]
    assert "heads" not in content["dataset"]


def test_runs_of_an_older_version_have_no_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    add_arm(Path("runs/mine"), "mixed", 0.0, 2)
    add_arm(Path("runs/mine"), "baseline", 0.15, 2, old=True)
    code, out, content = judged(capsys, "a=runs/mine/mixed", "b=runs/mine/baseline")
    assert code == 11
    assert content["by_size"] is None
    assert "AP by size is not known: outcomes.npz of baseline-s0-" in out
    assert "6 seeds a side are needed" in out


def test_an_arm_with_unfinished_and_diverged_runs(capsys: pytest.CaptureFixture[str]) -> None:
    add_arm(Path("runs/mine"), "mixed", 0.0, 9)
    add_arm(Path("runs/mine"), "baseline", 0.15, 9)
    runs = {run.name.rsplit("-", 1)[0]: run for run in runs_in(Path("runs/mine"))}
    (runs["mixed-s6"].path / "result.json").unlink()
    runs["mixed-s6"].set_status(status="interrupted")
    for seed in (7, 8):
        run = runs[f"mixed-s{seed}"]
        (run.path / "result.json").unlink()
        run.set_status(status="failed", error="NonFiniteLoss: the loss is nan", diverged=1)
    code, out, _ = judged(capsys, "a=runs/mine/mixed", "b=runs/mine/baseline")
    assert code == 11
    assert "a=runs/mine/mixed: seed 6 is not finished and is left out" in out
    assert "2 runs of a diverged" in out


def predictions(data: Path, share: float, seed: int) -> list[dict[str, Any]]:
    """Detections of the validation images of ``tiny_data``: its boxes, moved by a share of their sides."""
    random, entries = np.random.default_rng(seed), []
    for sample in read_split(resolve(compose_cells(["dataset=yolo", f"dataset.path={data}"])[0].config.dataset), "val"):
        for _, x, y, width, height in sample.boxes.astype(float) * [1, 64, 64, 64, 64]:
            for _ in range(2):
                left, top = (float(v) for v in [x - width / 2, y - height / 2] + share * width * random.normal(size=2))
                box = [left, top, float(width), float(height)]
                score = float(random.uniform(0.3, 1))
                entries.append({"image_id": int(sample.image.stem), "category_id": 1, "bbox": box, "score": score})
    return entries


def test_two_coco_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_data(tmp_path / "data")
    for name, share in (("a", 0.01), ("b", 0.3)):
        Path(f"{name}.json").write_text(json.dumps(predictions(data, share, 0)))
    places = ("dataset=yolo", f"dataset.path={data}", "split=val")
    code, out, content = judged(capsys, "a=a.json", "b=b.json", *places)
    assert code == 0
    assert content["metric"] == "AP"
    assert content["dataset"]["images"] == 4
    assert content["by_size"].keys() == {"small"}
    assert "split=val: best.pt of this data set was chosen by its score on these images" in out
    assert "a=a.json: classes are numbered from 1" in out
    for name in "cdefgh":
        Path(f"{name}.json").write_text(json.dumps(predictions(data, 0.01, ord(name))))
    code, _, content = judged(capsys, "a=[a.json,c.json,d.json]", "b=[b.json,e.json,f.json]", *places)
    assert code == 11
    assert content["seeds"]["n"] == 3


@pytest.mark.slow
def test_two_checkpoints_and_a_run(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "data")

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "acmix_exp", *arguments]
        return subprocess.run(line, text=True, capture_output=True, timeout=600, check=False)

    quick = ("train=quick", "train.epochs=1", f"dataset.path={data}", *COMMON, *QUIET)
    done = command("-m", "seed=0,1", "name=t", *quick)
    assert done.returncode == 0, done.stderr
    first, second = (run.path for run in runs_in(Path("runs/t")))
    shutil.copyfile(first / "weights" / "last.pt", "mine.pt")
    shutil.copyfile(second / "weights" / "last.pt", "theirs (1).pt")
    given = ("dataset=yolo", f"dataset.path={data}", "hardware=cpu", "hardware.workers=0")
    done = command("task=judge", "name=j", "a=mine.pt", "b=theirs (1).pt", *given)
    assert done.returncode in (0, 11, 12), done.stderr
    content = json.loads(Path("runs/j/judge.json").read_text())
    assert content["dataset"]["imgsz"] == [64, 64]  # their own
    assert [side["kind"] for side in content["sides"].values()] == ["checkpoint", "checkpoint"]
    stored = command("task=judge", "name=k", f"a={first}", f"b={second}")
    assert stored.returncode == done.returncode
    other = json.loads(Path("runs/k/judge.json").read_text())
    for key in ("difference", "images", "by_size", "by_class"):
        assert other[key] == content[key], key
    mixed = command("task=judge", "name=l", f"a={first}", "b=theirs (1).pt", *given)
    assert mixed.returncode == done.returncode
    (data.parent / "data.yaml").write_text(data.read_text().replace("square", "disc"))
    refused = command("task=judge", "name=m", "a=mine.pt", "b=theirs (1).pt", *given)
    assert refused.returncode == 2
    assert "its classes are disc; must be those of the checkpoint, square" in refused.stderr
    assert not Path("runs/m").exists()


def test_paths_are_taken_as_typed() -> None:
    odd = "a=我的 (1)/a,b.pt"
    config = compose_cells(["task=judge", odd, "b=[x y.pt, z.pt]"])[0].config
    assert config.a == ["我的 (1)/a,b.pt"]
    assert config.b == ["x y.pt", "z.pt"]


def test_a_score_needs_no_torch(tmp_path: Path) -> None:
    """The parent process judges: it imports no torch."""
    outcomes = recorded(made_up(0))
    assert score(outcomes, multiplicities("f", "val", 8, 10), coco=True).headline > 0
    code = "import acmix_exp.tasks.judge, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0
