"""Whether a file can be a checkpoint, by its zip directory and the names in its pickle. No torch."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

from acmix_exp.config import SCALES, ConfigError
from acmix_exp.yolo.backbones import NETWORKS

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
