"""How the tile backend cuts the map: bands of query rows, strips of query columns, and the keys of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect

# Seconds, forward and backward on one AVX-512 core, float32: a group of small tensor calls; one query-key
# pair, apart from its head width and for each channel of it; moving one element of a column strip.
CALL, PAIR, PAIR_CHANNEL, MOVE = 60e-6, 2.0e-9, 0.18e-9, 5e-9
PAIRS_AT_ONCE = 1 << 17  # logits of one step stay in the second-level cache
PAIRS_AT_ONCE_CUDA = 1 << 26
CUDA_TILE = (8, 8)


@dataclass(frozen=True)
class Span:
    """Queries ``start .. stop - 1`` of an axis; the ``size`` keys from ``key`` on hold all their taps."""

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
        """How many pixels hold every tap of ``queries`` neighbouring queries, wherever these lie."""
        return min(self.pixels, (queries - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)

    def span(self, start: int, stop: int) -> Span:
        # Reflection never leaves the window that is pushed back into the map, so no key lies outside of it.
        size = self.keys(stop - start)
        first = start * self.stride - self.kernel // 2 * self.dilation
        return Span(start, stop, min(max(first, 0), self.pixels - size), size)

    def cut(self, step: int) -> list[Span]:
        return [self.span(at, min(at + step, self.queries)) for at in range(0, self.queries, step)]

    def log_count(self, span: Span, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Log of how often each key is under a query's window, -inf where never: (queries, keys) of ``span``.

        A softmax over reflected taps is the softmax over the distinct keys with this added to the logits.
        """
        centre = torch.arange(span.start, span.stop, device=device) * self.stride
        offset = (torch.arange(self.kernel, device=device) - self.kernel // 2) * self.dilation
        tap = reflect(centre[:, None] + offset, self.pixels) - span.key
        count = (tap[:, :, None] == torch.arange(span.size, device=device)).sum(dim=1)
        return count.to(dtype).log()


@dataclass(frozen=True)
class Strips:
    """``count`` neighbouring strips of equal width; ``spans`` are theirs, from left to right."""

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
    """Cut the columns into strips of ``width``; the narrower rest is a group apart, so that groups batch."""
    spans = columns.cut(width)
    whole = [span for span in spans if span.stop - span.start == spans[0].stop - spans[0].start]
    rest = spans[len(whole) :]
    return [Strips(tuple(group)) for group in (whole, rest) if group]


@lru_cache(maxsize=512)
def choose_tile(rows: Axis, columns: Axis, images: int, groups: int, channels: int) -> tuple[int, int]:
    """The (rows, columns) of queries in a tile that should be fastest on a CPU, by the cost measured above.

    images, groups: what one call batches, and how many such calls cover batch and heads.
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
                # Matrix products of few rows run below the speed of the machine.
                cost += steps * CALL + pairs * (PAIR + PAIR_CHANNEL * channels) * (1 + 12 / queries)
                if width < columns.queries:
                    cost += MOVE * batch * groups * channels * rows.pixels * group.keys
            if cost < best_cost:
                best, best_cost = (height, width), cost
    return best
