"""Where pretrained weights are: a path, or a name that was asked for, looked up and, once, downloaded. No torch."""

from __future__ import annotations

import hashlib
import os
import pickletools
import re
import shutil
import tempfile
import urllib.request
import zipfile
from functools import lru_cache
from pathlib import Path

from acmix_exp.config import SCALES, ModelConfig
from acmix_exp.data.ultralytics_home import settings_folder
from acmix_exp.errors import ConfigError
from acmix_exp.files import cache_dir
from acmix_exp.yolo.sites import NETWORKS, starts_from_features

LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # torch's mark, pickled
LAST_LAYER = {"mobilenet_v3_large": 16, "mobilenet_v3_small": 12}  # of features


def is_checkpoint(path: Path) -> bool:
    """True for the zip archive that ``torch.save`` writes: one folder with ``data.pkl`` and its ``version``.

    A file cut short has lost the zip directory at its end and is told by that; the tensors are not read.
    """
    return _pickle(path) is not None


def check_checkpoint(
    path: Path, key: str = "model.pretrained", scale: str | None = None, backbone: str | None = None
) -> None:
    """Raises ConfigError naming ``key`` where ``path`` is missing, no checkpoint with a model of ultralytics or ours
    in it, or of a scale other than ``scale``, where it tells its own and one is given; then of another ``backbone``
    too: torchvision's name for it, None for YOLOv8's own.
    """
    if not path.is_file():
        raise ConfigError(f"{key}={path}: no such file; must be a checkpoint (.pt)")
    pickled = _pickle(path) if path.suffix == ".pt" else None
    # a bare state_dict names no class of a network
    if pickled is None or not (b"ultralytics.nn." in pickled or b"acmix_exp.yolo." in pickled):
        raise ConfigError(f"{key}={path}: not a torch checkpoint; must be a .pt file that ultralytics saved")
    theirs = _scale(pickled) if scale else None
    if theirs not in (None, scale):
        raise ConfigError(f"{key}={path}: weights of scale {theirs}; must be of model.scale={scale}")
    kept = next((name for name in NETWORKS.values() if name and name.encode() in pickled), None)
    if scale and kept != backbone:
        own = "YOLOv8's own backbone"
        raise ConfigError(f"{key}={path}: weights on {kept or own}; must be on {backbone or own}, as model.name says")


def check_features(path: Path, network: str) -> None:
    """Raises ConfigError where ``path`` is no state_dict of torchvision's ``network``."""
    pickled = _pickle(path)
    if pickled is None:  # the format of torch before 1.6, in which torchvision's older files are
        data = path.read_bytes()
        pickled = data if data.startswith(LEGACY) else b""
    layers = {int(index) for index in re.findall(rb"features\.(\d+)\.", pickled)}
    if max(layers, default=None) != LAST_LAYER[network]:
        raise ConfigError(f"model.pretrained={path}: must be torchvision's weights of {network} (a state_dict, .pth)")


def _pickle(path: Path) -> bytes | None:
    """The pickle of what ``torch.save`` wrote, not loaded; None where ``path`` is nothing of the kind."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            root = names[0].split("/", 1)[0] if names else ""
            # TorchScript has constants.pkl and code/ too: a module to run, not weights to load
            if {f"{root}/data.pkl", f"{root}/version"} <= set(names) and f"{root}/constants.pkl" not in names:
                return archive.read(f"{root}/data.pkl")
    except (OSError, zipfile.BadZipFile):
        pass
    return None


def _scale(pickled: bytes) -> str | None:
    """The letter that follows a key ``scale``, as in the YAML that ultralytics keeps with a network; None without."""
    memo: dict[object, object] = {}
    last: object = None
    try:
        for code, argument, _ in pickletools.genops(pickled):
            if code.name in ("BINPUT", "LONG_BINPUT"):
                memo[argument] = last
                continue
            value = memo.get(argument) if code.name in ("BINGET", "LONG_BINGET") else argument
            if last == "scale" and value in SCALES:
                return str(value)
            last = value
    except ValueError:  # not a pickle: the run will say so
        pass
    return None


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
