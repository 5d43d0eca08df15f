"""Versions, hardware and conditions of a measurement, without paths and secrets."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from acmix_exp.run.provenance import commit, hardware, versions

PEERS = ("triton", "natten", "onnx", "onnxruntime")
GPU = ("driver_version", "clocks.max.sm", "power.limit")


def collect(device: str) -> dict[str, Any]:
    """Versions, commit, hardware and load at the start of a measurement."""
    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": _command(sys.argv),
        "versions": versions() | _peers(),
        "commit": _commit(),
        "hardware": hardware("cpu" if device == "cpu" else torch.cuda.current_device()),
        "threads": torch.get_num_threads(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "environment": {key: os.environ[key] for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if key in os.environ},
        "load_average_before": list(os.getloadavg()),
    }
    if device != "cpu":
        facts["gpu"] = _gpu()
        facts["tf32"] = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return facts


def _command(argv: list[str]) -> str:
    """The command without --output, which is a path of this machine."""
    words = iter(argv[1:])
    kept = []
    for word in words:
        if word == "--output":
            next(words, None)
        elif not word.startswith("--output="):
            kept.append(word)
    return " ".join(["python -m", f"benchmarks.{Path(argv[0]).stem}", *kept])


def _commit() -> dict[str, Any] | None:
    """The commit; dirty if the package or the benchmarks, except their results, have changes."""
    facts = commit()
    if facts is None:
        return None
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "status", "--porcelain", "--", ".", ":!results"]
    status = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return {**facts, "dirty": facts["dirty"] or bool(status.stdout.strip())}


def _peers() -> dict[str, str]:
    peers = {}
    for name in PEERS:
        try:
            peers[name] = version(name)
        except PackageNotFoundError:
            continue
    return peers


def _gpu() -> dict[str, str]:
    command = ["nvidia-smi", f"--query-gpu={','.join(GPU)}", "--format=csv,noheader", "-i", "0"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(GPU, (value.strip() for value in line.split(",")), strict=False))
