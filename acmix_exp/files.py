"""Atomic writes of files and folders, lock files, and the user's cache folder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

MAKING = ".making-"  # in the name of a folder that is being made


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """Yield a new file that replaces ``path`` when the block ends without an exception.

    A reader, or a kill during the write, finds the old content or the new. If not ``durable``, a power failure soon
    after may leave an empty file. Raises OSError, which names ``path``.
    """
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and (temporary is None or error.filename in (None, temporary)):
            error.filename = str(path)  # of a write that failed Python knows no file name
        raise


CLAIM = ".claim-"  # begins the name of a file that says which process works on the folder; see run/claim.py


def require_space(folder: Path) -> None:
    """Raises OSError if the disk of ``folder`` is full: for a child that ended without an answer."""
    if shutil.disk_usage(folder).free < 1 << 16:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def remove_temporaries(folder: Path, *names: str) -> None:
    """Delete what killed processes left of :func:`replacing` and :func:`appearing`. Only where no other process writes
    at the time; ``names``: of the files in which none does, if others are written.
    """
    patterns = [f".{name}.*" for name in names] or [".*"]
    for entry in (entry for pattern in patterns for entry in folder.glob(pattern)):
        with suppress(OSError):
            if entry.is_dir() and MAKING in entry.name:
                shutil.rmtree(entry)
            elif entry.is_file() and not entry.name.startswith((".lock", CLAIM)):
                entry.unlink()


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a file atomically; ``durable``: see :func:`replacing`. Raises OSError."""
    with replacing(path, durable=durable) as file:
        file.write(text.encode("utf-8"))


def write_arrays(path: Path, arrays: Mapping[str, numpy.ndarray], *, compress: bool = True) -> None:
    """Replace an .npz atomically. Raises OSError."""
    import numpy  # here, because the import is half the start of a child process, and most write no array

    with replacing(path) as file:
        (numpy.savez_compressed if compress else numpy.savez)(file, allow_pickle=False, **arrays)


def write_changed(path: Path, text: str, *, durable: bool = True) -> None:
    """As :func:`write_text`, unless the file holds this text already. Raises OSError."""
    with suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    write_text(path, text, durable=durable)


def json_text(value: Any) -> str:
    """The text of a JSON file."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    write_text(path, json_text(value))


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object, with NaN and infinities as None; None if the file is missing or is no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


# What a file system answers that has no locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool | None]:
    """Hold the lock file ``path``, made if it is missing; yields False if another process or thread holds it and
    ``wait`` is false, and None if the file system, or Windows, has no such locks. The kernel releases it if the process
    is killed.

    Raises OSError.
    """
    try:
        import fcntl
    except ImportError:  # of Windows, where results are read and reported, and nothing is trained
        yield None
        return
    with open(path, "a", encoding="utf-8") as file:
        held: bool | None = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            held = False
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            held = None
        yield held


_STALE_AFTER = 24 * 3600.0  # seconds after which a temporary folder of a killed process is deleted


def user_path(text: str | Path) -> Path:
    """The path with ``~`` and ``~NAME`` expanded; where there is no such user the name is taken as it is."""
    return Path(os.path.expanduser(text))


def shipped(name: str) -> Path | None:
    """The file of this package that has that name, such as ``yolov8_mini.yaml``; None if there is none."""
    path = Path(__file__).parent / "shipped" / name
    return path.resolve() if os.path.basename(name) == name and path.is_file() else None


def cache_dir() -> Path:
    """The user's cache folder of this program: ``$XDG_CACHE_HOME/acmix_exp`` or ``~/.cache/acmix_exp``."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return user_path(base).absolute() / "acmix_exp"


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` and rename it to ``target`` when the block ends without an exception.

    If another process has created ``target`` meanwhile, the new folder is deleted. Raises OSError.
    """
    new_parent = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}{MAKING}"
    for old in target.parent.glob(f"{prefix}*"):
        if time.time() - old.stat().st_mtime > _STALE_AFTER:
            shutil.rmtree(old, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        folder = temporary / "folder"
        folder.mkdir()  # the folder of mkdtemp is private to the user (0700); this one follows the umask
        yield folder
        try:
            os.rename(folder, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if new_parent:
            with suppress(OSError):
                target.parent.rmdir()  # succeeds only if it is empty: after a failure
