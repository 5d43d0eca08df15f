"""Which checkpoints are read, and what is said of those of another network."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.child import RESTRICTED
from tests.robustness.cases import Row, add, case

SECTION = "Checkpoints"
ARCHIVE = Path(__file__).parents[1] / "fixtures" / "version_0_1.tar.xz"
READ = """
import sys
from pathlib import Path
from acmix_exp.yolo import checkpoints
for path in sys.argv[1:]:
    model, content = checkpoints.load(Path(path))
    print(type(model).__name__, next(model.parameters()).dtype, model.training)
"""
NETWORKS = {  # YAML: what it is said to be, and the class of the network
    "yolov8s": ("weights of scale s; must be of model.scale=n", "DetectionModel"),
    "yolov8n-p2": ("is yolov8n-p2 (task detect, 80 classes)", "DetectionModel"),
    "yolov3-tiny": ("is yolov3-tiny (task detect, 80 classes)", "DetectionModel"),
    "yolov5n": ("is yolov5n (task detect, 80 classes)", "DetectionModel"),
    "yolov9t": ("is yolov9t (task detect, 80 classes)", "DetectionModel"),
    "yolov10n": ("is yolov10n (task detect, 80 classes)", "DetectionModel"),
    "yolo11n": ("is yolo11n (task detect, 80 classes)", "DetectionModel"),
    "yolo12n": ("is yolo12n (task detect, 80 classes)", "DetectionModel"),
    "yolo26n": ("is yolo26n (task detect, 80 classes)", "DetectionModel"),
    "rtdetr-l": ("is rtdetr-l (task detect, 80 classes)", "RTDETRDetectionModel"),
    "yolov8n-worldv2": ("is yolov8n-worldv2 (task detect, 80 classes)", "WorldModel"),
    "yolov8n-seg": ("is yolov8n-seg (task segment, 80 classes)", "SegmentationModel"),
    "yolov8n-pose": ("is yolov8n-pose (task pose, 1 classes)", "PoseModel"),
    "yolov8n-obb": ("is yolov8n-obb (task obb, 80 classes)", "OBBModel"),
    "yolov8n-cls": ("is yolov8n-cls (task classify, 1000 classes)", "ClassificationModel"),
}
for _name in NETWORKS:
    add(Row(SECTION, f"{_name}.pt as `model.pretrained` of YOLOv8n", "refused before the first job, with what it is"))


def built(yaml: str, folder: Path) -> Path:
    import torch
    from ultralytics.nn import tasks

    path = folder / f"{yaml}.pt"
    torch.save({"model": getattr(tasks, NETWORKS[yaml][1])(f"{yaml}.yaml", verbose=False).half()}, path)
    return path


def lines(paths: dict[str, Path]) -> dict[str, str]:
    """The preflight's line for each file as model.pretrained."""
    from acmix_exp.yolo.preflight import preflight
    from tests.yolo.builders import make_config

    found = preflight([make_config(arm__insert=False, model__pretrained=str(path)) for path in paths.values()])
    return {name: line for line, numbers in found.items() for name in [list(paths)[number] for number in numbers]}


def check(names: list[str], folder: Path) -> None:
    found = lines({name: built(name, folder) for name in names})
    assert found.keys() == set(names)
    for name in names:
        assert found[name].startswith(f"model.pretrained={folder / name}.pt: {NETWORKS[name][0]}")
        assert "must be" in found[name]


def test_another_network_is_named(tmp_path: Path) -> None:
    check(["yolov8s", "yolo11n", "yolov8n-seg"], tmp_path)


@pytest.mark.slow
def test_every_other_network_is_named(tmp_path: Path) -> None:
    check([name for name in NETWORKS if name not in ("yolov8s", "yolo11n", "yolov8n-seg")], tmp_path)


def forms() -> dict[str, Callable[[Any], dict[str, Any]]]:
    """What ultralytics saves of a network: while it trains, and at the end."""
    import torch

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
    optimizer.param_groups[0]["initial_lr"] = 0.1
    facts = {
        "epoch": 3,
        "best_fitness": torch.tensor(0.5).double().numpy()[()],
        "updates": 7,
        "optimizer": optimizer.state_dict(),
        "scaler": {},
        "train_args": {"task": "detect", "data": Path("coco.yaml"), "imgsz": 640},
        "train_metrics": {"fitness": 0.1},
        "train_results": {"epoch": [1, 2]},
        "date": "2026-01-01T00:00:00",
        "version": "8.4.190",
        "git": {"root": "/x", "branch": None},
    }
    return {
        "while it trains": lambda model: {**facts, "model": None, "ema": model.half()},
        "in float32 with an optimizer": lambda model: {**facts, "model": model, "ema": None},
        "stripped": lambda model: {**facts, "epoch": -1, "optimizer": None, "model": model.half(), "ema": None},
        "an EMA alone": lambda model: {"ema": model},
        "a network alone, in a dict": lambda model: {"model": model},
    }


@case(
    SECTION,
    have="YOLOv8n weights in float16 or float32, with or without the optimizer, of another number of classes, with the "
    "averaged network alone",
    here="read",
)
@pytest.mark.slow
def test_what_ultralytics_saves_is_read(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    paths = {}
    for number, (name, content) in enumerate(forms().items()):
        paths[name] = tmp_path / f"{number}.pt"
        torch.save(content(DetectionModel("yolov8n.yaml", nc=number + 1, verbose=False)), paths[name])
    assert lines(paths) == {}
    printed = restricted(*paths.values())
    assert printed == ["DetectionModel torch.float32 False"] * len(paths)


def restricted(*paths: Path) -> list[str]:
    """What is read in a child, where torch and ultralytics are told to refuse what is not allowed."""
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, paths)],
        env={**os.environ, **RESTRICTED, "ACMIX_EXP_USER_YOLO_CONFIG_DIR": "", "YOLO_VERBOSE": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@case(SECTION, have="a run of version 0.1", here="its checkpoints are read by the same restricted unpickling")
@pytest.mark.slow
def test_checkpoints_of_version_0_1_are_read(tmp_path: Path) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    printed = restricted(*sorted(tmp_path.glob("*/*/weights/*.pt")))
    assert len(printed) >= 5
    assert {line.split()[0] for line in printed} == {"BlockDetectionModel", "DetectionModel"}


NOT_WHOLE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a state_dict": (lambda model: model.state_dict(), "a state_dict of 355 tensors without their network"),
    "a state_dict under the key model": (
        lambda model: {"model": model.state_dict()},
        "a state_dict of 355 tensors without their network",
    ),
    "the network itself": (lambda model: model, "a bare DetectionModel (torch.save of the network"),
    "a checkpoint without its network": (lambda model: {"epoch": 3, "optimizer": {}}, "a dict of epoch, optimizer"),
    "a list": (lambda model: [1, 2], "a list that torch saved"),
}
for _name, (_, _words) in NOT_WHOLE.items():
    add(Row(SECTION, f"{_name}, saved by torch, as `model.pretrained`", "refused before the first job: what it is"))


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    model, paths = DetectionModel("yolov8n.yaml", nc=2, verbose=False), {}
    for number, (name, (content, _)) in enumerate(NOT_WHOLE.items()):
        paths[name] = tmp_path / f"{number}.pt"
        torch.save(content(model), paths[name])
    found = lines(paths)
    for name, (_, words) in NOT_WHOLE.items():
        assert f"model.pretrained={paths[name]}: cannot be loaded (it is {words}" in found[name]
