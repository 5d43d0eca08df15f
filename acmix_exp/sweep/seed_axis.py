"""The seeds of ``seeds=auto``: all of the last look of ``seeds_plan``, in place of the axis ``seed`` of a sweep.

Which of them are trained is decided look by look, by tasks/looks.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from acmix_exp.config import AUTO, Config
from acmix_exp.errors import ConfigError

FALSE_CLAIMS = 0.05
MOST = 1000  # seeds
SLACK = 1e-9  # of a sum of shares: 0.02 + 0.03 is not 0.05 in binary


def with_seeds(axes: Mapping[str, list[str]], config: Any, typed: str | None) -> dict[str, list[str]]:
    """The axes of a command whose composed ``config`` has ``seeds: auto``, with those seeds; else as they are.

    typed: the setting of ``seed`` on the command line, if there is one. Raises ConfigError if there is.
    """
    if config.seeds != AUTO or not _rising(looks := list(config.seeds_plan.looks)):  # which is refused cell by cell
        return dict(axes)
    if typed is not None:
        raise ConfigError(f"{typed}: seeds=auto has seeds of its own, 0, 1, ... by seeds_plan.looks; leave one out")
    return {**axes, "seed": [f"seed={seed}" for seed in range(looks[-1])]}


def faults(config: Config, explicit: Collection[str]) -> list[str]:
    """A line per fault of ``seeds`` and ``seeds_plan``. explicit: the keys that the user set."""
    plan = config.seeds_plan
    if config.seeds is None:
        keys = sorted(key for key in explicit if key.startswith("seeds_plan"))
        return [f"{key}: is for seeds=auto, which this command does not have" for key in keys]
    if config.seeds != AUTO:
        return [f"seeds={config.seeds}: must be auto, or left out; seed=range(0,8) in a sweep are eight seeds"]
    looks, shares = f"seeds_plan.looks={_text(plan.looks)}", f"seeds_plan.shares={_text(plan.shares)}"
    if not _rising(plan.looks):
        return [f"{looks}: must be rising numbers of seeds, from 2 to {MOST}"]
    if len(plan.shares) != len(plan.looks):
        return [f"{shares}: must be {len(plan.looks)} numbers, one for each look of {looks}"]
    if not all(0 <= share <= FALSE_CLAIMS for share in plan.shares):
        return [f"{shares}: must be numbers from 0 to {FALSE_CLAIMS}"]
    if (total := sum(plan.shares)) > FALSE_CLAIMS + SLACK:
        return [f"{shares}: must sum to {FALSE_CLAIMS} at most; they sum to {total:.4g}"]
    if all(share < 2 / 2**seeds for seeds, share in zip(plan.looks, plan.shares, strict=True)):
        floors = ", ".join(f"{2 / 2**seeds:.2g}" for seeds in plan.looks)
        return [f"{shares}: no look could call an arm better or worse; the smallest p of {looks} are {floors}"]
    return []


def _rising(looks: Sequence[int]) -> bool:
    pairs = pairwise(looks)
    return bool(looks) and looks[0] >= 2 and looks[-1] <= MOST and all(low < high for low, high in pairs)


def _text(numbers: Sequence[float]) -> str:
    return f"[{','.join(f'{number:g}' for number in numbers)}]"
