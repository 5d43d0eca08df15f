"""Odd input of segmentation, pose and oriented boxes: data, weights and networks that do not fit the task."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acmix_exp.config import Config, DatasetConfig, ModelConfig
from acmix_exp.data import inspect, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.check import faults, mirror_faults
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.planning import refuse_split
from acmix_exp.tasks.judge import _one_task
from acmix_exp.tasks.judge_inputs import RUN, Thing
from acmix_exp.yolo.arguments import refused
from acmix_exp.yolo.sites import Network
from tests.data.builders import YoloSet
from tests.robustness.cases import Row as Line
from tests.robustness.cases import add, case

LABELS, TRAINED, CHECKPOINTS = "YOLO labels and lists", "What is trained", "Checkpoints"
BOX = "0 0.5 0.5 0.2 0.2\n"
POSE = "kpt_shape: [1, 3]\n"
POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.6 0.3 0.8 0.2 0.7\n"
WRONG = {  # what people have: task, rows of every label file, keys of data.yaml, the line
    "boxes where segmentation needs polygons": (
        *("segment", BOX, ""),
        "a.txt:1: a box; model.task=segment needs polygons (class x1 y1 x2 y2 x3 y3 ...) (and 2 more label files",
    ),
    "boxes with an angle (x y w h angle) where oriented boxes need corners": (
        *("obb", "0 0.5 0.5 0.2 0.2 1.5\n", ""),
        "a.txt:1: 6 columns, as boxes with an angle or a confidence have; model.task=obb needs four corners",
    ),
    "a data.yaml without kpt_shape for pose": (
        *("pose", BOX, ""),
        "data.yaml: no key kpt_shape, which model.task=pose needs; must be [keypoints, 2 or 3 values of each]",
    ),
    "pose labels with another number of keypoints than kpt_shape": (
        *("pose", "0 0.5 0.5 0.2 0.2 0.5 0.5 2 0.4 0.4 2\n", POSE),
        "a.txt:1: 11 columns; model.task=pose with kpt_shape [1, 3] needs 8 (class x_center",
    ),
    "pose data for segmentation": (
        *("segment", "0 0.5 0.5 0.2 0.2 0.5 0.5 2\n", POSE),
        "data.yaml: has kpt_shape, so its labels are keypoints; model.task=segment needs polygons",
    ),
    "DOTA's own label files (x1 y1 ... class difficult) for oriented boxes": (
        *("obb", "10 10 20 10 20 20 10 20 ship 0\n", ""),
        "a.txt:1: 'ship', as DOTA's own label files have; ultralytics.data.converter.convert_dota_to_yolo_obb converts",
    ),
    "rows of boxes among polygons for segmentation, whose image ultralytics leaves out": (
        *("segment", POLYGON + BOX, ""),
        "a.txt:2: a box; model.task=segment needs polygons (class x1 y1 x2 y2 x3 y3 ...) (and 2 more label files",
    ),
    "a polygon with a NaN": (
        *("segment", POLYGON.replace("0.6", "nan"), ""),
        "a.txt:1: 'nan' is not a number; a row must be class x1 y1 x2 y2 x3 y3 ...",
    ),
    "polygons where oriented boxes need four corners": (
        *("obb", POLYGON, ""),
        "a.txt:1: 11 columns; model.task=obb needs four corners (class x1 y1 x2 y2 x3 y3 x4 y4)",
    ),
    "flip_idx of another length than kpt_shape": (
        *("pose", "0 0.5 0.5 0.2 0.2 0.5 0.5 2\n", POSE + "flip_idx: [1, 0]\n"),
        "data.yaml: flip_idx is [1, 0]; must be a list of 0 to 0, each once",
    ),
    "flip_idx in which the mirror image of a mirror image is another keypoint": (
        *("pose", BOX, "kpt_shape: [3, 3]\nflip_idx: [1, 2, 0]\n"),
        "data.yaml: flip_idx is [1, 2, 0]: keypoint 0 is 1 in a mirrored image, and 1 is 2; mirrored twice",
    ),
}
for _have in WRONG:
    add(Line(LABELS, _have, "refused before the first run, with the file and what the task needs"))


@pytest.mark.parametrize("have", WRONG)
def test_labels_of_another_task(have: str, tmp_path: Path) -> None:
    task, rows, keys, said = WRONG[have]
    made = YoloSet(tmp_path)
    for stem in ("train/a", "train/b", "train/c", "val/d", "val/e"):
        made.label(stem, rows)
    made.write_yaml(f"train: images/train\nval: images/val\n{keys}names: [cat, dog]\n")
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(made.config, task))
    (line,) = caught.value.lines
    assert said in line


USED = {  # what people have: task, rows, keys of data.yaml, what is said, and the row of the table
    "four corners, some beyond the image, as tiles of DOTA have": (
        *("obb", "0 -0.03 0.4 0.1 0.3 0.2 0.5 0.05 0.6\n0 0.8 0.8 1.02 0.8 1.02 0.9 0.8 0.9\n", ""),
        *("box reaches beyond the image, kept as ultralytics keeps it", "kept, as ultralytics does; named"),
    ),
    "four corners for segmentation": ("segment", "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n", "", "", "used as polygons"),
    "a keypoint beyond the image, for which ultralytics leaves the image out": (
        *("pose", "0 0.5 0.5 0.9 0.9 0.5 0.5 2 1.05 0.4 2\n", "kpt_shape: [2, 3]\nflip_idx: [1, 0]\n"),
        *("keypoint 1.05 0.4 beyond the image, taken as not labelled", "used without that keypoint; named"),
    ),
    "an object without a labelled keypoint": (
        *("pose", "0 0.5 0.5 0.9 0.9 0 0 0\n", POSE + "flip_idx: [0]\n"),
        *("it counts as missed in pose mAP, as in ultralytics", "used; the plan says that it counts as missed"),
    ),
    "keypoints of x and y alone, with 0 0 for those that are not there": (
        *("pose", "0 0.5 0.5 0.9 0.9 0.5 0.5 0 0\n", "kpt_shape: [2, 2]\nflip_idx: [1, 0]\n"),
        *("keypoint 0 0, taken as labelled, as in ultralytics", "as in ultralytics, a keypoint in the corner; named"),
    ),
    "pose data without flip_idx": (
        *("pose", "0 0.5 0.5 0.9 0.9 0.5 0.5 2\n", POSE),
        *("data.yaml has no flip_idx: no image is mirrored in training", "no image is mirrored; named"),
    ),
    "polygons for detection": (
        *("detect", POLYGON, ""),
        *("polygons in 5 label files, used as the boxes around them", "the boxes around them; named"),
    ),
    "keypoints for detection": (
        *("detect", "0 0.5 0.5 0.9 0.9 0.5 0.5 2\n", POSE),
        *("keypoints in 5 label files, of which the boxes are used", "their boxes; named"),
    ),
}
for _have, (*_, _here) in USED.items():
    add(Line(LABELS, _have, str(_here)))


@pytest.mark.parametrize("have", USED)
def test_labels_that_are_used(have: str, tmp_path: Path) -> None:
    task, rows, keys, said, _ = USED[have]
    made = YoloSet(tmp_path)
    for stem in ("train/a", "train/b", "train/c", "val/d", "val/e"):
        made.label(stem, rows)
    made.write_yaml(f"train: images/train\nval: images/val\n{keys}names: [cat]\n")
    found = inspect(resolve(made.config, task))
    assert found.boxes == {"train": 3 * rows.count("\n"), "val": 2 * rows.count("\n")}
    assert said in "\n".join(found.warnings) if said else not found.problems


@case(
    LABELS,
    have="train.extra.fliplr with pose data that have no flip_idx",
    here="refused; without it nothing is flipped",
)
def test_mirroring_without_flip_idx(make_config: Callable[..., Config], tmp_path: Path) -> None:
    made = YoloSet(tmp_path)
    made.write_yaml(f"train: images/train\nval: images/val\n{POSE}names: [cat]\n")
    dataset = resolve(made.config, "pose")
    asked = make_config("model.task=pose", "+train.extra.fliplr=0.5", "+train.extra.flipud=0")
    assert mirror_faults(asked, dataset) == [
        "train.extra.fliplr=0.5: data.yaml has no flip_idx, without which no image is mirrored; add flip_idx there, or "
        "leave this out"
    ]
    made.write_yaml(f"train: images/train\nval: images/val\n{POSE}flip_idx: [0]\nnames: [cat]\n")
    assert mirror_faults(asked, resolve(made.config, "pose")) == []


@case(LABELS, have="dataset.path=coco8-seg.yaml, a file of ultralytics", here="refused; says where it is")
def test_a_data_yaml_of_ultralytics() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(DatasetConfig(name="yolo", path="coco8-seg.yaml"), "segment")
    (line,) = caught.value.lines
    assert line.startswith("dataset.path=coco8-seg.yaml: no such file; ultralytics has ")
    assert "/cfg/datasets/coco8-seg.yaml, for images that you put into " in line
    assert line.endswith("/coco8-seg")


@case(
    LABELS,
    have="dataset=coco8, voc, voc_xml or another set of boxes with another task",
    here="refused; dataset=shapes has them all",
)
def test_sets_of_boxes() -> None:
    with pytest.raises(ConfigError, match=r"coco8: its labels are boxes, and model.task=obb needs four corners"):
        resolve(DatasetConfig(name="coco8"), "obb")


@case(
    TRAINED,
    have="a task that a family does not have (YOLOv5u, YOLOv10, RT-DETR)",
    here="refused; families that have it",
)
def test_families_without_the_task() -> None:
    for model, right in (
        (ModelConfig("yolov5", task="segment"), "use model=yolov8 or yolov9 or yolo11 or yolo12 or yolo26"),
        (ModelConfig("rtdetr", "l", task="obb"), "use model=yolov8 or yolo11 or yolo12 or yolo26"),
        (ModelConfig("yolov9", "t", task="segment"), "use model.scale=c or e"),
        (ModelConfig("yolov8", variant="p2", task="pose"), "use model.variant=null"),
        (ModelConfig("yolov8", task="depth"), "must be one of detect, segment, pose, obb"),
    ):
        with pytest.raises(ConfigError) as caught:
            Network.of(model)
        (line,) = caught.value.lines
        assert line.startswith(f"model.task={model.task}: ")
        assert right in line


@case(TRAINED, have="model.yaml= whose last layer is of another task", here="refused; names the task that it is of")
def test_a_yaml_of_another_task() -> None:
    with pytest.raises(ConfigError) as caught:
        Network.of(ModelConfig(yaml="yolov8-seg.yaml"))
    assert caught.value.lines == [
        "model.yaml=yolov8-seg.yaml: its last layer is Segment; must be Detect, v10Detect or RTDETRDecoder for "
        "model.task=detect, or model.task=segment"
    ]
    assert Network.of(ModelConfig(yaml="yolov8-seg.yaml", task="segment")).head.kind == "Segment"


@case(
    TRAINED, have="train.extra arguments that only another task reads (mask_ratio, kobj, angle)", here="refused, named"
)
def test_arguments_of_another_task() -> None:
    for task, key in (("segment", "mask_ratio"), ("pose", "kobj"), ("obb", "angle")):
        assert refused({key: 1}, ModelConfig(task=task)) == []
        assert "does not use it" in refused({key: 1}, ModelConfig())[0]


@case(TRAINED, have="a sweep over model.task", here="refused: metrics of two tasks are never in one table")
def test_tasks_are_not_swept(make_config: Callable[..., Config]) -> None:
    overrides = ["model.task=pose", "model.task=obb"]
    cells = [Composed(make_config(each), [each]) for each in overrides]
    with pytest.raises(ConfigError, match=r"model.task=pose,obb: can't be swept; give it one value$"):
        refuse_split(cells)


def test_both_ways_to_write_the_key(make_config: Callable[..., Config]) -> None:
    for override in ("model.task=segment", "+model.task=segment", "++model.task=segment"):
        assert faults(make_config(override), ()) == []


@case(CHECKPOINTS, have="weights of another task", here="refused before the first run; the line names both")
def test_weights_of_another_task(tmp_path: Path) -> None:
    import torch

    from acmix_exp.yolo.model import build_model
    from acmix_exp.yolo.preflight import preflight
    from tests.yolo.task_sets import task_config, without_blocks

    boxes, masks = tmp_path / "boxes.pt", tmp_path / "masks.pt"
    torch.save({"model": build_model(without_blocks(task_config("detect")), nc=2)}, boxes)
    torch.save({"model": build_model(task_config("segment"), nc=2)}, masks)
    found = {}
    for task, path in (("segment", boxes), ("obb", masks), ("segment", masks)):
        config = without_blocks(task_config(task, model__pretrained=str(path)))
        found[task, path.stem] = list(preflight([config]))
    assert found == {
        ("segment", "boxes"): [
            f"model.pretrained={boxes}: is yolov8n (task detect, 2 classes); must be a YOLOv8 segmenter of scale n, as "
            "yolov8n-seg.pt is (model.family=yolov8 model.scale=n model.task=segment)"
        ],
        ("obb", "masks"): [
            f"model.pretrained={masks}: is yolov8n-seg (task segment, 2 classes); must be a YOLOv8 detector of "
            "oriented boxes of scale n, as yolov8n-obb.pt is (model.family=yolov8 model.scale=n model.task=obb)"
        ],
        ("segment", "masks"): [],
    }


def test_runs_of_two_tasks_are_not_judged(make_config: Callable[..., Config], tmp_path: Path) -> None:
    things = [
        (Thing(RUN, tmp_path / name, f"{name}={name}"), make_config(f"model.task={task}"), tmp_path)
        for name, task in (("a", "pose"), ("b", "obb"))
    ]
    with pytest.raises(ConfigError, match=r"b=b: b is of model.task=obb and a of model.task=pose; must be of one task"):
        _one_task(things)


@pytest.mark.slow
@case(TRAINED, have="an ablation of masks or keypoints", here="as of boxes; the headline names its metric")
def test_the_program_from_end_to_end(tmp_path: Path) -> None:
    """Two arms of pose: the plan, the tables, the control for the harness, and an evaluation."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "acmix_exp", *arguments]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    train = ("train.epochs=1", "train.imgsz=64", "hardware=cpu", "logger=disabled", "+train.extra.fraction=0.1")
    asked = ("arm=baseline,identity", "model.task=pose", "dataset=shapes", "name=pose", *train)
    assert "yolov8n-pose" in run("-m", *asked)
    (table,) = json.loads((tmp_path / "runs/pose/summary.json").read_text())["tables"]
    assert table["metric"] == "pose mAP50-95"
    assert [row["verdict"] for row in table["rows"]] == ["reference", "harness_ok"]
    (folder,) = (tmp_path / "runs" / "pose").glob("identity-s0-*")
    assert "pose mAP50-95" in run("task=evaluate", f"run={folder}", "hardware.device=cpu")
    result = json.loads((folder / "result.json").read_text())
    assert {"precision", "recall", "map50", "map50_95"} == result["metrics"]["box"].keys()
    assert (folder / "images" / "images.json").is_file()
    page = (tmp_path / "runs/pose/report.html").read_text()
    assert "pose mAP50-95" in page
