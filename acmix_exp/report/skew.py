"""Findings that rest on one seed: there deltas are skewed, and the sign-flip test errs more often than it should.

The test assumes that a delta is as likely as its negative about the true difference. One run that collapsed, for
instance, makes the deltas of its seed much larger than the others. Leaving out one seed at a time shows it.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from acmix_exp.report import sign_flips
from acmix_exp.report.sign_flips import LEVEL, Array

MOST_SIGNS = 30_000_000  # statistics of all arms, over the tests without a seed each; above, only the means are tried
DOMINATES = 0.75  # share of the squared distances to the median


class Change(StrEnum):
    """What leaving out one seed does to the finding on an arm."""

    CLAIM_LOST = "the verdict"
    CLAIM_NEW = "a verdict"
    SIGN = "the sign"


def rests_on(deltas: Array, level: float = LEVEL) -> list[tuple[int, int, Change]]:
    """Arms whose finding one seed decides, each with that seed: ``[n seeds, k arms]`` -> (arm, seed, change).

    Without the seed a claim (a joint p of at most ``level``) is lost; or the seed outweighs the others, and without it
    the difference has another sign or becomes a claim. A claim is lost if p is above it and above the smallest p that
    is possible without the seed.
    """
    n, arms = deltas.shape
    if n < 3:
        return []
    without = np.stack([np.delete(deltas, seed, 0) for seed in range(n)])
    signs = np.sign(np.where(np.abs(deltas.mean(0)) < sign_flips.TOLERANCE, 0, deltas.mean(0)))
    turned = np.sign(without.mean(1)) * signs < 0
    lost, new = np.zeros_like(turned), np.zeros_like(turned)
    if n * arms * len(sign_flips.sign_vectors(n - 1)) <= MOST_SIGNS:
        claimed, p = sign_flips.joint_p(deltas) <= level, sign_flips.joint_p(without)
        lost = claimed & ((p > max(level, sign_flips.floor(n - 1))) | turned)
        new = ~claimed & (p <= level)
    found = []
    for arm in range(arms):
        squares = (deltas[:, arm] - np.median(deltas[:, arm])) ** 2
        heaviest = int(np.argmax(squares))
        outweighs = squares[heaviest] > DOMINATES * squares.sum()
        if lost[:, arm].any():
            candidates = np.flatnonzero(lost[:, arm])
            found.append((arm, int(candidates[np.argmax(np.abs(deltas[candidates, arm]))]), Change.CLAIM_LOST))
        elif outweighs and turned[heaviest, arm]:
            found.append((arm, heaviest, Change.SIGN))
        elif outweighs and new[heaviest, arm]:
            found.append((arm, heaviest, Change.CLAIM_NEW))
    return found
