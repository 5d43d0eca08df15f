"""Joint sign-flip test of several arms over common seeds: maximum p per arm and intervals that agree with it.

Deltas are differences to one reference, ``[..., n, k]``: n seeds of k arms, and any leading axes, for instance those
of a simulation. A seed's sign is flipped for all arms at once, so that the arms' dependence is kept and the smallest
p is 2 / 2**n for any number of arms. The test assumes that the deltas of a seed are jointly symmetric about the true
differences; skewed ones it judges wrongly.

Statistic of an arm: ``|mean| / (s + median of s over the arms)``, where s is the root mean square of its deltas. Flips
do not change s, and the median keeps the smallest s of a family from deciding.

Sources: the maximum over a family, Westfall & Young, Resampling-Based Multiple Testing, 1993; the single step, one
critical value for all, and the intervals that invert it, Romano & Wolf, Econometrica 73 (2005); flips of signs, Fisher,
The Design of Experiments, 1935; the constant added to s, Tusher, Tibshirani & Chu, PNAS 98 (2001); drawn flips with the
seen one counted, Phipson & Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010).

For callers: :func:`joint_p`, :func:`critical_value`, :func:`simultaneous_intervals`, :func:`floor`,
:func:`seeds_needed`. numpy alone, no state.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.05
ALL_UP_TO = 16  # seeds; above, as many sign vectors are drawn as there are at this number
BATCH = 1_000_000  # statistics of an arm that are held at a time
TOLERANCE = 1e-9  # statistics, which are below 1, that differ by less are equal

Array = NDArray[np.float64]


@lru_cache(maxsize=32)
def sign_vectors(n: int) -> Array:
    """``[r, n]`` of 1 and -1, the first row without a flip.

    The first sign is 1 in every row: a vector and its negative give the same statistics. All 2**(n-1) of them up to
    ALL_UP_TO seeds, above that the seen one and a fixed random draw.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if n <= ALL_UP_TO:
        numbers = np.arange(2 ** (n - 1))[:, None]
        flipped = (numbers >> np.arange(n - 1)) & 1
    else:
        drawn = np.random.default_rng(0).integers(0, 2, (2 ** (ALL_UP_TO - 1) + 64, n - 1))
        drawn = drawn[drawn.any(1)][: 2 ** (ALL_UP_TO - 1) - 1]
        flipped = np.vstack([np.zeros((1, n - 1)), drawn])
    vectors = np.hstack([np.ones((len(flipped), 1)), 1.0 - 2.0 * flipped])
    vectors.flags.writeable = False
    return vectors


def floor(n: int) -> float:
    """The smallest p that n seeds can give, for any number of arms."""
    return 1.0 if n < 1 else 2.0 / 2 ** min(n, ALL_UP_TO)


def seeds_needed(level: float = LEVEL) -> int:
    """The fewest seeds that can give a p of at most the level."""
    if level < floor(ALL_UP_TO):
        raise ValueError(f"level must be at least {floor(ALL_UP_TO):.2g}, got {level}")
    return next(n for n in itertools.count(1) if floor(n) <= level)


def joint_p(deltas: ArrayLike) -> Array:
    """Single-step maximum p of each arm, ``[..., k]``.

    The share of sign vectors whose largest statistic over all arms is at least that of the arm as seen. With k = 1 it
    is the arm's own two-sided sign-flip p.
    """

    def p(batch: Array) -> tuple[Array]:
        return (_p(_two_largest(batch)[0], _seen(batch)),)

    return _batched(p, deltas)[0]


def critical_value(deltas: ArrayLike, level: float = LEVEL) -> Array:
    """What an arm's statistic must exceed for a p of at most the level, ``[...]``; the arms share one."""

    def critical(batch: Array) -> tuple[Array]:
        return (_largest_but(_two_largest(batch)[0], level),)

    return _batched(critical, deltas)[0]


def statistic(deltas: ArrayLike) -> Array:
    """The statistic of each arm as seen, ``[..., k]``."""
    return _seen(_checked(deltas))


def simultaneous_intervals(deltas: ArrayLike, level: float = LEVEL) -> tuple[Array, Array]:
    """Low and high ends of the simultaneous intervals, ``[..., k]`` each; infinite with fewer than seeds_needed.

    The interval of an arm holds each difference that the joint test does not reject at the level when that difference
    is subtracted from the arm's deltas. The other arms' deltas and the median of s stay as seen; the arm's own s
    follows the shift. Then the p of a shift only falls with its distance from the mean, whence the set is an interval,
    and zero is outside of it exactly if the arm's joint p is at most the level.
    """

    def ends(batch: Array) -> tuple[Array, Array]:
        largest, second = _two_largest(batch)
        outside = _p(largest, _seen(batch)) <= level + TOLERANCE
        low, high = np.empty(outside.shape), np.empty(outside.shape)
        mean, (scale, median) = batch.mean(-2), _scale(batch)
        residuals, inverse = batch - mean[:, None], _inverse(scale)
        variance = (residuals**2).mean(-2)
        balance = sign_vectors(batch.shape[-2]).mean(-1)
        for arm, flipped in enumerate(_flipped_means(residuals)):
            # The arm's statistic as in _two_largest, but for rounding, which must not make it its own rival.
            own = np.abs(flipped + mean[:, [arm]] * balance) * inverse[:, [arm]]
            others = np.where(own >= largest - TOLERANCE, second, largest)
            by_others = _distance_by_others(others, variance[:, [arm]], median)
            below, above = _distances(flipped, balance, by_others)
            low[:, arm] = mean[:, arm] - _largest_but(below, level)
            high[:, arm] = mean[:, arm] + _largest_but(above, level)
        # At a tie the end is zero but for rounding.
        return np.where(outside, low, np.minimum(low, 0.0)), np.where(outside, high, np.maximum(high, 0.0))

    low, high = _batched(ends, deltas)
    return low, high


def _distances(flipped: Array, balance: Array, by_others: Array) -> tuple[Array, Array]:
    """``[b, r]`` twice: how far a shift below and above the mean may be for a sign vector to count in its p.

    It counts while the largest statistic of the other arms is at least that of the shifted arm, or the shifted arm's
    own flipped mean is at least the unflipped one. flipped: means of the residuals; balance: mean of the signs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        up, down = flipped / (1 - balance), flipped / (1 + balance)
    unflipped = balance == 1
    up[:, unflipped] = np.inf
    below = np.maximum(by_others, np.maximum(up, -down))
    up[:, unflipped] = -np.inf
    return below, np.maximum(by_others, np.maximum(down, -up))


def _checked(deltas: ArrayLike) -> Array:
    values = np.asarray(deltas, dtype=float)
    if values.ndim < 2 or 0 in values.shape[-2:]:
        raise ValueError(f"deltas must be [..., n seeds, k arms] with n and k at least 1, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("deltas must be finite")
    return values


def _scale(values: Array) -> tuple[Array, Array]:
    """``[..., k]``, what the means are divided by, and ``[..., 1]``, the median of s in it."""
    root_mean_square = np.sqrt((values**2).mean(-2))
    median = np.median(root_mean_square, axis=-1, keepdims=True)
    return root_mean_square + median, median


def _inverse(scale: Array) -> Array:
    """1 / scale, and 0 where all deltas are 0: such an arm has the statistic 0."""
    return np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)


def _seen(values: Array) -> Array:
    """``[..., n, k]`` -> ``[..., k]``"""
    return np.asarray(np.abs(values.mean(-2)) * _inverse(_scale(values)[0]))


def _flipped_means(batch: Array) -> Iterator[Array]:
    """``[b, n, k]`` -> k times ``[b, r]``: the means of an arm's deltas by sign vector; the first is the seen one."""
    signs = _transposed(batch.shape[-2])
    size = max(1, BATCH // max(1, len(batch) * signs.shape[-1]))
    for start in range(0, batch.shape[-1], size):
        flipped = np.moveaxis(batch[..., start : start + size], -1, 0) @ signs
        yield from flipped / batch.shape[-2]


@lru_cache(maxsize=32)
def _transposed(n: int) -> Array:
    return np.ascontiguousarray(sign_vectors(n).T)


def _two_largest(batch: Array) -> tuple[Array, Array]:
    """``[b, r]`` twice: the largest statistic over the arms, and the second, which is 0 if there is one arm."""
    first = second = np.zeros((len(batch), len(sign_vectors(batch.shape[-2]))))
    for values in _flipped_means(batch * _inverse(_scale(batch)[0])[:, None]):
        values = np.abs(values)
        first, second = np.maximum(first, values), np.maximum(second, np.minimum(first, values))
    return first, second


def _p(largest: Array, seen: Array) -> Array:
    """``[b, r]``, ``[b, k]`` -> ``[b, k]``"""
    return np.stack([(largest >= arm[:, None] - TOLERANCE).mean(-1) for arm in seen.T], -1)


def _distance_by_others(largest: Array, variance: Array, median: Array) -> Array:
    """The distance t of a shift from the mean at which the arm's statistic reaches that of the others.

    Solves ``t / (sqrt(variance + t**2) + median) = largest``, which has no solution from 1 on.
    """
    square = largest**2
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = largest * (median + np.sqrt(square * median**2 + (1 - square) * variance)) / (1 - square)
    return np.where(square < 1 - TOLERANCE, distance, np.inf)


def _largest_but(values: Array, level: float) -> Array:
    """Along the last axis, the largest value after as many as the level lets be larger."""
    count = values.shape[-1]
    skipped = int(level * count + TOLERANCE)
    return np.partition(values, count - 1 - skipped, axis=-1)[..., count - 1 - skipped]


def _batched(function: Callable[[Array], tuple[Array, ...]], deltas: ArrayLike) -> tuple[Array, ...]:
    """The function's results for ``[b, n, k]`` at a time, with the leading axes restored."""
    values = _checked(deltas)
    *leading, n, arms = values.shape
    flat = values.reshape(-1, n, arms)
    parts = list(zip(*(function(part) for part in _parts(flat)), strict=True))
    joined = (np.concatenate(part) for part in parts)
    return tuple(array.reshape(*leading, *array.shape[1:]) for array in joined)


def _parts(flat: Array) -> Iterator[Array]:
    size = max(1, BATCH // len(sign_vectors(flat.shape[-2])))
    for start in range(0, max(1, len(flat)), size):
        yield flat[start : start + size]
