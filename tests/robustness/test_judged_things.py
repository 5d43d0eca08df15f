"""What people give to task=judge that is not two things on the same images: one line, exit code 2, no file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.run.directory import runs_in
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.tasks.judge import judge
from tests.report.builders import add_run
from tests.report.test_object_sizes import made_up, recorded
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import tiny_data
from tests.tasks.test_judge import add_arm, predictions

SECTION = "Which of two is better"
LINE = "one line, exit code 2: "


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("things")
    data = tiny_data(folder / "data")
    add_arm(folder / "runs" / "x", "mixed", 0.0, 2)
    add_arm(folder / "runs" / "x", "baseline", 0.1, 2)
    for name in ("p.json", "q.json"):
        (folder / name).write_text(json.dumps(predictions(data, 0.01, ord(name[0]))))
    return folder


@pytest.fixture
def things(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with runs, a data set and files of predictions."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*arguments: str) -> str:
    """The line with which task=judge refuses; it writes nothing."""
    with pytest.raises(ConfigError) as caught:
        judge(compose_cells(["task=judge", "name=j", *arguments])[0])
    (line,) = caught.value.lines
    assert not Path("runs/j").exists()
    return line


DATA = "dataset=yolo dataset.path=data/data.yaml split=val"
WRONG = {
    "masks": (
        f"a=p.json b=q.json model.task=segment {DATA}",
        "model.task=segment: of COCO files the boxes are compared, and nothing else; leave it out",
        "COCO files of masks or keypoints, with `model.task=segment` or `pose`",
    ),
    "nothing": ("a=runs/x/mixed", "b=[]: task=judge compares two things", "`task=judge` with one thing alone"),
    "the same": (
        "a=runs/x/mixed b=runs/x/mixed",
        "a=runs/x/mixed b=runs/x/mixed: are the same; must be two different things",
        "the same thing as a and as b",
    ),
    "twice": (
        f"a=[p.json,copy.json] b=[q.json,q.json] {DATA}",
        "a=p.json a=copy.json: are the same; must be of different trainings",
        "a list that holds the same file twice, or a copy of it: seeds that are none",
    ),
    "no file": ("a=none.pt b=runs/x/mixed", "a=none.pt: no such file or folder", "a file that does not exist"),
    "a folder": (
        "a=runs/x b=runs/x/mixed",
        "a=runs/x: a folder of runs; name one of its arms, runs/x/baseline, runs/x/mixed",
        "the folder of an experiment in place of an arm",
    ),
    "no arm": (
        "a=runs/x/conv b=runs/x/mixed",
        "a=runs/x/conv: no such arm; those of runs/x are baseline, mixed",
        "an arm that the folder does not have",
    ),
    "onnx": (
        "a=model.onnx b=runs/x/mixed",
        "a=model.onnx: is neither .pt nor .json",
        "an exported network (.onnx) in place of a checkpoint",
    ),
    "mixed": (
        f"a=p.json b=runs/x/mixed {DATA}",
        "a=p.json: a COCO file goes with another one, and b=runs/x/mixed is a run",
        "a COCO file against a run or a checkpoint",
    ),
    "lengths": (
        f"a=[p.json,q.json] b=r.json {DATA}",
        "a has 2 and b has 1: must be as many",
        "lists of files of different length",
    ),
    "no data": (
        "a=p.json b=q.json",
        "dataset: must be named, dataset=yolo dataset.path=my/data.yaml split=test",
        "COCO files or checkpoints without a data set",
    ),
    "no split": (
        "a=p.json b=q.json dataset=yolo dataset.path=data/data.yaml split=test",
        "split=test: must be one of the data set's splits, train, val",
        "a split that the data set does not have",
    ),
    "images": (
        f"a=p.json b=other.json {DATA}",
        'b=other.json: 8 of its 8 images are none of the split (the first is "street_0")',
        "COCO files whose images are not those of the data set",
    ),
    "classes": (
        f"a=p.json b=classes.json {DATA}",
        "b=classes.json: category_id is 7 to 7; must be 1 to 1, for square in this order",
        "COCO files with classes that the data set does not have",
    ),
    "annotations": (
        f"a=truth.json b=p.json {DATA}",
        "a=truth.json: prediction 0 has no score; must be predictions, not annotations",
        "COCO annotations in place of predictions",
    ),
    "no json": (f"a=text.json b=p.json {DATA}", "a=text.json: is no JSON", "a file of predictions that is cut short"),
    "no checkpoint": (
        f"a=text.pt b=text2.pt {DATA}",
        "a=text.pt: cannot be loaded (it is a text file); must be a .pt file that ultralytics saved",
        "a .pt file that is no checkpoint",
    ),
    "margin": (
        "a=runs/x/mixed b=runs/x/baseline report.margin=0",
        "report.margin=0.0: must be a difference in mAP50-95 above 0, below 1; a point is 0.01",
        "`report.margin=0`",
    ),
}
for _, says, have in WRONG.values():
    add(Row(SECTION, have, LINE + (says.partition(": ")[2] or says)))


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_judged_is_one_line(name: str, things: Path) -> None:
    line, says, _ = WRONG[name]
    entries = json.loads(Path("p.json").read_text())
    shutil.copyfile("p.json", "copy.json")
    for file, content in {
        "r.json": entries[1:],
        "other.json": [{**entry, "image_id": f"street_{number}"} for number, entry in enumerate(entries)],
        "classes.json": [{**entry, "category_id": 7} for entry in entries],
        "truth.json": {"annotations": [{**entry, "id": 1} for entry in entries]},
    }.items():
        Path(file).write_text(json.dumps(content))
    without_score = json.loads(Path("truth.json").read_text())
    for entry in without_score["annotations"]:
        del entry["score"]
    Path("truth.json").write_text(json.dumps(without_score))
    Path("text.json").write_text(json.dumps(entries)[:-20])
    Path("model.onnx").write_bytes(b"\x08\x07")
    for file in ("text.pt", "text2.pt"):
        Path(file).write_text("no checkpoint" + file)
    assert says in refused(*line.split())


def changed(change: Callable[[Path], object]) -> str:
    """The line with which task=judge refuses two runs, after a change to the folder of the second."""
    add_run(Path("runs/y"), "conv", 0, 2, pictures=False)
    (other,) = (run.path for run in runs_in(Path("runs/y")))
    recorded(made_up(0, images=40)).save(other / "outcomes.npz")
    change(other)
    first = next(run.path for run in runs_in(Path("runs/x")))
    return refused(f"a={first}", f"b={other}")


@case(
    SECTION,
    have="runs that were scored on other images, or whose outcomes.npz is gone",
    here=f"{LINE}`dataset=...` evaluates their weights on the same images",
)
def test_runs_of_other_images(things: Path) -> None:
    line = changed(lambda path: recorded(made_up(1, images=30)).save(path / "outcomes.npz"))
    assert "were scored on different images; dataset=... split=... evaluates both on the same" in line


def test_runs_without_outcomes(things: Path) -> None:
    assert "outcomes.npz is missing or cannot be read; dataset=... evaluates the weights" in changed(
        lambda path: (path / "outcomes.npz").write_bytes(b"PK")
    )


@case(SECTION, have="a run that is not finished", here=f"{LINE}its status")
def test_a_run_that_is_not_finished(things: Path) -> None:
    line = changed(lambda path: (path / "result.json").unlink())
    assert "no finished run (status pending); must be one whose status is done" in line


@case(
    SECTION,
    have="an arm that was trained with two settings in one folder",
    here=f"{LINE}two of its runs, to be named in a list",
)
def test_an_arm_of_two_settings(things: Path) -> None:
    run = next(run for run in runs_in(Path("runs/x")) if run.name.startswith("mixed-s1"))
    facts = run.provenance()
    facts["identity"]["train"]["epochs"] = 7
    (run.path / "provenance.json").write_text(json.dumps(facts))
    line = refused("a=runs/x/mixed", "b=runs/x/baseline")
    assert "a=runs/x/mixed: 2 settings are of this arm, as in mixed-s" in line
    assert "name the runs, 'a=[runs/x/RUN,runs/x/RUN]'" in line


@case(
    SECTION,
    have="boxes of a COCO file as corners [x1, y1, x2, y2], or as fractions of the image",
    here=f"corners: named by how many reach beyond their image; fractions: {LINE}bbox must be in pixels",
)
def test_boxes_of_another_form(things: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = json.loads(Path("p.json").read_text())
    corners = [{**e, "bbox": [*e["bbox"][:2], e["bbox"][0] + 24, e["bbox"][1] + 24]} for e in entries]
    Path("r.json").write_text(json.dumps(corners))
    judge(compose_cells(["task=judge", "name=j", "a=p.json", "b=r.json", *DATA.split()])[0])
    assert "b=r.json: " in (out := capsys.readouterr().out)
    assert "of the predictions reach beyond their image" in out
    shutil.rmtree("runs/j")
    fractions = [{**e, "bbox": [side / 64 for side in e["bbox"]]} for e in entries]
    Path("r.json").write_text(json.dumps(fractions))
    assert "b=r.json: bbox is in fractions of the image" in refused("a=p.json", "b=r.json", *DATA.split())


@case(
    SECTION,
    have="the same network under two names",
    here="a difference of 0, undecided; it says that the scores are the same on every resample of the images",
)
def test_the_same_network_under_two_names(things: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = json.loads(Path("p.json").read_text())
    Path("r.json").write_text(json.dumps(entries, indent=1))
    code = judge(compose_cells(["task=judge", "name=j", "a=p.json", "b=r.json", *DATA.split()])[0])
    assert code == 11
    assert "a and b have the same score on every resample of the images" in capsys.readouterr().out


def checkpoint(path: Path, yaml: str, kind: str, classes: list[str]) -> None:
    """An untrained network as ultralytics saves one."""
    import torch
    from ultralytics.nn import tasks

    network = getattr(tasks, kind)(yaml, nc=len(classes), verbose=False)
    network.names = dict(enumerate(classes))
    torch.save({"model": network.half(), "train_args": {"imgsz": 64}}, path)


def command(*arguments: str) -> tuple[int, str]:
    """Exit code and the last line of standard error."""
    line = [sys.executable, "-m", "acmix_exp", "task=judge", "name=j", "hardware=cpu", "hardware.workers=0"]
    done = subprocess.run([*line, *arguments], text=True, capture_output=True, timeout=600, check=False)
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.mark.slow
@case(
    SECTION,
    have="two checkpoints of different classes, or of classes that the data set does not have",
    here=f"{LINE}the classes of both",
)
@case(
    SECTION,
    have="a checkpoint of another task, such as segmentation",
    here=f"{LINE}what it is; two COCO files of predictions may be of any network",
)
@case(
    SECTION,
    have="checkpoints of other families, such as YOLOv8 against YOLO11 or RT-DETR",
    here="evaluated and compared",
)
def test_checkpoints_of_others(things: Path) -> None:
    checkpoint(Path("one.pt"), "yolov8n.yaml", "DetectionModel", ["square"])
    checkpoint(Path("two.pt"), "yolo11n.yaml", "DetectionModel", ["square"])
    checkpoint(Path("cats.pt"), "yolov8n.yaml", "DetectionModel", ["cat", "dog"])
    checkpoint(Path("seg.pt"), "yolov8n-seg.yaml", "SegmentationModel", ["square"])
    code, line = command("a=one.pt", "b=cats.pt", *DATA.split())
    assert (code, line) == (2, "acmix_exp: b=cats.pt: its classes are cat, dog; must be those of a=one.pt, square")
    code, line = command("a=one.pt", "b=seg.pt", *DATA.split())
    assert code == 2
    assert line.startswith("acmix_exp: b=seg.pt: is a SegmentationModel (task segment); must be a detector, or add ")
    assert not Path("runs/j").exists()
    code, line = command("a=one.pt", "b=two.pt", *DATA.split())
    assert code == 11, line
    content = json.loads(Path("runs/j/judge.json").read_text())
    assert content["dataset"]["imgsz"] == [64, 64]
    checkpoint(Path("detr.pt"), "rtdetr-l.yaml", "RTDETRDetectionModel", ["square"])
    code, line = command("a=one.pt", "b=detr.pt", *DATA.split())
    assert code == 11, line
