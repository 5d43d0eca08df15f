"""Trying a block from outside the package in a child process.

So torch is not imported by the command line, nor is code of the user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from acmix_exp import custom_block
from acmix_exp.child import Job, require, run_child

SECONDS = 300


def faults(block: Mapping[str, Any], channels: Sequence[int]) -> list[str]:
    """A line where the block does not build, keep its shape, or pass gradients at one of ``channels``."""
    asked = {"target": block["target"], "options": custom_block.options(block), "channels": sorted(set(channels))}
    return list(_tried(json.dumps(asked, sort_keys=True, default=str)))


@lru_cache
def _tried(asked: str) -> tuple[str, ...]:
    request = json.loads(asked)
    answer = run_child("custom_block", Path(), request, seconds=SECONDS)
    killed = answer.code < 0 and not answer.kind
    lines = require(answer, "the trial of the block") if killed or answer.error is None else [answer.error]
    return tuple(f"block.target={request['target']}: {line}" for line in lines)


def work(job: Job) -> list[str]:
    """The child's side: why the block cannot be used, a line or none."""
    from acmix_exp.nn.custom import try_custom_block

    try:
        try_custom_block(job.request["channels"], job.request["target"], job.request["options"])
    except ValueError as error:
        return [str(error)]
    return []
