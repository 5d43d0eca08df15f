"""Flattened padded map: every window tap is a constant offset into one contiguous row.

A map is padded by reflection (the halo) and its rows are concatenated. The queries are flattened with the padded
width as their row pitch, so that the pixel under tap t of query n is element n + offset(t) of the padded row. Each
step of the attention is then an operation on long contiguous rows. The elements between the query rows (the gaps)
belong to no query and are held at zero.

With a stride S the padded map is first split into S x S phases (polyphase), within which the taps of neighbouring
queries are adjacent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from acmix_exp.ops.window_attention.geometry import output_size, reflect


@dataclass(frozen=True)
class Layout:
    """Layout of a map (height, width) for a window of kernel^2 taps; ``stride`` of queries, ``dilation`` of taps."""

    height: int
    width: int
    kernel: int
    stride: int
    dilation: int

    @property
    def margin(self) -> int:
        """Width of the halo in pixels."""
        return self.kernel // 2 * self.dilation

    @property
    def queries(self) -> tuple[int, int]:
        """Rows and columns of queries."""
        return output_size(self.height, self.stride), output_size(self.width, self.stride)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of one phase of the padded map."""
        reach = 2 * self.margin // self.stride
        return self.queries[0] + reach, self.queries[1] + reach

    @property
    def row_length(self) -> int:
        """Elements of a row of all queries at the pitch of the padded width, the last gap included."""
        return self.queries[0] * self.padded[1]

    @property
    def used_length(self) -> int:
        """Elements from the first query to the last one, without the last gap."""
        return self.row_length - (self.padded[1] - self.queries[1])

    def taps(self, row: Tensor) -> list[Tensor]:
        """Pixels under tap 0, 1, ... of all queries: views (..., used_length) of a padded row (..., S^2, pixels)."""
        phases, wide = row.unbind(-2), self.padded[1]
        offsets = [divmod(i * self.dilation, self.stride) for i in range(self.kernel)]
        return [
            phases[row_phase * self.stride + phase].narrow(-1, down * wide + right, self.used_length)
            for down, row_phase in offsets
            for right, phase in offsets
        ]

    def flatten_queries(self, image: Tensor) -> Tensor:
        """Maps of queries (..., rows, columns), any strides -> rows (..., used_length) with zeros in the gaps."""
        row = image.new_empty(*image.shape[:-1], self.padded[1])
        columns = self.queries[1]
        row[..., :columns] = image
        row[..., columns:] = 0
        return row.flatten(-2).narrow(-1, 0, self.used_length)

    def query_sites(self, row: Tensor) -> Tensor:
        """Inverse of ``flatten_queries``: a view (..., rows, columns) of rows (..., row_length)."""
        return row.unflatten(-1, (self.queries[0], self.padded[1]))[..., : self.queries[1]]

    def zero_gaps(self, row: Tensor) -> Tensor:
        """Zero the gaps in place: they may hold an Inf or NaN of pixels outside every window. Returns ``row``."""
        row.unflatten(-1, (self.queries[0], self.padded[1]))[..., self.queries[1] :] = 0
        return row

    def pad(self, image: Tensor) -> Tensor:
        """Maps (..., height, width), any strides -> padded rows (..., S^2, pixels of a phase)."""
        if self.stride > 1:
            rows, columns = self._phases(image.device)
            padded = image.index_select(-2, rows).index_select(-1, columns)
            phases = padded.unflatten(-1, (self.stride, -1)).unflatten(-3, (self.stride, -1))
            return phases.transpose(-2, -3).flatten(-2).flatten(-3, -2)
        padded = image.new_empty(*image.shape[:-2], *self.padded)
        inner = padded.narrow(-2, self.margin, self.height)
        inner.narrow(-1, self.margin, self.width).copy_(image)
        if self.margin:
            for part, dim, size in ((inner, -1, self.width), (padded, -2, self.height)):
                sources = torch.tensor(_border_sources(size, self.margin), device=image.device)
                reflected = part.index_select(dim, sources)
                part.narrow(dim, 0, self.margin).copy_(reflected.narrow(dim, 0, self.margin))
                part.narrow(dim, self.margin + size, self.margin).copy_(reflected.narrow(dim, self.margin, self.margin))
        return padded.flatten(-2).unsqueeze(-2)

    def pad_backward(self, row: Tensor, image: Tensor) -> None:
        """Adjoint of ``pad``: write the map's gradient into ``image``; ``row``, its padded form, is overwritten."""
        if self.stride > 1:
            rows, columns = self._phases(row.device)
            phases = row.unflatten(-2, (self.stride, -1)).unflatten(-1, self.padded)
            padded = phases.transpose(-2, -3).flatten(-2).flatten(-3, -2)
            image.zero_()
            summed_columns = row.new_zeros(*padded.shape[:-1], self.width).index_add_(-1, columns, padded)
            image.copy_(row.new_zeros(image.shape).index_add_(-2, rows, summed_columns))
            return
        padded = row.squeeze(-2).unflatten(-1, self.padded)
        for dim, size in ((-2, self.height), (-1, self.width)):
            halo = [*range(self.margin), *range(self.margin + size, 2 * self.margin + size)]
            for source, target in zip(halo, _border_sources(size, self.margin), strict=True):
                padded.select(dim, target).add_(padded.select(dim, source))
            padded = padded.narrow(dim, self.margin, size)
        image.copy_(padded)

    def _phases(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Source pixel of each row, and of each column, of the padded map, phase after phase."""
        starts = torch.arange(self.stride, device=device)[:, None] - self.margin
        rows, columns = (
            reflect((starts + self.stride * torch.arange(count, device=device)).flatten(), size)
            for count, size in zip(self.padded, (self.height, self.width), strict=True)
        )
        return rows, columns

    def blocks(self, images: int, heads: int, channels: int, at_once: int) -> list[tuple[slice, slice]]:
        """Slices of batch and heads, each of about ``at_once`` elements of a map."""
        count = max(1, at_once // max(1, channels * prod(self.queries)))
        if count >= heads:
            step = count // heads
            return [(slice(first, min(first + step, images)), slice(0, heads)) for first in range(0, images, step)]
        return [
            (slice(image, image + 1), slice(first, min(first + count, heads)))
            for image in range(images)
            for first in range(0, heads, count)
        ]


@lru_cache(maxsize=256)
def _border_sources(size: int, margin: int) -> tuple[int, ...]:
    """Index into the padded axis that each of the 2 * margin pixels of the halo repeats."""
    reflected: list[int] = reflect(torch.arange(-margin, size + margin), size).tolist()
    return tuple(margin + pixel for pixel in reflected[:margin] + reflected[margin + size :])
