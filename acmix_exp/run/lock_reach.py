"""Whether the locks of a folder's file system reach other hosts that share it, from how it is mounted."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from acmix_exp.files import WITHOUT_LOCKS

MOUNTS = Path("/proc/self/mountinfo")
# Type of the file system: mount options of which one makes its locks those of each host alone; those it needs instead.
LOCAL = {
    "nfs": ("nolock", "local_lock=flock", "local_lock=all"),
    "nfs4": ("nolock", "local_lock=flock", "local_lock=all"),
    "cifs": ("nobrl",),
    "smb3": ("nobrl",),
}
NEEDED = {"lustre": "flock"}
# Shared between machines, with locks that depend on a server's settings, or that stay on each machine.
UNKNOWN = (
    *("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.blobfuse", "fuse.blobfuse2", "fuse.goofys"),
    *("afs", "beegfs", "orangefs", "pvfs2"),
)


def without_reach(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Why locks in ``folder`` do not keep processes of other hosts away, or may not; None if they do.

    mounts: a file of the form of Linux's /proc/self/mountinfo; without one nothing is known, and None is returned.
    """
    import fcntl  # of Linux: reports are read on other systems too

    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return f"a file system without locks ({error.strerror})"
        raise
    kind, options = _mount(nearest, mounts)
    if local := next((option for option in LOCAL.get(kind, ()) if option in options), None):
        return f"{kind}, mounted with {local}: its locks do not reach other hosts"
    if kind in NEEDED and NEEDED[kind] not in options:
        return f"{kind}, mounted without {NEEDED[kind]}: its locks do not reach other hosts"
    if kind in UNKNOWN:
        return f"{kind}: its locks may not reach other hosts"
    return None


def _mount(folder: Path, mounts: Path) -> tuple[str, set[str]]:
    """Type and options of the file system that holds a folder; the last mount on the longest path counts."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", set()
    place, found = os.path.realpath(folder), ("", "", set[str]())
    for line in lines:
        before, _, after = line.partition(" - ")
        parts, about = before.split(" "), after.split(" ")
        if len(parts) < 6 or len(about) < 3:
            continue
        point = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), parts[4])  # a blank is \040
        if os.path.commonpath([place, point]) == point and len(point) >= len(found[0]):
            found = point, about[0], {*parts[5].split(","), *about[2].split(",")}
    return found[1], found[2]
