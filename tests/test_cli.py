"""The command line: what it refuses, and that it refuses before anything is made."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from acmix_exp import child
from acmix_exp.sweep import planning, preflight_child

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_process_for_the_first_run(monkeypatch):
    """It is started early, and imports torch while a test waits for the preflight alone."""
    monkeypatch.setattr(preflight_child, "spare", lambda *_: nullcontext())


@pytest.fixture
def command(tmp_path, monkeypatch, program):
    """``command("seed=-1")``: exit code, stdout and stderr of the program in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return program


@pytest.fixture
def data(tmp_path):
    """A YOLO set of two images a split, with one class."""
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / "data" / folder / split).mkdir(parents=True)
        for number in range(2):
            image = np.full((64, 64, 3), 40 * number, np.uint8)
            cv2.imwrite(str(tmp_path / "data" / "images" / split / f"{split}{number}.png"), image)
            (tmp_path / "data" / "labels" / split / f"{split}{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    path = tmp_path / "data" / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [disc]\n")
    return path


BAD = [
    ("block.kernel_att=4", ["block.kernel_att=4", "odd"]),
    ("block.head=3", ["block.head=3", "128"]),
    ("block.head=3 model/placement=bottleneck_p3p4p5", ["block.head=3", "32"]),
    ("block=ema block.factor=7", ["block.factor=7", "divide", "backbone_p4 has 128"]),
    ("block=hat block.path=conv", ["block.path=conv", "an option of acmix"]),
    ("block=lsk block.form=raw", ["block.form=raw", "unit, residual, block"]),
    ("block=lska block.mlp_ratio=2", ["block.mlp_ratio=2", "left out", "block.form=block"]),
    ("-m block=lska block.mlp_ratio=4,2", ["block.mlp_ratio=2", "left out", "block.form=block"]),
    ("-m block=lska,conv3x3,lsk block.form=block", ["block.form=block: conv3x3 has no such", "block=lska,lsk"]),
    ("-m block=lska,hat block.form=block", ["block=hat block.form=block", "group, hybrid, overlapping, channel"]),
    ("-m block=acmix,lska,ema block.kernel_att=5", ["block.kernel_att=5: lska, ema have no such", "block=acmix"]),
    ("experiment=zoo block.form=unit", ["block.form=unit: acmix has no such option", "deformable_attention,dlka,ema"]),
    ("experiment=zoo block=lska,ema block.factor=4", ["block.factor=4: lska has no such option", "block=ema"]),
    ("experiment=ablation model.placement=sppf", ["model.placement=sppf: ", "model/placement=OPTION"]),
    ("experiment=ablation arm=conv,mixed modle.scale=n", ["modle.scale=n: unknown key", "model.scale"]),
    ("arm=mixed block=lska", ["arm=mixed block=lska", "acmix"]),
    ("block=custom", ["block.target=null", "my_module.MyBlock"]),
    ("block=acmix block.target=nowhere.Block", ["block.target=nowhere.Block", "block=custom"]),
    ("block.path=both", ["block.path=both", "conv, attention, mixed"]),
    ("block.backend=cuda", ["block.backend=cuda", "shift"]),
    ("block.backend=triton", ["block.backend=triton", "GPU"]),
    ("model/placement=nowhere", ["model/placement=nowhere", "backbone_p4p5", "head_inputs"]),
    ("model.scale=q", ["model.scale=q", "n, s, m, l, x"]),
    ("block.kernal_att=3", ["block.kernal_att=3", "block.kernel_att"]),
    ("+block.kernal_att=3", ["block.kernal_att=3", "block.kernel_att"]),
    ("modle.scale=n", ["modle", "model"]),
    ("+modle.scale=n", ["modle", "model"]),
    ("+train.epoch=3", ["train.epoch=3", "train.epochs"]),
    ("train.epochs=0", ["train.epochs=0", "1"]),
    ("train.epochs=many", ["train.epochs=many", "integer"]),
    ("train.batch=0", ["train.batch=0", "1"]),
    ("train.imgsz=50", ["train.imgsz=50", "multiple of 32"]),
    ("train.optimizer=auto", ["train.optimizer=auto", "AdamW"]),
    ("train.keep=some", ["train.keep=some", "best, last, both, none"]),
    ("train.extra.mosaik=0", ["train.extra.mosaik=0", "train.extra.mosaic"]),
    ("train.extra.mosaic=high", ["train.extra.mosaic=high", "float"]),
    ("train.extra.epochs=3", ["train.extra.epochs=3", "train.epochs"]),
    ("seed=-1", ["seed=-1", "0"]),
    ("hardware.device=cuda", ["hardware.device=cuda", "no CUDA GPU"]),
    ("hardware.device=gpu", ["hardware.device=gpu", "auto, cpu, cuda"]),
    ("hardware=cpu hardware.precision=fp16", ["hardware.precision=fp16", "GPU"]),
    ("hardware.runs_at_once=0", ["hardware.runs_at_once=0", "1"]),
    ("model.pretrained=none.pt", ["model.pretrained=none.pt", "no such file"]),
    ("model.family=yolov7", ["model.family=yolov7", "yolov8_mobilenetv3_small"]),
    ("model.backbone_p5=expanded", ["model.backbone_p5=expanded", "model=yolov8_mobilenetv3_large"]),
    ("model=yolov8_mobilenetv3_large model.pretrained=a.pth", ["a.pth: no such file", "IMAGENET1K_V2"]),
    ("model=yolov8_mobilenetv3_large model.backbone_p5=c5", ["model.backbone_p5=c5", "bottleneck or expanded"]),
    (
        "model=yolov8_mobilenetv3_small model/placement=bottleneck_p4p5",
        ["sites=backbone_p4, backbone_p5: ", "depthwise", "use neck_p4"],
    ),
    ("dataset=yolo", ["dataset.path", "data.yaml"]),
    ("dataset=yolo dataset.path=none.yaml", ["dataset.path=none.yaml", "no such file"]),
    ("dataset=yolo dataset.path=.", ["dataset.path=.", "data.yaml"]),
    ("dataset=nothing", ["dataset=nothing", "shapes"]),
    ("arm=nothing", ["arm=nothing", "baseline"]),
    ("-m arm=baseline,nothing", ["arm=nothing", "baseline"]),
    ("+experiment=ablation arm=baseline,nothing", ["arm=nothing", "baseline"]),
    ("+experiment=nothing", ["experiment=nothing", "ablation"]),
    ("experiment=ablation,window", ["experiment=ablation,window", "one"]),
    ("-m arm=mixed,conv block.path=conv", ["arm=mixed", "block.path=conv"]),
    ("seed=0,1", ["seed=0,1", "-m"]),
    ("-m name=a,b", ["name", "swept"]),
    ("runs_dir=file/runs", ["runs_dir=file/runs", "can't be written"]),
    ("task=fly", ["task=fly", "train, plan, power, profile, evaluate, judge, export, repeat, report"]),
    ("task=judge", ["a=[]", "task=judge compares two things"]),
    ("task=judge a=none.pt b=file", ["a=none.pt", "no such file or folder", "runs/NAME/ARM"]),
    ("task=judge a=file b=file", ["a=file", "neither .pt nor .json"]),
    ("-m task=judge a=x b=y split=val,test", ["task=judge", "-m"]),
    ("'a=my net.pt'", ["a=my net.pt: ", "task=judge"]),
    ("task=evaluate", ["run=", "runs/NAME/RUN"]),
    ("task=report name=none", ["name=none", "no runs"]),
    ("task=evaluate run=none", ["run=none", "finished"]),
    ("task=repeat", ["run=", "runs/NAME/RUN"]),
    ("task=repeat run=none", ["run=none", "finished"]),
    ("experiment=ablation task=repeat", ["task=repeat", "experiment"]),
    ("task=export", ["run=", "runs/NAME/RUN"]),
    ("task=export run=none", ["run=none", "finished"]),
    ("-m task=export format=onnx,torchscript", ["task=export", "-m"]),
    ("-m task=evaluate split=val,test", ["task=evaluate", "-m"]),
    ("name=a/b", ["name=a/b", "letters"]),
    ("name=..", ["name=..", "letters"]),
    ("dataset.path=data.yaml", ["dataset.path=data.yaml", "dataset=yolo"]),
    ("train.lr0=5", ["train.lr0=5", "1"]),
    ("plan.rows=few", ["plan.rows=few", "all"]),
    ("-m hydra/launcher=joblib seed=0,1", ["hydra/launcher=joblib", "hardware="]),
    ("experiment=ablation name=x_${nope}", ["name=x_${nope}", "can't be resolved"]),
    ("-m 'name=x_${seed}' seed=0,1", ["name=x_0", "one name"]),
    ("train.extra.cache=disk", ["train.extra.cache=disk", "ram"]),
    ("tags=a", ["tags=a", "[a,b]"]),
    ("block=null", ["block=null", "option"]),
    ("blok.head=3", ["blok.head=3", "block.head"]),
    ("~train.extra", ["~train.extra"]),
    ("model.placement.zero_init=true model.placement.norm=false", ["zero_init=true", "norm=true"]),
    ("dataset.path=a(b)", ["dataset.path=a(b)", "dataset=yolo"]),
    ("dataset.path=choice(a,b", ["dataset.path=choice(a,b", "dataset=yolo"]),
]


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_exit_2_and_no_trace(command, tmp_path, line, says):
    (tmp_path / "file").touch()
    torch_was_absent = "torch" not in sys.modules
    code, out, err = command(*shlex.split(line))
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("acmix_exp: ")
    assert all(word in err for word in says), err
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert not torch_was_absent or "torch" not in sys.modules


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: (root / "data.yaml").write_text("train: images/train\nval: images/val\n"), "names"),
        (lambda root: (root / "data.yaml").write_text("names: ["), "data.yaml"),
        (lambda root: [path.unlink() for path in (root / "images").rglob("*.png")], "image"),
        (lambda root: (root / "labels/train/train0.txt").write_text("7 0.5 0.5 0.4 0.4\n"), "train0.txt:1"),
        (lambda root: (root / "labels/val/val1.txt").write_text("0 0.5 x 0.4 0.4\n"), "val1.txt:1"),
    ],
    ids=["no names", "no yaml", "no images", "class beyond names", "no number"],
)
def test_data_that_cannot_be_used_is_refused(command, data, change, says):
    change(data.parent)
    code, _, err = command("dataset=yolo", f"dataset.path={data}")
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert "dataset.path" in err
    assert says in err
    assert not Path("runs").exists()


def test_a_reference_that_no_arm_is_called_is_refused(command, data):
    code, out, err = command("task=plan", "report.reference=basline", "dataset=yolo", f"dataset.path={data}")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("acmix_exp: report.reference=basline: unknown arm; choose from acmix-mixed, ")
    assert "baseline" in line


def test_pretrained_must_be_a_checkpoint(command, tmp_path):
    (tmp_path / "weights.pt").write_text("no checkpoint")
    code, _, err = command("model.pretrained=weights.pt")
    assert code == 2
    assert "model.pretrained=" in err
    assert "cannot be loaded (it is a text file)" in err


def test_a_preflight_that_is_killed_is_one_line_and_exit_1(command, data, monkeypatch):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(child, "command", lambda task, folder: [sys.executable, "-c", kill])
    code, out, err = command("dataset=yolo", f"dataset.path={data}")
    assert (code, out) == (1, "")
    assert err == "acmix_exp: the preflight failed: was killed by SIGKILL (out of memory?)\n"
    assert not Path("runs").exists()


@pytest.mark.parametrize("spelling", ["+experiment=ablation", "experiment=ablation", "++experiment=ablation"])
def test_every_spelling_of_experiment_plans_all_arms_and_seeds(command, data, spelling):
    code, out, _ = command(spelling, "dataset=yolo", f"dataset.path={data}", "task=plan")
    assert code == 0
    assert "ablation: 24 cells, 24 runs" in out
    assert [out.count(f"{arm}-s2-") for arm in ("baseline", "conv", "attention", "mixed")] == [1, 1, 1, 1]
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("line", "cells", "runs"),
    [
        ("experiment=ablation seed=0,1 arm=baseline,mixed", 4, 4),
        ("experiment=ablation seed=range(0,8) arm=mixed", 8, 8),
        ("-m block.kernel_att=3,5,7 block.head=2,4,8", 9, 9),
        ("-m arm=baseline,mixed block.kernel_att=3,5,7", 6, 4),
        ("experiment=demo", 12, 12),
        pytest.param("experiment=placement", 54, 54, marks=pytest.mark.slow),
        ("experiment=window", 48, 30),
        pytest.param("experiment=heads", 36, 24, marks=pytest.mark.slow),
        pytest.param("experiment=conv_kernel", 36, 24, marks=pytest.mark.slow),
        pytest.param("experiment=zoo", 240, 78, marks=pytest.mark.slow),
        ("-m block=lska,lsk block.form=block", 2, 2),
        ("-m block=lska,dlka block.form=residual,block block.drop_path=0", 4, 4),
        ("experiment=zoo block=lska,ema block.form=unit seed=0", 8, 5),
    ],
)
def test_axes_are_replaced_and_a_shared_baseline_counts_once(command, data, line, cells, runs):
    code, out, _ = command(*line.split(), "dataset=yolo", f"dataset.path={data}", "task=plan")
    assert code == 0
    assert f"{cells} cells, {runs} runs" in out


def test_the_last_of_two_values_counts_and_makes_no_axis(command, data):
    line = f"dataset=yolo dataset.path={data} logger=offline logger=disabled train.epochs=1 train.epochs=2 task=plan"
    code, out, _ = command(*line.split())
    assert code == 0
    assert "train.epochs" not in out


@pytest.mark.parametrize("line", ["arm=conv3x3", "block=conv3x3"])
def test_conv3x3_that_is_the_baseline_keeps_its_name(command, data, line):
    where = f"model/placement=bottleneck_p4p5 task=plan dataset=yolo dataset.path={data}"
    code, out, _ = command(line, *where.split())
    assert code == 0
    assert "conv3x3 (same as baseline)" in out
    assert "baseline-s0-" in out


def plans_of(monkeypatch):
    """The plans that commands make from here on."""
    plans = []
    build = planning.build
    monkeypatch.setattr(planning, "build", lambda cells: plans.append(build(cells)) or plans[-1])
    return plans


def test_flags_may_stand_between_overrides(command, data):
    code, out, _ = command("seed=0,1", "-m", "task=plan", "dataset=yolo", f"dataset.path={data}")
    assert code == 0
    assert "2 cells, 2 runs" in out


def test_arms_keep_their_meaning_in_a_sweep(command, data, monkeypatch):
    seen = plans_of(monkeypatch)
    line = "+experiment=ablation model/placement=sppf block.kernel_att=5 task=plan dataset=yolo"
    code, _, _ = command(*line.split(), f"dataset.path={data}")
    assert code == 0
    assert len(seen[0].cells) == 24
    for cell in seen[0].cells:
        if cell.label == "baseline":
            assert not cell.config.arm.insert
            assert cell.config.block == {}
        else:
            assert cell.config.block["path"] == cell.label
            assert cell.config.block["kernel_att"] == 5
            assert cell.config.model.placement.sites == ["sppf"]


def test_an_option_reaches_every_block_of_a_sweep(command, data, monkeypatch):
    seen = plans_of(monkeypatch)
    line = "-m block=lska,sea_attention block.form=block block.drop_path=0.1 task=plan dataset=yolo"
    assert command(*line.split(), f"dataset.path={data}")[0] == 0
    assert [cell.label for cell in seen[0].cells] == ["lska", "sea_attention"]
    assert [(cell.config.block["form"], cell.config.block["drop_path"]) for cell in seen[0].cells] == [
        ("block", 0.1)
    ] * 2
    assert [cell.swept for cell in seen[0].cells] == [{}, {}]


def test_task_plan_prints_counts_by_arm_and_the_first_rows(command, data):
    line = f"experiment=ablation arm=baseline,mixed seed=range(0,30) task=plan dataset=yolo dataset.path={data}"
    code, out, _ = command(*line.split())
    assert code == 0
    assert out.count("baseline-s") == 30
    assert out.count("mixed-s") == 10
    assert "and 20 more; plan.rows=all prints them" in out
    counts = [line.replace("│", " ").split() for line in out.splitlines() if line.endswith("30 │")]
    assert counts == [["baseline", "30"], ["mixed", "30"]]
    code, out, _ = command(*line.split(), "plan.rows=all")
    assert (out.count("baseline-s"), out.count("mixed-s"), "more" in out) == (30, 30, False)


@pytest.mark.parametrize("hardware", ["auto", "cpu", "pool"])
def test_any_hardware_takes_runs_at_once(command, data, monkeypatch, hardware):
    plans = plans_of(monkeypatch)
    line = (
        f"-m arm=baseline,mixed hardware={hardware} hardware.runs_at_once=4 task=plan dataset=yolo dataset.path={data}"
    )
    assert command(*line.split())[0] == 0
    assert plans[0].runs_at_once == 2


def test_a_data_set_chosen_by_the_seed_is_read_once_and_no_column(command, data, monkeypatch):
    shutil.copytree(data.parent, data.parents[1] / "folds" / "0")
    shutil.copytree(data.parent, data.parents[1] / "folds" / "1")
    (data.parents[1] / "folds" / "1" / "labels" / "train" / "train0.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    read = []
    inspect = planning.inspect
    monkeypatch.setattr(planning, "inspect", lambda dataset: read.append(dataset) or inspect(dataset))
    plans = plans_of(monkeypatch)
    line = "experiment=ablation arm=baseline,mixed seed=0,1 task=plan dataset=yolo dataset.path=folds/${seed}/data.yaml"
    assert command(*line.split())[0] == 0
    assert len(read) == 2
    fingerprints = {(cell.label, cell.config.seed): cell.identity["data"] for cell in plans[0].cells}
    assert fingerprints["baseline", 0] == fingerprints["mixed", 0] != fingerprints["baseline", 1]
    assert [cell.swept for cell in plans[0].cells] == [{}] * 4
    code, out, err = command(*line.replace("seed=0,1", "seed=0,2").split())
    assert (code, out) == (2, "")
    assert err.startswith("acmix_exp: seed=2 dataset.path=folds/2/data.yaml: ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_ctrl_c_while_planning_is_one_line(tmp_path, number, code):
    program = (
        "import sys, time; from acmix_exp import cli; from acmix_exp.sweep import planning;"
        "planning.inspect = lambda dataset: (print('reading', flush=True), time.sleep(60));"
        "sys.argv = ['x', 'experiment=ablation', 'logger=disabled']; sys.exit(cli.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == "reading\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.splitlines() == ["acmix_exp: stopped; nothing was started"]
    assert list(tmp_path.iterdir()) == []


def test_help_answers_at_once_without_hydra_or_torch():
    code = "import sys; from acmix_exp import cli; sys.argv = ['x', '--help']; cli.main(); print(*sys.modules)"
    start = time.monotonic()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    assert time.monotonic() - start < 5  # about 0.2 s on an idle machine
    text, _, modules = result.stdout.rstrip().rpartition("\n")
    assert not {"hydra", "torch", "ultralytics", "wandb", "scipy", "cv2"} & set(modules.split())
    for word in ("+experiment=demo", "model/placement", "head_inputs", "exit code", "examples"):
        assert word in text


def test_cfg_job_shows_the_config_without_torch_or_data():
    code = (
        "import sys; from acmix_exp import cli; sys.argv = ['x', '--cfg', 'job']; cli.main();"
        "print('MODULES', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO)
    text, _, modules = result.stdout.partition("MODULES")
    assert "kernel_att: 7" in text
    assert not {"torch", "ultralytics", "wandb", "scipy", "cv2"} & set(modules.split())
