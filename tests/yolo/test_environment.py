import ast
import json
import os
import subprocess
import sys
from pathlib import Path

CODE = """
from pathlib import Path
from acmix_exp.yolo.run import train
from tests.yolo.builders import make_config, make_dataset
import sys
root = Path(sys.argv[1])
dataset = make_dataset(root / "data", {"train": 4, "val": 2})
train(make_config(train__epochs=1), dataset, root / "run", device="cpu", resume=False, on_epoch=print)
from ultralytics import SETTINGS
assert "wandb" not in sys.modules
"""
PRINT = """
import os
from acmix_exp.yolo.run import prepare
prepare()
print({name: value for name, value in os.environ.items() if name.startswith("YOLO_")})
"""


def test_the_users_files_stay_as_they_are(tmp_path: Path) -> None:
    """Without a word from the caller, and with every integration and telemetry on."""
    home = tmp_path / "home"
    config = home / ".config" / "Ultralytics"
    config.mkdir(parents=True)
    settings = config / "settings.json"
    settings.write_text(json.dumps({"sync": True, "wandb": True, "mlflow": True, "settings_version": "0.0.1"}))
    before = settings.read_bytes()
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO_", "XDG_"))}
    variables |= {"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], check=True, env=variables, capture_output=True)
    assert settings.read_bytes() == before
    assert [p for p in home.rglob("*") if p.is_file()] == [settings]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "data", "home", "run"]
    assert not list((tmp_path / "data").rglob("*.cache"))


def test_variables_of_the_user_stay(tmp_path: Path) -> None:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("YOLO_")} | {"XDG_CACHE_HOME": str(tmp_path)}
    folder = str(tmp_path / "acmix_exp" / "ultralytics")
    for given in ({}, {"YOLO_CONFIG_DIR": str(tmp_path / "mine")}, {"YOLO_OFFLINE": "false"}):
        expected = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": folder, **given}
        command = [sys.executable, "-c", PRINT]
        printed = subprocess.run(command, check=True, env={**variables, **given}, capture_output=True, text=True).stdout
        assert ast.literal_eval(printed.splitlines()[-1]) == expected
