"""The map as one long row, in which a tap of the window is the same map some places further.

A map is padded by reflection and its rows are laid end to end. Queries are laid in rows of the padded width, so
that the pixel under tap t of every query is the query's place plus one offset: each step of the attention is an
operation on long contiguous rows. The places between the query rows hold nothing; they are kept at zero.

With a stride S the padded map is dealt out to S x S phases first, within which the taps of neighbouring queries
are neighbours again.
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
    """Of maps height x width under a window of kernel^2 taps, ``stride`` between queries, ``dilation`` between taps."""

    height: int
    width: int
    kernel: int
    stride: int
    dilation: int

    @property
    def margin(self) -> int:
        return self.kernel // 2 * self.dilation

    @property
    def queries(self) -> tuple[int, int]:
        return output_size(self.height, self.stride), output_size(self.width, self.stride)

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of one phase of the padded map."""
        reach = 2 * self.margin // self.stride
        return self.queries[0] + reach, self.queries[1] + reach

    @property
    def places(self) -> int:
        """Of a row that holds all queries, each in a row of the padded width."""
        return self.queries[0] * self.padded[1]

    @property
    def length(self) -> int:
        """From the first query's place to the last one's."""
        return self.places - (self.padded[1] - self.queries[1])

    def taps(self, row: Tensor) -> list[Tensor]:
        """What the queries see under tap 0, 1, ...: views (..., length) of a padded row (..., S^2, places)."""
        phases, wide = row.unbind(-2), self.padded[1]
        steps = [divmod(i * self.dilation, self.stride) for i in range(self.kernel)]
        return [
            phases[row_phase * self.stride + phase].narrow(-1, down * wide + right, self.length)
            for down, row_phase in steps
            for right, phase in steps
        ]

    def lay(self, image: Tensor) -> Tensor:
        """Query sites (..., rows, columns), any strides, to a row (..., length)."""
        row = image.new_empty(*image.shape[:-1], self.padded[1])
        columns = self.queries[1]
        row[..., :columns] = image
        row[..., columns:] = 0
        return row.flatten(-2).narrow(-1, 0, self.length)

    def sites(self, row: Tensor) -> Tensor:
        """The query sites of a row (..., places), a view (..., rows, columns)."""
        return row.unflatten(-1, (self.queries[0], self.padded[1]))[..., : self.queries[1]]

    def clear_between(self, row: Tensor) -> Tensor:
        """Zero what is between the sites: out of reach of an Inf or NaN that a site does not see. Returns ``row``."""
        row.unflatten(-1, (self.queries[0], self.padded[1]))[..., self.queries[1] :] = 0
        return row

    def pad(self, image: Tensor) -> Tensor:
        """(..., height, width), any strides, to its padded row (..., S^2, places)."""
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
                shown = part.index_select(dim, _border(size, self.margin, image.device))
                part.narrow(dim, 0, self.margin).copy_(shown.narrow(dim, 0, self.margin))
                part.narrow(dim, self.margin + size, self.margin).copy_(shown.narrow(dim, self.margin, self.margin))
        return padded.flatten(-2).unsqueeze(-2)

    def fold(self, row: Tensor, image: Tensor) -> None:
        """The adjoint of ``pad``: write the gradient of the map into ``image``, from that of the row, which is lost."""
        if self.stride > 1:
            rows, columns = self._phases(row.device)
            phases = row.unflatten(-2, (self.stride, -1)).unflatten(-1, self.padded)
            padded = phases.transpose(-2, -3).flatten(-2).flatten(-3, -2)
            image.zero_()
            folded = row.new_zeros(*padded.shape[:-1], self.width).index_add_(-1, columns, padded)
            image.copy_(row.new_zeros(image.shape).index_add_(-2, rows, folded))
            return
        padded = row.squeeze(-2).unflatten(-1, self.padded)
        for dim, size in ((-2, self.height), (-1, self.width)):
            beyond = [*range(self.margin), *range(self.margin + size, 2 * self.margin + size)]
            for source, target in zip(beyond, _border_list(size, self.margin), strict=True):
                padded.select(dim, target).add_(padded.select(dim, source))
            padded = padded.narrow(dim, self.margin, size)
        image.copy_(padded)

    def _phases(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The pixel shown in each row, and in each column, of the padded map, phase after phase."""
        starts = torch.arange(self.stride, device=device)[:, None] - self.margin
        rows, columns = (
            reflect((starts + self.stride * torch.arange(count, device=device)).flatten(), size)
            for count, size in zip(self.padded, (self.height, self.width), strict=True)
        )
        return rows, columns

    def blocks(self, images: int, heads: int, channels: int, at_once: int) -> list[tuple[slice, slice]]:
        """Cut batch and heads into blocks of about ``at_once`` elements of a map."""
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
def _border_list(size: int, margin: int) -> tuple[int, ...]:
    """The place within the padded axis that each of the 2 * margin places beyond the map repeats."""
    shown: list[int] = reflect(torch.arange(-margin, size + margin), size).tolist()
    return tuple(margin + at for at in shown[:margin] + shown[margin + size :])


def _border(size: int, margin: int, device: torch.device) -> Tensor:
    return torch.tensor(_border_list(size, margin), device=device)
