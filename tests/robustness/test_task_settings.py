"""What each task does with a setting: it acts, or it is refused; and tasks in folders with odd names."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp.sweep.compose import compose_cells
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import tiny_data
from tests.robustness.test_command_line import SECTION, faults


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# By task: what it does not use, in any spelling.
UNUSED = {
    "evaluate": "model.pretrained=a.pt|train.imgsz=100 name=a/b|name=x|"
    "seed=3|tags=[a]|runs_dir=x|arm=mixed|model=yolov8|model.scale=s|block=lska|block.head=2|"
    "train=quick|train.epochs=3|train.extra.mosaic=0|train.imgsz=64 train.lr0=0.1|++seed=3|~tags|logger=online|"
    "logger.project=x|format=onnx|model/placement=sppf|hardware.precision=fp32|report.reference=conv|plan.rows=3|"
    "experiment=demo arm=mixed|-m seed=3|profile.seconds=3",
    "judge": "run=a|name=x arm=mixed|seed=1|tags=[a]|model.scale=s|block.head=2|train.epochs=3|train.lr0=0.1|"
    "format=onnx|hardware.precision=fp32|logger=online|report.reference=conv|plan.rows=3|experiment=demo",
    "export": "train.batch=2|split=test|hardware.precision=fp32|hardware.workers=3|seed=1|block.head=2|name=a",
    "repeat": "train.imgsz=64|train.batch=2|hardware.threads=2|hardware.precision=fp32|seed=1|split=val|format=onnx",
    "report": "run=a|split=test|train.imgsz=64|arm=mixed|report.auto=false|hardware=cpu|dataset=shapes|seed=1",
    "train": "run=a|split=test|format=onnx|export.quantize=8|plan.rows=3|profile.seconds=3|power.level=0.9",
    "plan": "run=a|split=test|format=onnx|profile.seconds=3|power.effects=[0.01]",
    "power": "run=a|split=test|format=onnx|plan.rows=3|profile.seconds=3",
    "profile": "run=a|split=test|format=onnx|plan.rows=3|sd=0.01|power.level=0.9",
}
for task, overrides in UNUSED.items():
    listed = ", ".join(f"`{override}`" for override in overrides.split("|")[:4])
    add(Row(SECTION, f"`task={task}` with {listed}, ...", "one line that says what the task takes, exit code 2"))


def is_simple(typed: str) -> bool:
    """Whether it can stand in one command with the others of its task."""
    return bool(re.fullmatch(r"[\w./]+=\S+", typed)) and not typed.startswith(("block=", "experiment="))


def is_refused(task: str, typed: str, lines: list[str]) -> bool:
    return any(line.startswith(f"{typed.split()[-1].lstrip('+')}: task={task} does not use it; ") for line in lines)


def refusals(task: str, *typed: str) -> list[str]:
    run = ["run=runs/a/b"] if task in ("evaluate", "export", "repeat") else []
    return faults(f"task={task}", *run, *(word for each in typed for word in each.split()))


@pytest.mark.parametrize("task", UNUSED)
def test_what_a_task_would_not_use_is_refused(task: str) -> None:
    simple = {each.partition("=")[0]: each for each in UNUSED[task].split("|") if is_simple(each)}
    lines = refusals(task, *simple.values())
    assert [each for each in simple.values() if not is_refused(task, each, lines)] == []
    assert len(lines) == len(simple) >= 5


@pytest.mark.parametrize(
    ("task", "typed"),
    [(task, each) for task, line in UNUSED.items() for each in line.split("|") if not is_simple(each)],
)
def test_so_is_every_other_spelling(task: str, typed: str) -> None:
    lines = refusals(task, typed)
    assert is_refused(task, typed, lines), lines


@pytest.mark.parametrize(
    "line",
    [
        "task=evaluate run=a split=val train.imgsz=64 train.batch=2 dataset=shapes hardware=cpu hardware.threads=2",
        "task=evaluate run=a dataset=yolo dataset.path=x hardware.device=cpu logger=disabled ++train.imgsz=64",
        "task=judge a=x b=y name=z runs_dir=w dataset=yolo dataset.path=x split=test train.imgsz=64 train.batch=2 "
        "report.margin=0.01 hardware=cpu allow_unsafe_checkpoint=true logger=disabled",
        "task=export run=a format=torchscript train.imgsz=64 hardware=cpu allow_unsafe_checkpoint=true",
        "task=export run=a export.quantize=8 export.nms=true export.dynamic=false export.opset=17",
        "task=repeat run=a hardware=cpu dataset=yolo dataset.path=x",
        "task=report name=x runs_dir=y report.reference=conv logger=offline logger.project=p",
        "task=plan plan.rows=3 seed=1 train.epochs=3",
        "task=plan sd=0.01 train.epochs=3",
        "task=power name=x runs_dir=y sd=0.01 power.effects=[0.01,0.02] power.level=0.9 report.reference=conv",
        "task=profile profile.seconds=3 train.imgsz=64 train.batch=2 arm=mixed hardware=cpu",
    ],
)
def test_what_a_task_uses_is_taken(line: str) -> None:
    assert len(compose_cells(line.split())) == 1


def acmix(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command as typed in a shell, each argument in single quotes."""
    command = shlex.join([sys.executable, "-m", "acmix_exp", *arguments])
    done = subprocess.run(command, shell=True, text=True, capture_output=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


@case(
    SECTION,
    have="`task=evaluate` and `task=export` with `train.imgsz`, `train.batch`, `split`, `dataset` or `format`",
    here="each acts; the table and the JSON say image size, batch, split, checkpoint, device, data and format",
)
@case(
    SECTION,
    have="training, report, evaluation and export in folders with Chinese names, spaces and brackets",
    here="as in any other folder",
)
@pytest.mark.slow
def test_a_run_in_a_folder_with_an_odd_name_and_what_its_tasks_take(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "数据 (1)" / "my set")
    places = ["runs_dir=结果 (1)", "name=实验 #1, a=b"]
    line = "train=quick train.epochs=1 train.imgsz=64 train.batch=4 hardware=cpu hardware.workers=0 arm=baseline"
    dataset = ["dataset=yolo", "dataset.path=数据 (1)/my set/data.yaml"]
    code, _, err = acmix(*line.split(), *places, *dataset, "tags=[中文,b c]", "logger=offline")
    assert code == 0, err
    folder = tmp_path / "结果 (1)" / "实验 #1, a=b"
    assert (folder / "report.html").is_file()
    assert acmix("task=report", *places, "logger=disabled")[0] == 0
    (path,) = folder.glob("baseline-s0-*")
    run = f"run={path.relative_to(tmp_path)}"
    recorded = json.loads((path / "provenance.json").read_text())
    assert shlex.split(recorded["command"])[-2:] == ["tags=[中文,b c]", "logger=offline"]

    code, out, err = acmix("task=evaluate", run, "hardware=cpu", "train.imgsz=96", "train.batch=2", "split=train")
    assert code == 0, err
    assert "96 px, batch 2, cpu" in " ".join(out.split())
    (written,) = (path / "evaluations").glob("*-train-*-imgsz96-batch2.json")
    used = json.loads(written.read_text())
    names = ("imgsz", "batch", "split", "checkpoint", "device")
    assert [used[key] for key in names] == [96, 2, "train", "last.pt", "cpu"]
    assert used["data"]["fingerprint"] == recorded["dataset"]["fingerprint"]

    other = tmp_path / "another set"
    shutil.copytree(data.parent, other)
    text = (other / "data.yaml").read_text()
    (other / "data.yaml").write_text(text.replace("square", "disc"))
    code, _, err = acmix("task=evaluate", run, "hardware=cpu", "dataset=yolo", "dataset.path=another set/data.yaml")
    assert (code, "its classes are disc; must be those of the run, square" in err) == (2, True)
    code, _, err = acmix("task=evaluate", run, "hardware=cpu", "train.imgsz=100")
    assert (code, "train.imgsz=100: must be a multiple of 32" in err) == (2, True)

    code, out, err = acmix("task=export", run, "hardware=cpu", "format=torchscript", "train.imgsz=96")
    assert code == 0, err
    facts = json.loads((path / "export" / "last.torchscript.json").read_text())
    names = ("imgsz", "format", "checkpoint", "device", "split", "dataset")
    assert [facts[key] for key in names] == [96, "torchscript", "last.pt", "cpu", "val", "my set"]
    assert "torchscript, fp32, traced at 96 px" in out
