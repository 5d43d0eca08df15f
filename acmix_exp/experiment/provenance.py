"""What a run was made with: versions, commit, hardware. No secrets, and no environment but what is named here."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import acmix_exp

PACKAGES = (
    "torch",
    "torchvision",
    "ultralytics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "opencv-python",
    "wandb",
    "scipy",
)


def versions() -> dict[str, str]:
    found = {"acmix_exp": acmix_exp.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, Any] | None:
    """The commit of the checkout that the package runs from, and whether it has changes; None outside a checkout."""
    package = Path(acmix_exp.__file__).resolve().parent

    def git(*arguments: str) -> str:
        result = subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
        return result.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def hardware(gpu: int | str) -> dict[str, Any]:
    """The machine, in words. ``gpu`` is the run's device: ``cpu`` or a CUDA index."""
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": str(gpu),
    }
    if gpu != "cpu":
        import torch

        properties = torch.cuda.get_device_properties(gpu)
        facts["gpu"] = properties.name
        facts["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
    return facts


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
