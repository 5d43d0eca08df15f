"""Our checkpoints in the hands of stock ultralytics, each in a process of its own."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import acmix_exp
from acmix_exp.data import Dataset
from acmix_exp.yolo.run import Outcome

Trained = tuple[Outcome, list[dict[str, float]], Path]


def python(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow  # test_readme.py predicts with a checkpoint in stock ultralytics
def test_opens_in_stock_ultralytics(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    """Predict on an odd size, validate and export; each on a fused copy."""
    data = tmp_path / "data.yaml"
    folder = dataset.splits["train"][0].parents[1]
    data.write_text(f"path: {folder}\ntrain: train\nval: val\nnames: {{0: square, 1: disc}}\n")
    best = shutil.copy(trained[2] / "weights" / "best.pt", tmp_path)
    done = python(
        f"""
import sys, torch
from ultralytics import YOLO
assert "acmix_exp" not in sys.modules
model = YOLO({str(best)!r})
assert type(model.model).__name__ == "BlockDetectionModel" and hasattr(model.model.model[8], "after")
assert model.names == {{0: "square", 1: "disc"}}
assert not model.model.model[8].after.block.is_fused
boxes = model.predict({str(dataset.splits["val"][1])!r}, imgsz=96, conf=1e-6, verbose=False)[0].boxes
assert len(boxes)
fused = model.predictor.model.backend.model
assert fused.model[8].after.block.is_fused
assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
assert 0 <= model.val(data={str(data)!r}, imgsz=64, workers=0, plots=False, verbose=False,
                       project="val").box.map <= 1
x = torch.rand(1, 3, 96, 96)
wanted = YOLO({str(best)!r}).model.eval()(x)[0]
path = YOLO({str(best)!r}).export(format="torchscript", imgsz=96)
torch.testing.assert_close(torch.jit.load(path)(x), wanted, atol=1e-2, rtol=1e-3)
""",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_stock_trainer_refuses(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    from ultralytics import YOLO

    data = tmp_path / "data.yaml"
    folder = dataset.splits["train"][0].parents[1]
    data.write_text(f"path: {folder}\ntrain: train\nval: val\nnames: {{0: square, 1: disc}}\n")
    model = YOLO(trained[2] / "weights" / "best.pt")
    with pytest.raises(KeyError, match="to train from this checkpoint, use"):
        model.train(data=str(data), epochs=1, imgsz=64, device="cpu", project=str(tmp_path), plots=False)


@pytest.mark.slow
def test_the_yolo_command(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    best, image = trained[2] / "weights" / "best.pt", dataset.splits["val"][0]
    code = "from ultralytics.cfg import entrypoint; entrypoint()"
    command = [sys.executable, "-c", code, "predict", f"model={best}", f"source={image}", "imgsz=64", "save=False"]
    done = subprocess.run([*command, f"project={tmp_path}"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Speed" in done.stdout


@pytest.mark.slow
def test_restricted_loading(trained: Trained, tmp_path: Path) -> None:
    """Refused until our package is imported, which allows its classes."""
    done = python(
        f"""
from ultralytics import YOLO
from ultralytics.utils import SAFE_LOAD
assert SAFE_LOAD
best = {str(trained[2] / "weights" / "best.pt")!r}
try:
    YOLO(best)
except TypeError as error:
    assert "outside the supported Ultralytics checkpoint format" in str(error)
else:
    raise AssertionError("not refused")
import acmix_exp
model = YOLO(best)
assert hasattr(model.model.model[8], "after")
""",
        tmp_path,
        ULTRALYTICS_SAFE_LOAD="1",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_restricted_loading_leaves_the_environment(tmp_path: Path) -> None:
    code = """
import os
before = dict(os.environ)
import acmix_exp, sys
assert "torch" in sys.modules
changed = {name for name, _ in set(os.environ.items()) ^ set(before.items())}
assert not [name for name in changed if name.startswith(("YOLO", "ACMIX"))], changed  # ultralytics has its own few
"""
    done = python(code, tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_restricted_loading_in_our_own_processes(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    """The import stays light; a run allows our classes where it loads."""
    shutil.copytree(trained[2], tmp_path / "run")
    progress = json.loads((tmp_path / "run" / "weights" / "progress.json").read_text())
    code = f"""
import sys, pickle
sys.argv[0], sys.orig_argv = "-m", ["python", "-m", "acmix_exp.worker"]
import acmix_exp
assert "torch" not in sys.modules
from pathlib import Path
from acmix_exp.yolo.run import train
from tests.yolo.builders import make_config
dataset = pickle.loads({pickle.dumps(dataset)!r})
config, run_dir = make_config(), Path({str(tmp_path / "run")!r})
train(config, dataset, run_dir, device="cpu", resume=True, on_epoch=print)
"""
    done = python(code, tmp_path, ULTRALYTICS_SAFE_LOAD="1")
    assert done.returncode == 0, done.stderr
    assert f"resumed after epoch {len(progress['rows'])}" in done.stdout


@pytest.mark.parametrize(
    ("program", "words", "own"),
    [
        ("-m", ["python", "-m", "acmix_exp", "epochs=1"], True),
        ("-m", ["python", "-macmix_exp.worker", "train"], True),
        ("/usr/bin/acmix-exp", ["python", "/usr/bin/acmix-exp"], True),
        ("-m", ["python", "-m", "other"], False),
        ("-c", ["python", "-c", "import acmix_exp"], False),
        ("/home/acmix-exp/predict.py", ["python", "/home/acmix-exp/predict.py", "-m", "acmix_exp"], False),
        ("", ["python"], False),
    ],
)
def test_own_processes(monkeypatch: pytest.MonkeyPatch, program: str, words: list[str], own: bool) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    monkeypatch.setattr(sys, "orig_argv", words)
    assert acmix_exp._is_own_process() == own


def test_the_command_line_is_light_with_restricted_loading(tmp_path: Path) -> None:
    code = "import sys, acmix_exp\nprint(*{'torch', 'ultralytics'} & set(sys.modules), sep='')"
    (tmp_path / "acmix-exp").write_text(code)
    variables = {**os.environ, "ULTRALYTICS_SAFE_LOAD": "1", "PYTHONPATH": str(Path(acmix_exp.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "acmix-exp")], capture_output=True, text=True, env=variables, check=True
    )
    assert done.stdout.strip() == ""


def test_importing_the_package_imports_no_torch(tmp_path: Path) -> None:
    code = "import sys, acmix_exp; assert not {'torch', 'ultralytics', 'numpy'} & set(sys.modules)"
    for value in ("", "0", "false"):
        assert python(code, tmp_path, ULTRALYTICS_SAFE_LOAD=value).returncode == 0
