"""Artifacts of a W&B run that a user may ask for: the code and the best weights."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import acmix_exp
from acmix_exp import custom_block
from acmix_exp.config import Config
from acmix_exp.insertions import user_blocks

PACKAGE = Path(acmix_exp.__file__).resolve().parent
NOT_IN_A_NAME = re.compile(r"[^\w.-]")


def log_code(run: Any, config: Config) -> None:
    """Log the Python files of this package, and the module of a user-defined block, as ``code-EXPERIMENT``."""
    files = {f"acmix_exp/{path.relative_to(PACKAGE).as_posix()}": path for path in sorted(PACKAGE.rglob("*.py"))}
    for block in user_blocks(config):
        source = custom_block.source(str(block["target"]))
        files |= {source.name: source} if source else {}
    _log(run, f"code-{config.name}", "code", files)


def log_weights(run: Any, run_dir: Path, metrics: Mapping[str, Any]) -> None:
    """Log weights/best.pt as the artifact ``RUN``, with the headline metrics of the run as its metadata."""
    numbers = {key: value for key, value in metrics.items() if isinstance(value, (int, float, str))}
    _log(run, run_dir.name, "model", {"best.pt": run_dir / "weights" / "best.pt"}, numbers)


def _log(run: Any, name: str, kind: str, files: Mapping[str, Path], metadata: Mapping[str, Any] | None = None) -> None:
    import wandb

    artifact = wandb.Artifact(NOT_IN_A_NAME.sub("-", name), kind, metadata=dict(metadata or {}))
    for path_in_artifact, path in files.items():
        artifact.add_file(str(path), path_in_artifact)
    run.log_artifact(artifact)
