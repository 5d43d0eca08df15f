"""Read a checkpoint in a child process by restricted unpickling.

The file's pickle is scanned first (pickle_scan.py). Then ultralytics loads it, with ``weights_only=True`` and the
classes that the scan has seen: :data:`acmix_exp.child.RESTRICTED` makes it do so. Both read one private copy, so that a
file which changes in between is scanned as it is loaded.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.tasks import load_checkpoint

from acmix_exp import custom_block
from acmix_exp.nn.custom import build_custom_block
from acmix_exp.yolo.checkpoint_file import NotACheckpoint, pickle_of, require_safe, scan_pickle
from acmix_exp.yolo.pickle_scan import CLASS_MODULES, GETATTR, INTERPOLATION, NAMESPACES, TRANSFORMS, Scan, scan

PLAIN = (*NAMESPACES, *TRANSFORMS, INTERPOLATION)  # classes that are no modules
_own: dict[str, Any] = {}  # what the checkpoint of a user-defined block names: the object, by its name
_is_restricted = True


def restrict(restricted: bool) -> None:
    """Whether :func:`load` refuses what may run code; as ``allow_unsafe_checkpoint`` of the command says."""
    global _is_restricted
    _is_restricted = restricted


def own_names() -> set[str]:
    """What :func:`allow_block` has allowed."""
    return set(_own)


def allow_block(block: Mapping[str, Any], channels: Sequence[int]) -> None:
    """Allow what a user-defined block is made of: the module classes of its file, and what its pickle names.

    Imports the file, which the caller has made sure is the user's. Raises ValueError, in one line, if the block cannot
    be built, or cannot be read back from its own pickle.
    """
    target = block["target"]
    module = target.rpartition(".")[0]
    made = build_custom_block(channels[0], target, **custom_block.options(block))
    saved = io.BytesIO()
    torch.save(made, saved)
    with zipfile.ZipFile(saved) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        found = scan(archive.read(name))
    classes = {key: value for key, value in vars(sys.modules[module]).items() if _is_network(value, module)}
    _own.update({f"{module}.{key}": value for key, value in classes.items()})
    for path in found.foreign():
        name = path.removesuffix("(...)")
        parent, _, attribute = name.rpartition(".")
        # getattr would lead from an allowed class to everything.
        if name != GETATTR and hasattr(sys.modules.get(parent), attribute):
            _own[name] = getattr(sys.modules[parent], attribute)
    _register(found.names)
    saved.seek(0)
    if not _is_restricted:
        return
    try:
        torch.load(saved, weights_only=True)
    except Exception as error:
        names = [path for path in found.foreign() if path.rpartition(".")[0] != module] or [type(error).__name__]
        raise ValueError(
            f"its checkpoint could not be read by restricted unpickling, because it holds {', '.join(names)}; use a "
            "torch.nn.Module in its place, or allow_unsafe_checkpoint=true"
        ) from error


def load(path: Path, setting: str = "") -> tuple[Any, dict[str, Any]]:
    """The network of a checkpoint (float32, eval mode, on the CPU) and its content.

    setting: the key and value that name the file; without one, its path.
    Raises ConfigError if reading it could run code, NotACheckpoint if it is no checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="acmix_exp-") as folder:
        copy = Path(folder, "copy.pt")  # ultralytics reads no other suffix
        shutil.copyfile(path, copy)
        verify(copy, setting or str(path))
        try:
            model, content = load_checkpoint(copy)
        except Exception as error:
            error.args = tuple(str(part).replace(str(copy), str(path)) for part in error.args)
            raise
    model.pt_path = str(path)
    return model, content


def verify(path: Path, setting: str = "") -> Scan | None:
    """Scan a checkpoint and let torch create the classes in it; None if that is not restricted. Raises as load."""
    if not _is_restricted:
        return None
    data = pickle_of(path)
    try:
        same = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl") == data
    except RuntimeError:
        same = False
    if not same:
        raise NotACheckpoint("an archive that torch and zip tools read differently")
    found = scan_pickle(data)
    require_safe(setting or str(path), found, _own.keys())
    _register(found.names)
    return found


def _register(names: set[str]) -> None:
    entries: list[Any] = []
    for path in names:
        module, _, name = path.rpartition(".")
        if path in _own:
            entries.append((_own[path], path))
        elif path.startswith(CLASS_MODULES) or path in PLAIN:
            try:
                value = getattr(import_module(module), name, None)
            except ImportError:  # of another version; ultralytics knows some old names
                continue
            if isinstance(value, type) and (issubclass(value, nn.Module) or path in PLAIN):
                entries.append((value, path))
    torch.serialization.add_safe_globals(entries)


def _is_network(value: Any, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module
