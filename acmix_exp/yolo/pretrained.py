"""The file of pretrained weights: a path, or a name that is looked up on this machine and, once, downloaded. No torch.

The parent finds and downloads it, with urllib, because a run's key holds the digest of the file and is computed
before any child starts. What is in the file is read by yolo/preflight.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import urllib.request
import zipfile
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import ModelConfig
from acmix_exp.data.ultralytics_home import settings_folder
from acmix_exp.errors import ConfigError
from acmix_exp.files import cache_dir
from acmix_exp.yolo.families import FEATURES, MODELS, YOLOV8
from acmix_exp.yolo.sites import starts_from_features

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
TORCHVISION = "https://download.pytorch.org/models/"
TIMEOUT_SECONDS = 20


def is_checkpoint(path: Path) -> bool:
    """True for the zip archive that ``torch.save`` writes; false for one cut short, as the zip directory is at its end.

    Cheap: the tensors are not read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def find_pretrained(model: ModelConfig) -> Path:
    """The local file for ``model.pretrained``: a path, in ultralytics' or torch's folder, in our cache, or downloaded.

    Raises ConfigError if there is none, and if a download fails.
    """
    features = MODELS[model.name]
    name = str(model.pretrained)
    if features and starts_from_features(model):
        return _find_features(name, features.network)
    return _find_checkpoint(name)


@lru_cache(maxsize=8)
def _find_checkpoint(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    names = [f"{YOLOV8.name}{scale}.pt" for scale in YOLOV8.scales]
    if name not in names:
        raise ConfigError(
            f"model.pretrained={name}: no such file; must be a checkpoint's path, or {names[0]} to {names[-1]}"
        )
    return _look_up(f"model.pretrained={name}", RELEASE, name, settings_folder("weights_dir"))


@lru_cache(maxsize=8)
def _find_features(name: str, network: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    files = FEATURES[network].files
    short = name.removeprefix(f"MobileNet_V3_{network.rsplit('_', 1)[1].title()}_Weights.")
    file = files.get(short) or (list(files.values())[-1] if short == "DEFAULT" else None)
    if file is None:
        raise ConfigError(
            f"model.pretrained={name}: no such file; must be a checkpoint's path (.pt), torchvision's (.pth), "
            f"or torchvision's {', '.join(files)} or DEFAULT"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return _look_up(f"model.pretrained={name}", TORCHVISION, file, home / "hub" / "checkpoints")


def _look_up(setting: str, address: str, name: str, shared: Path | None) -> Path:
    """The file ``name`` in the folder that another package shares, in our cache, or downloaded into our cache."""
    for folder in (shared, cache_dir() / "weights"):
        if folder is not None and (folder / name).is_file():
            return (folder / name).resolve()
    return _download(setting, address, name)


def _download(setting: str, address: str, name: str) -> Path:
    target = cache_dir() / "weights" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        try:
            with urllib.request.urlopen(address + name, timeout=TIMEOUT_SECONDS) as response:
                shutil.copyfileobj(response, part)
            part.flush()
            _check_digest(Path(part.name), name)
        except OSError as error:
            Path(part.name).unlink(missing_ok=True)
            raise ConfigError(
                f"{setting}: not on this machine, and the download failed ({error}); give the path of a copy"
            ) from error
    os.replace(part.name, target)
    return target.resolve()


def _check_digest(path: Path, name: str) -> None:
    """Raises OSError if ``name`` ends in the start of a SHA-256, as torchvision's do, and ``path`` has another."""
    start = re.search(r"-([0-9a-f]{8})\.pth$", name)
    if start and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(start[1]):
        raise OSError("checksum mismatch")
