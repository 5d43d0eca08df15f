"""Tile plan of the backend "tile": bands of query rows, strips of query columns, and the keys that each needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect

# Measured seconds, forward and backward, on one AVX-512 core in float32: a group of small tensor calls; one query-key
# pair, without and per channel of the head; copying one element of a column strip.
CALL, PAIR, PAIR_CHANNEL, MOVE = 60e-6, 2.0e-9, 0.18e-9, 5e-9
PAIRS_AT_ONCE = 1 << 17  # the logits of one step stay in the second-level cache
PAIRS_AT_ONCE_CUDA = 1 << 26
CUDA_TILE = (8, 8)


@dataclass(frozen=True)
class Span:
    """Queries ``start .. stop - 1`` of an axis, and the ``size`` keys from ``key`` on that contain all their taps."""

    start: int
    stop: int
    key: int
    size: int


@dataclass(frozen=True)
class Axis:
    """One axis of the map: its number of pixels and its window."""

    pixels: int
    kernel: int
    stride: int
    dilation: int

    @property
    def queries(self) -> int:
        return output_size(self.pixels, self.stride)

    def keys(self, queries: int) -> int:
        """Number of pixels that contain every tap of ``queries`` adjacent queries, at any position of the axis."""
        return min(self.pixels, (queries - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)

    def span(self, start: int, stop: int) -> Span:
        # A window shifted back into the map contains all its reflected taps, so these keys suffice.
        size = self.keys(stop - start)
        first = start * self.stride - self.kernel // 2 * self.dilation
        return Span(start, stop, min(max(first, 0), self.pixels - size), size)

    def cut(self, step: int) -> list[Span]:
        return [self.span(at, min(at + step, self.queries)) for at in range(0, self.queries, step)]

    def log_count(self, span: Span, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Log of how often each key occurs in a query's window, -inf for never: (queries, keys) of ``span``.

        A softmax over reflected taps is the softmax over the distinct keys with this added to the logits.
        """
        centre = torch.arange(span.start, span.stop, device=device) * self.stride
        offset = (torch.arange(self.kernel, device=device) - self.kernel // 2) * self.dilation
        tap = reflect(centre[:, None] + offset, self.pixels) - span.key
        count = (tap[:, :, None] == torch.arange(span.size, device=device)).sum(dim=1)
        return count.to(dtype).log()


@dataclass(frozen=True)
class Strips:
    """``count`` adjacent strips of equal width, from left to right."""

    spans: tuple[Span, ...]

    @property
    def count(self) -> int:
        return len(self.spans)

    @property
    def width(self) -> int:
        return self.spans[0].stop - self.spans[0].start

    @property
    def keys(self) -> int:
        return self.spans[0].size


def strips(columns: Axis, width: int) -> list[Strips]:
    """Cut the columns into strips of ``width``; a narrower last strip is a set by itself, so that each set batches."""
    spans = columns.cut(width)
    full = [span for span in spans if span.stop - span.start == spans[0].stop - spans[0].start]
    last = spans[len(full) :]
    return [Strips(tuple(group)) for group in (full, last) if group]


@lru_cache(maxsize=512)
def choose_tile(rows: Axis, columns: Axis, images: int, groups: int, channels: int) -> tuple[int, int]:
    """Rows and columns of queries per tile with the lowest estimated CPU time (constants above).

    images: size of the batched axis. groups: size of the axis that is looped over.
    """
    best, best_cost = (1, 1), float("inf")
    widths = {columns.queries, *(w for w in (8, 10, 12, 16, 20, 32) if w < columns.queries)}
    for width in sorted(widths, reverse=True):
        for height in {rows.queries, *(h for h in (1, 2, 3, 4, 5, 6, 8) if h < rows.queries)}:
            cost = 0.0
            for group in strips(columns, width):
                queries = height * group.width
                batch = images * group.count
                pairs = rows.queries * group.width * rows.keys(height) * group.keys * batch * groups
                steps = -(-rows.queries // height) * groups
                steps *= max(1, round(batch * queries * rows.keys(height) * group.keys / PAIRS_AT_ONCE))
                # Matrix products with few rows do not reach the machine's peak speed.
                cost += steps * CALL + pairs * (PAIR + PAIR_CHANNEL * channels) * (1 + 12 / queries)
                if width < columns.queries:
                    cost += MOVE * batch * groups * channels * rows.pixels * group.keys
            if cost < best_cost:
                best, best_cost = (height, width), cost
    return best
