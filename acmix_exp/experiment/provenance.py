"""What a run was made with: versions, hardware, environment. No secrets, and no environment but what is named here."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import acmix_exp
from acmix_exp.experiment.redact import is_secret, redact

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
PREFIXES = (
    *("ACMIX_EXP_", "CUBLAS_", "CUDA_", "CUDNN_", "HYDRA_", "KMP_", "MKL_", "NCCL_", "NVIDIA_TF32_", "OMP_"),
    *("OPENBLAS_", "PYTORCH_", "TORCH", "TRITON_", "ULTRALYTICS_", "YOLO_"),
)
NAMES = ("PYTHONHASHSEED", "WANDB_MODE")
PLACES = ("ACMIX_EXP_DATASETS_DIR", "ACMIX_EXP_JOBS", "ACMIX_EXP_TEST_SESSION", "TORCH_HOME", "YOLO_CONFIG_DIR")


def versions() -> dict[str, str]:
    found = {"acmix_exp": acmix_exp.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that can change a result; none that is a secret, or that only says where things are."""
    return {
        name: redact(value, variables)
        for name, value in sorted(variables.items())
        if (name.startswith(PREFIXES) or name in NAMES) and name not in PLACES and not is_secret(name)
    }


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
