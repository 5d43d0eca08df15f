"""Checkpoints that ask for code: pickles that call what they name, and archives that two readers read differently."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

TRACE = "it_ran"  # the file that an attack makes in the working folder
SHELL = f"touch {TRACE}"


def command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program in a folder, which is also its runs_dir's parent."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **variables}
    line = [sys.executable, "-m", "acmix_exp", *arguments]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], folder: Path, name: str) -> str:
    """The one line of a refusal that names ``name``; nothing ran."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / TRACE).exists()
    (line,) = [line for line in done.stderr.splitlines() if name in line]
    return line


class Calls:
    """Pickled as a call of ``function``."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class Named:
    """Pickled as the global MODULE.NAME, called with ``args``; without any, the global alone."""

    def __init__(self, path: str, *args: Any) -> None:
        self.path, self.args = path, args


class Writer(pickle._Pickler):
    """Writes Named by its path, whether there is such a global or not."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if not isinstance(obj, Named):
            return super().save(obj, save_persistent_id)
        module, _, name = obj.path.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        if obj.args:
            super().save(obj.args)
            self.write(pickle.REDUCE)
        return None


class Written:
    """A pickle module for torch.save that uses Writer."""

    Pickler = Writer
    __name__ = "pickle"

    @staticmethod
    def dump(value: Any, file: Any, protocol: int = 2) -> None:
        Writer(file, protocol).dump(value)


def attacked(stock: Path, path: Path, key: str, value: Any) -> Path:
    """A copy of the checkpoint with one more key, or another value of one."""
    import torch

    content = _content(stock)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**content, key: value}, path, pickle_module=Written)
    return path


@cache
def _content(stock: Path) -> dict[str, Any]:
    import torch

    return dict(torch.load(stock, weights_only=False))


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, content: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def text(value: str) -> bytes:
    """The opcodes of a string."""
    return pickle.BINUNICODE + len(value.encode()).to_bytes(4, "little") + value.encode()


def name(path: str) -> bytes:
    """The opcode of a global."""
    module, _, attribute = path.rpartition(".")
    return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()


def with_opcodes(stock: Path, path: Path, value: bytes) -> Path:
    """A copy of the checkpoint whose pickle sets one more key to what the opcodes ``value`` leave."""
    return changed(stock, path, lambda data: data[:-1] + text("note") + value + pickle.SETITEM + pickle.STOP)


def changed(stock: Path, path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the checkpoint with another pickle."""
    content = entries(stock)
    pickled = next(key for key in content if key.endswith("/data.pkl"))
    return write_zip(path, {**content, pickled: change(content[pickled])})
