"""The checkout that the package runs from: its commit, and the changes that no commit has."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import acmix_exp
from acmix_exp.experiment.redact import redact
from acmix_exp.experiment.store import write_text

PACKAGE = Path(acmix_exp.__file__).resolve().parent
DIFF = "provenance.diff"
LIMIT = 1 << 20  # characters of a diff that are kept
_PLAIN = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")


def commit(package: Path = PACKAGE) -> dict[str, Any] | None:
    """The commit, and whether the package has changes: ``diff_sha256`` is of these. None outside a checkout."""
    return _state(package)[0]


def record(folder: Path, package: Path = PACKAGE) -> dict[str, Any] | None:
    """As :func:`commit`, the changes written to ``folder``/provenance.diff: without secrets, cut at LIMIT characters.

    New files that git does not ignore are in it. Where there are no changes there is no such file.
    """
    found, diff = _state(package)
    if not diff:
        (folder / DIFF).unlink(missing_ok=True)
        return found
    write_text(folder / DIFF, diff[:LIMIT])
    return {**(found or {}), "diff": DIFF, "diff_complete": len(diff) <= LIMIT}


def _state(package: Path) -> tuple[dict[str, Any] | None, str]:
    def git(folder: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        command = ["git", "-C", folder, "-c", "core.quotepath=off", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
        if result.returncode not in codes:
            raise subprocess.SubprocessError(result.stderr)
        return result.stdout

    own = str(package)
    try:
        git(own, "ls-files", "--error-unmatch", "__init__.py")
        top = git(own, "rev-parse", "--show-toplevel").rstrip("\n")
        head = git(top, "rev-parse", "HEAD").strip()
        diff = git(top, *_PLAIN, "HEAD", "--", own)
        for name in filter(None, git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", own).split("\0")):
            diff += git(top, *_PLAIN, "--no-index", "--", "/dev/null", name, codes=(0, 1))
    except (OSError, subprocess.SubprocessError):
        return None, ""
    if not diff:
        return {"commit": head, "dirty": False}, ""
    diff = redact(diff)
    return {"commit": head, "dirty": True, "diff_sha256": hashlib.sha256(diff.encode()).hexdigest()}, diff
