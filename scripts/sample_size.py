"""Write acmix_exp/report/sample_size.csv: which true differences the joint sign-flip test finds with so many seeds.

python -m scripts.sample_size

A family of arms has normal deltas of standard deviation 1, n seeds each, that correlate by 0.25 over the arms: between
0, and 0.5 for a common reference and independent runs; over that range power changes by about 0.02. One arm has a true
difference. The test is that of ``acmix_exp.report.sign_flips`` at 5 %. For each simulated set of deltas, bisection
finds the smallest difference that, added to the arm's deltas, is found; all differences see the same deltas (common
random numbers). Quantiles of it over the sets are the differences found with that probability: ``half`` is found with
50 %, ``most`` with 80 %. Above 11 seeds signs are drawn, anew for each batch of sets.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from acmix_exp.report.sign_flips import LEVEL

PATH = Path(__file__).resolve().parents[1] / "acmix_exp" / "report" / "sample_size.csv"
SEEDS = (*range(6, 13), 14, 16, 20, 32, 64)
FAMILIES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
SETS = 8000  # of deltas
BATCH = 100  # of them at a time
ALL_UP_TO, DRAWN = 11, 1024  # seeds up to which all signs are tried; how many are drawn above
CORRELATION = 0.25
STEPS = 14  # of the bisection
TOLERANCE = 1e-5


def simulated(n: int, family: int, sets: int = SETS) -> np.ndarray:
    """For each of the sets of deltas the smallest true difference of the first arm that is found, ``[sets]``."""
    rng = np.random.default_rng([n, family])
    return np.concatenate([smallest_found(_deltas(n, family, rng), _signs(n, rng)) for _ in range(sets // BATCH)])


def _deltas(n: int, family: int, rng: np.random.Generator) -> np.ndarray:
    """``[BATCH, n, family]``"""
    common = rng.standard_normal((BATCH, n, 1)) * CORRELATION**0.5
    return common + rng.standard_normal((BATCH, n, family)) * (1 - CORRELATION) ** 0.5


def smallest_found(deltas: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """``[b, n, k]`` -> ``[b]``, what has to be added to the first arm for it to be found; 16 if nothing is enough."""
    n = deltas.shape[1]
    flipped = np.abs(np.einsum("rn,bnk->kbr", signs, deltas[:, :, 1:], optimize=True)).astype(np.float32)
    arm, balance = deltas[:, :, 0] @ signs.T, signs.sum(1)
    mean, square = deltas[:, :, 0].mean(1), (deltas[:, :, 0] ** 2).mean(1)
    scale = np.sqrt((deltas**2).mean(1))
    low, high = np.zeros(len(deltas)), np.full(len(deltas), 16.0)
    for _ in range(STEPS):
        difference = (low + high) / 2
        scale[:, 0] = np.sqrt(square + 2 * difference * mean + difference**2)
        divisor = scale + np.median(scale, axis=1, keepdims=True)
        largest = np.abs(arm + difference[:, None] * balance) / divisor[:, :1]
        for others, scales in zip(flipped, divisor[:, 1:].T, strict=True):
            np.maximum(largest, others / scales[:, None].astype(np.float32), out=largest)
        seen = (mean + difference) * n / divisor[:, 0]
        found = ((largest >= seen[:, None] * (1 - TOLERANCE)).mean(1) <= LEVEL) & (seen > 0)
        low, high = np.where(found, low, difference), np.where(found, difference, high)
    return high


def _signs(n: int, rng: np.random.Generator) -> np.ndarray:
    """``[r, n]``, the first row without a flip. A vector and its negative are one, so the first sign stays."""
    if n <= ALL_UP_TO:
        return 1.0 - 2.0 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1)
    signs = rng.integers(0, 2, (DRAWN, n)) * 2.0 - 1.0
    signs[0] = 1
    return signs


def line(n: int, family: int) -> tuple[int, int, str, str]:
    """The line of the table for n seeds and a family of so many comparisons."""
    half, most = np.quantile(simulated(n, family), (0.5, 0.8))
    return n, family, f"{half:.4f}", f"{most:.4f}"


def main() -> int:
    lines = [line(n, family) for n in SEEDS for family in FAMILIES]
    with PATH.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seeds", "family", "half", "most"))
        writer.writerows(lines)
    print(f"written to {PATH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
