"""Whether locks reach other hosts is read from the type of the file system and its mount options."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from acmix_exp.run.lock_reach import without_reach

LOCAL = "its locks do not reach other hosts"


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("ext4", "rw", None),
        ("tmpfs", "rw", None),
        ("nfs4", "rw,vers=4.2,local_lock=none", None),
        ("nfs", "rw,vers=3,local_lock=none", None),
        ("nfs", "rw,vers=3,nolock,local_lock=all", f"nfs, mounted with nolock: {LOCAL}"),
        ("nfs", "rw,vers=3,local_lock=flock", f"nfs, mounted with local_lock=flock: {LOCAL}"),
        ("lustre", "rw,flock,lazystatfs", None),
        ("lustre", "rw,localflock", f"lustre, mounted without flock: {LOCAL}"),
        ("lustre", "rw", f"lustre, mounted without flock: {LOCAL}"),
        ("cifs", "rw,nobrl", f"cifs, mounted with nobrl: {LOCAL}"),
        ("fuse.sshfs", "rw", "fuse.sshfs: its locks may not reach other hosts"),
        ("fuse.glusterfs", "rw", None),
        ("gpfs", "rw", None),
        ("beegfs", "rw", "beegfs: its locks may not reach other hosts"),
        ("fuse.fuse-overlayfs", "rw", None),
    ],
)
def test_types_and_options(tmp_path, kind, options, why):
    shared = tmp_path / "shared données"
    shared.mkdir()
    point = os.path.realpath(shared).replace(" ", "\\040")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"90 22 0:50 / {point} rw,nosuid shared:7 master:1 - {kind} server:/export {options}\n"
        "91 22 0:51 / /elsewhere rw - lustre server:/other rw\n"
        "a line of another form\n"
    )
    assert without_reach(shared / "runs" / "default", mounts) == why
    assert without_reach(tmp_path / "runs", mounts) is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["mountinfo", "shared données"]


def test_no_locks_at_all(tmp_path, monkeypatch):
    def flock(file, mode):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert without_reach(tmp_path) == "a file system without locks (Function not implemented)"


def test_nothing_is_known_where_there_is_no_list_of_mounts(tmp_path):
    assert without_reach(tmp_path, tmp_path / "none") is None
