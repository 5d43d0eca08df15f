"""Where pretrained weights are: a path, or a name that was asked for, looked up and, once, downloaded. No torch."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import urllib.request
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import ConfigError, ModelConfig
from acmix_exp.data.folders import cache_dir
from acmix_exp.data.ultralytics_home import settings_folder
from acmix_exp.yolo.backbones import NETWORKS, starts_from_features

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
TORCHVISION = "https://download.pytorch.org/models/"
# torchvision's weights by network and name, the default last; a file's name ends in the start of its SHA-256
FEATURES = {
    "mobilenet_v3_large": {
        "IMAGENET1K_V1": "mobilenet_v3_large-8738ca79.pth",
        "IMAGENET1K_V2": "mobilenet_v3_large-5c1a4163.pth",
    },
    "mobilenet_v3_small": {"IMAGENET1K_V1": "mobilenet_v3_small-047dcff4.pth"},
}
TIMEOUT_SECONDS = 20


def find_pretrained(model: ModelConfig) -> Path:
    """The local file for ``model.pretrained``: a path, in ultralytics' or torch's folder, in our cache, or downloaded.

    Raises ConfigError where there is none.
    """
    name = str(model.pretrained)
    return _find_features(name, str(NETWORKS[model.name])) if starts_from_features(model) else _find_checkpoint(name)


@lru_cache(maxsize=8)
def _find_checkpoint(name: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    if not re.fullmatch(r"yolov8[nsmlx]\.pt", name):
        raise ConfigError(
            f"model.pretrained={name}: no such file; must be a checkpoint's path, or yolov8n.pt to yolov8x.pt"
        )
    return _looked_up(f"model.pretrained={name}", RELEASE, name, settings_folder("weights_dir"))


@lru_cache(maxsize=8)
def _find_features(name: str, network: str) -> Path:
    key = f"model.pretrained={name}"
    path = Path(name).expanduser()
    if path.is_file():
        return path.resolve()
    files = FEATURES[network]
    short = name.removeprefix(f"MobileNet_V3_{network.rsplit('_', 1)[1].title()}_Weights.")
    file = files.get(short) or (list(files.values())[-1] if short == "DEFAULT" else None)
    if file is None:
        names = f"torchvision's {', '.join(files)} or DEFAULT"
        raise ConfigError(f"{key}: no such file; must be a checkpoint's path (.pt), torchvision's (.pth), or {names}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return _looked_up(key, TORCHVISION, file, home / "hub" / "checkpoints")


def _looked_up(key: str, address: str, name: str, theirs: Path | None) -> Path:
    for folder in (theirs, cache_dir() / "weights"):
        if folder is not None and (folder / name).is_file():
            return (folder / name).resolve()
    return _download(key, address, name)


def _download(key: str, address: str, name: str) -> Path:
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
                f"{key}: not on this machine, and the download failed ({error}); give the path of a copy"
            ) from error
    os.replace(part.name, target)
    return target.resolve()


def _check_digest(path: Path, name: str) -> None:
    """Raises OSError where ``name`` ends in the start of a SHA-256, as torchvision's do, that ``path`` has not."""
    told = re.search(r"-([0-9a-f]{8})\.pth$", name)
    if told and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(told[1]):
        raise OSError("what came is not the file that its name promises")
