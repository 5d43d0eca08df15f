"""Trying a block from outside the package, in a child process: ``python -m acmix_exp.sweep.custom_block_trial JSON``.

So torch is not imported by the command line, nor is code of the user's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from acmix_exp import custom_block

SECONDS = 300


def faults(block: Mapping[str, Any], channels: Sequence[int]) -> list[str]:
    """A line where the block does not build, keep its shape, or pass gradients at one of ``channels``."""
    asked = {"target": block["target"], "options": custom_block.options(block), "channels": sorted(set(channels))}
    return list(_tried(json.dumps(asked, sort_keys=True, default=str)))


@lru_cache
def _tried(asked: str) -> tuple[str, ...]:
    target = json.loads(asked)["target"]
    command = [sys.executable, "-m", "acmix_exp.sweep.custom_block_trial", asked]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return (f"block.target={target}: not built and run within {SECONDS} seconds",)
    if child.returncode == 0:
        return ()
    last = (child.stdout if child.returncode == 2 else child.stderr).strip().splitlines() or ["no further word"]
    return (f"block.target={target}: {last[-1]}",)


def main(arguments: list[str]) -> int:
    from acmix_exp.nn.custom import try_custom_block

    asked = json.loads(arguments[0])
    try:
        try_custom_block(asked["channels"], asked["target"], asked["options"])
    except ValueError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
