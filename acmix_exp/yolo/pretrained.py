"""The file of pretrained weights: a path, or a name that is looked up on this machine and, once, downloaded.

Names are those that ultralytics and torchvision publish, and that of the weights that this package ships.

The parent finds and downloads it, with urllib, because a run's key holds the digest of the file and is computed
before any child starts. What is in the file is read by yolo/preflight.py.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.request
import zipfile
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import ModelConfig
from acmix_exp.data.ultralytics_home import settings_folder
from acmix_exp.errors import ConfigError, storage_fault
from acmix_exp.files import cache_dir, replacing, shipped, user_path
from acmix_exp.yolo.families import FAMILIES, FEATURES, starts_from_features

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
TORCHVISION = "https://download.pytorch.org/models/"
TIMEOUT_SECONDS = 20


def is_checkpoint(path: Path) -> bool:
    """True for the zip archive that ``torch.save`` writes; false for one cut short, as the zip directory is at its end.

    Cheap: the tensors are not read. Raises OSError if that is the machine's fault: the file may be whole.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        if storage_fault(error):
            raise
        return False


def find_pretrained(model: ModelConfig) -> Path:
    """The local file for ``model.pretrained``: a path, in ultralytics' or torch's folder, in our cache, or downloaded.

    Raises ConfigError if there is none, and if a download fails.
    """
    path = user_path(str(model.pretrained))  # looked up each time, because it may be gone
    if path.is_file():
        return path.resolve()
    if ours := shipped(str(model.pretrained)):
        return ours
    family = FAMILIES[model.family]
    if family.backbone and starts_from_features(model):
        return _find(str(model.pretrained), family.backbone.network, ())
    published = () if model.yaml else tuple(family.checkpoints(model.variant, model.task).values())
    return _find(str(model.pretrained), None, published)


@lru_cache(maxsize=8)
def _find(name: str, network: str | None, published: tuple[str, ...]) -> Path:
    """``network``: the backbone if the file holds that alone, else None. ``published``: names that ultralytics has."""
    path = user_path(name)
    if path.is_dir():
        raise ConfigError(
            f"model.pretrained={name}: is a folder; must be the path of a .pt file, such as {_first(path)}"
        )
    if network is None:
        file = name if name in published else None
        right = f"a checkpoint's path, or {published[0]} to {published[-1]}" if published else "a checkpoint's path"
        address, shared = RELEASE, settings_folder("weights_dir")
    else:
        files = FEATURES[network].files
        short = name.removeprefix(f"MobileNet_V3_{network.rsplit('_', 1)[1].title()}_Weights.")
        file = files.get(short) or (list(files.values())[-1] if short == "DEFAULT" else None)
        right = f"a checkpoint's path (.pt), torchvision's (.pth), or torchvision's {', '.join(files)} or DEFAULT"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        home = user_path(os.environ.get("TORCH_HOME") or cache / "torch")
        address, shared = TORCHVISION, home / "hub" / "checkpoints"
    if file is None:
        raise ConfigError(f"model.pretrained={name}: no such file; must be {right}")
    downloaded = cache_dir() / "weights" / file
    for candidate in (shared and shared / file, downloaded):
        if candidate and candidate.is_file():
            return candidate.resolve()
    try:
        _download(address + file, downloaded)
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(
            f"model.pretrained={name}: not on this machine, and the download failed ({error}); give the path of a copy"
        ) from error
    return downloaded.resolve()


def _first(folder: Path) -> Path:
    """A checkpoint in a folder, as that of a run is in its subfolder weights."""
    return next((path for path in sorted(folder.rglob("*.pt"))), folder / "best.pt")


def _download(address: str, target: Path) -> None:
    """Raises OSError if the download fails, or does not match the SHA-256 prefix in a torchvision file name."""
    with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as response:
        content = response.read()
    start = re.search(r"-([0-9a-f]{8})\.pth$", target.name)
    if start and not hashlib.sha256(content).hexdigest().startswith(start[1]):
        raise OSError("checksum mismatch")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        file.write(content)
