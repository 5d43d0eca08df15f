"""Whether a file can be a torch checkpoint, by its zip directory. No torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from acmix_exp.config import ConfigError


def is_checkpoint(path: Path) -> bool:
    """True for the zip archive that ``torch.save`` writes: one folder with ``data.pkl`` and its ``version``.

    A file cut short has lost the zip directory at its end and is told by that; the tensors are not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
    root = names[0].split("/", 1)[0] if names else ""
    # TorchScript has constants.pkl and code/ too: a module to run, not weights to load
    return {f"{root}/data.pkl", f"{root}/version"} <= set(names) and f"{root}/constants.pkl" not in names


def check_checkpoint(path: Path, key: str = "model.pretrained") -> None:
    """Raises ConfigError naming ``key`` where ``path`` is missing or no checkpoint."""
    if not path.is_file():
        raise ConfigError(f"{key}={path}: no such file; must be a checkpoint (.pt)")
    if path.suffix != ".pt" or not is_checkpoint(path):
        raise ConfigError(f"{key}={path}: not a torch checkpoint; must be a .pt file that ultralytics saved")
