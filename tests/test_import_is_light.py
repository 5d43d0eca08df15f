"""The parent process starts without torch: only nn, ops, profile, yolo and the training child may import it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import acmix_exp

HEAVY = ("cv2", "torch", "torchvision", "ultralytics", "wandb")
MAY_IMPORT_TORCH = ("nn", "ops", "profile", "yolo")
NOT_IMPORTED = ("acmix_exp.__main__", "acmix_exp.run.training")  # the command itself; the child's side of a run
LIGHT = [
    module.name
    for module in pkgutil.walk_packages(acmix_exp.__path__, "acmix_exp.", onerror=lambda _: None)
    if module.name.split(".")[1] not in MAY_IMPORT_TORCH and module.name not in NOT_IMPORTED
]
CHILD = f"""
import importlib, sys
class Refuse:
    def find_spec(name, path=None, target=None):
        if name in {HEAVY}:
            raise ImportError(f"{{name}} is imported")
sys.meta_path.insert(0, Refuse)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_every_other_module_can_be_imported_without_them() -> None:
    assert {"acmix_exp.cli", "acmix_exp.data.find", "acmix_exp.report.build", "acmix_exp.run.supervise"} <= set(LIGHT)
    child = subprocess.run([sys.executable, "-c", CHILD, *LIGHT], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
