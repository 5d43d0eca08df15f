"""The W&B id of a run directory: made once, kept in it, used again by every resume."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

ID = re.compile(r"[a-z0-9]{12}")


def run_id(run_dir: Path, *, resumed: bool) -> str:
    """The id stored under ``run_dir``/wandb where a run is resumed and has one; else a new one, stored there.

    Random, not derived from the directory's name: the same baseline of two experiments is two W&B runs, a run
    that starts anew must not append to the rows of a failed attempt, and W&B never gives out a deleted id again.
    """
    path = run_dir / "wandb" / "run_id"
    if resumed and path.is_file():
        stored = path.read_text(encoding="ascii", errors="replace").strip()
        if ID.fullmatch(stored):
            return stored
    fresh = secrets.token_hex(6)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"run_id.{os.getpid()}.part")
    part.write_text(fresh + "\n", encoding="ascii")
    os.replace(part, path)
    return fresh
