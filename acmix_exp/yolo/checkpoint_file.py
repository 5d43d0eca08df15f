"""What a file that is given as a checkpoint is, read without torch and without running anything that it names."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from acmix_exp.errors import ConfigError
from acmix_exp.yolo.families import FAMILIES, TRANSFORMER
from acmix_exp.yolo.pickle_scan import Scan, StandIn, scan

LARGEST_PICKLE = 64 << 20  # bytes; the structure of yolov8x takes half a megabyte
LONGEST_NAME = 100  # letters, in a message
HEADS = (  # how a file starts: what it is
    (b"version https://git-lfs", "a pointer of git-lfs, not the file itself (git lfs pull fetches that)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a rar archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"%PDF", "a PDF file"),
)
OLD_FORMAT = "in the format of torch before 1.6, or a bare pickle (load it and save it again with torch.save)"
TASKS = {  # class of the network in ultralytics: its task
    "DetectionModel": "detect",
    "BlockDetectionModel": "detect",
    "YOLOv10DetectionModel": "detect",
    "RTDETRDetectionModel": "detect",
    "BlockRTDETRModel": "detect",
    "WorldModel": "detect",
    "YOLOEModel": "detect",
    "YOLOESegModel": "segment",
    "SegmentationModel": "segment",
    "BlockSegmentationModel": "segment",
    "PoseModel": "pose",
    "BlockPoseModel": "pose",
    "OBBModel": "obb",
    "BlockOBBModel": "obb",
    "ClassificationModel": "classify",
    "BlockClassificationModel": "classify",
}
STOCK = {  # by task, the classes of the networks that fit
    "detect": ("DetectionModel", "BlockDetectionModel"),
    "segment": ("SegmentationModel", "BlockSegmentationModel"),
    "pose": ("PoseModel", "BlockPoseModel"),
    "obb": ("OBBModel", "BlockOBBModel"),
    "classify": ("ClassificationModel", "BlockClassificationModel"),
}
TRANSFORMERS = ("RTDETRDetectionModel", "BlockRTDETRModel")


class NotACheckpoint(ValueError):
    """The file is none of ``torch.save``; the message says what it is, to follow "is"."""


def read(path: Path) -> Scan:
    """The structure of a checkpoint; see :class:`Scan`. Raises NotACheckpoint."""
    return scan_pickle(pickle_of(path))


def scan_pickle(data: bytes) -> Scan:
    """As :func:`scan`. Raises NotACheckpoint for a damaged pickle."""
    try:
        return scan(data)
    except ValueError as error:
        raise NotACheckpoint(f"damaged ({error})") from error


def pickle_of(path: Path) -> bytes:
    """The pickle inside the archive, which holds everything but the numbers of the tensors. Raises NotACheckpoint."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise NotACheckpoint("a folder, not a file" if path.is_dir() else f"not readable ({error.strerror})") from error
    if not head.startswith(b"PK\x03\x04"):
        raise NotACheckpoint(_other_kind(head, path))
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any("/code/" in name for name in names) or any(name.endswith("/constants.pkl") for name in names):
                raise NotACheckpoint("a TorchScript archive, which is exported for inference and cannot be trained")
            pickles = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if not pickles:
                raise NotACheckpoint(f"a zip archive without weights (it holds {_listed(names, 2) or 'nothing'})")
            if len(pickles) > 1 or len({name.lower() for name in names}) < len(names):
                raise NotACheckpoint("an archive that holds an entry twice, which torch.save never writes")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise NotACheckpoint("a compressed archive, which torch.save never writes (extract it first)")
            if pickles[0].file_size > LARGEST_PICKLE:
                raise NotACheckpoint(f"an archive with a pickle of {pickles[0].file_size >> 20} MB, as no network has")
            return archive.read(pickles[0])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise NotACheckpoint("cut short or damaged (its zip directory, at the end, is missing)") from error


def _other_kind(head: bytes, path: Path) -> str:
    """What a file is that is no zip archive."""
    if not head:
        return "an empty file"
    for start, kind in HEADS:
        if head.startswith(start):
            return kind
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML page, not the file (the download failed)"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "a safetensors file: tensors without a network"
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:1] == b"\x08" and re.search(rb"pytorch|onnx|tf2onnx", head[:256]):
        return "an ONNX file, which is exported for inference and cannot be trained"
    if head[:1] == b"\x80" or head[:1] in b"(c}]":
        return OLD_FORMAT + _named(path)
    if b"\0" not in head:
        return "a text file"
    return "no file of torch.save"


def _named(path: Path) -> str:
    found = _foreign_of_old(path)
    return f"; it names {_listed(found, 3)}" if found else ""


def _foreign_of_old(path: Path) -> list[str]:
    """What an old pickle names that no checkpoint names."""
    if path.stat().st_size > LARGEST_PICKLE:
        return []
    for pickles in (4, 1):  # the old format: magic number, version, sizes, object
        try:
            found = scan(path.read_bytes(), pickles).foreign()
        except ValueError:
            continue
        if found:
            return found
    return []


def foreign(path: Path) -> list[str]:
    """What a file names that no checkpoint names, in the old format too; empty if it is no file of torch."""
    try:
        return read(path).foreign()
    except NotACheckpoint:
        return _foreign_of_old(path)


def require_safe(setting: str, found: Scan, own: Collection[str] = ()) -> None:
    """Raise ConfigError if reading the checkpoint could run code; ``setting``: key and value of the file.

    ``own``: the names that a user-defined block needs.
    """
    refuse(setting, found.foreign(own))


def refuse(setting: str, names: Sequence[str]) -> None:
    """Raise ConfigError if there are ``names``, which a file holds and no checkpoint does."""
    if names:
        is_yolov5 = names[0].startswith("models.")
        hint = " (it is of the YOLOv5 repository, whose checkpoints ultralytics cannot read)" if is_yolov5 else ""
        raise ConfigError(
            f"{setting}: not read, because it names {_listed(names, 3)}, which no checkpoint of YOLO holds and "
            f"which may run code{hint}; if you know who made it, allow_unsafe_checkpoint=true reads it"
        )


def cannot_be_loaded(setting: str, why: str) -> str:
    """The line for a file that is no checkpoint, or a damaged one."""
    return f"{setting}: cannot be loaded ({why}); must be a .pt file that ultralytics saved"


def network(root: Any) -> StandIn:
    """The network that ultralytics takes from the content of a checkpoint. Raises NotACheckpoint if there is none."""
    if isinstance(root, StandIn):
        raise NotACheckpoint(f"a bare {_class(root)} (torch.save of the network, not of a checkpoint)")
    if not isinstance(root, dict):
        raise NotACheckpoint(f"a {type(root).__name__} that torch saved, not a checkpoint")
    found = root.get("ema") or root.get("model")
    if isinstance(found, StandIn) and found.get("_modules") is not None:
        return found
    tensors = found if isinstance(found, dict) else root
    if tensors and all(isinstance(value, StandIn) and "_rebuild" in type(value).path for value in tensors.values()):
        raise NotACheckpoint(f"a state_dict of {len(tensors)} tensors without their network")
    if found is not None:
        kind = getattr(found, "path", "") or _class(found)
        raise NotACheckpoint(f"a checkpoint whose model is a {_shown(kind)}, not a network")
    raise NotACheckpoint(f"a dict of {_listed(list(root), 4)} without a model")


def _listed(values: Collection[Any], most: int) -> str:
    return ", ".join(_shown(value) for value in list(values)[:most])


def _shown(value: Any) -> str:
    """Text from a file as a part of one line: a name in it may be long, or hold what moves the cursor."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(value))
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def yaml_of(model: StandIn) -> dict[str, Any]:
    """The YAML that the network was built from; empty if it has none."""
    yaml = model.get("yaml")
    return yaml if isinstance(yaml, dict) else {}


def what_it_is(model: StandIn) -> str:
    """A network in words: its family and scale as far as it says, task and number of classes."""
    yaml = yaml_of(model)
    name, task = _shown(Path(str(yaml.get("yaml_file", ""))).stem), TASKS.get(_class(model), "")
    classes = yaml.get("nc")
    inside = [f"task {task}"] if task else []
    inside += [f"{classes} classes"] if isinstance(classes, int) else []
    return f"{name or _class(model)}" + f" ({', '.join(inside)})" * bool(inside)


def family_of(model: StandIn) -> tuple[str | None, str | None]:
    """The family's ``base`` and the scale that the name of the network's YAML says; None where it says nothing known.

    Without a scale in the name, it is the one that the YAML itself says.
    """
    yaml = yaml_of(model)
    name = Path(str(yaml.get("yaml_file", ""))).stem
    scale = _shown(yaml["scale"]) if yaml.get("scale") else None
    for family in FAMILIES.values():
        for each in family.scales:
            if re.match(rf"{re.escape(family.network(each, None))}(-|$)", name):
                return family.base, each
    base = next(
        (family.base for family in FAMILIES.values() if re.match(rf"{re.escape(family.base)}(-|$)", name)), None
    )
    return base, scale


def first_width(model: StandIn) -> int | None:
    """Output channels of the first convolution; None if there is none."""
    try:
        weight = model.get("model").get("0").get("conv").get("_parameters")["weight"]
        return int(weight.args[0].args[2][0])  # of the tensor in the parameter, its shape
    except (AttributeError, KeyError, IndexError, TypeError):
        return None


def layers(model: StandIn) -> list[str]:
    """Class names of the layers, of a layer with a block that of the stock layer."""
    sequence = model.get("model")
    modules = sequence.get("_modules") if isinstance(sequence, StandIn) else None
    if not isinstance(modules, dict):
        return []
    return [re.sub(r"(After|Swapped)$", "", _class(layer)) for layer in modules.values()]


def _class(value: Any) -> str:
    return type(value).path.rpartition(".")[2] if isinstance(value, StandIn) else type(value).__name__


def is_other(model: StandIn, stock: list[str], base: str | None, task: str) -> bool:
    """Whether the network is of another task, has other layers than ``stock``, their classes, or is of another family.

    ``base``: of the family; None for a YAML of the user's own.
    """
    named, _ = family_of(model)
    known = TRANSFORMERS if stock[-1] == TRANSFORMER else STOCK[task]
    return _class(model) not in known or layers(model) != stock or (None not in (named, base) and named != base)
