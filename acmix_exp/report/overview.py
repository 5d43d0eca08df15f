"""The first screen of report.html: each arm's difference to the reference as a drawn line, and beside it its cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape

from acmix_exp.report.columns import COLUMNS, Column
from acmix_exp.report.figures.style import INK, looks
from acmix_exp.report.language import tr
from acmix_exp.report.records import Row, Table
from acmix_exp.report.sentences import DELTA, HARNESS, conclusion, format_number, is_compared

WIDTH, HEIGHT = 360, 34  # of a line's drawing, in its own units
EDGE = 18  # left free at both ends
MOST_ROWS = 40
COSTS = ("latency_ms_b1", "gflops", "parameters")
WIDEST = 2.5  # an axis is at most so many times as long as the farthest seed: two seeds have very wide intervals


@dataclass(frozen=True)
class Overview:
    """The rows of a table on one axis. ``rows``: the reference and the arms that are compared, without controls of the
    harness; of more than 40 those with the largest differences.
    """

    table: Table

    @cached_property
    def rows(self) -> list[Row]:
        rows = [row for row in self.table.rows if row.comparison.verdict not in HARNESS]
        if len(rows) <= MOST_ROWS:
            return rows
        sizes = {id(row): abs(row.comparison.mean or 0.0) for row in rows}
        largest = sorted(rows, key=lambda row: -sizes[id(row)])[:MOST_ROWS]
        return [row for row in rows if row in largest]

    @property
    def is_drawn(self) -> bool:
        return any(row.comparison.deltas for row in self.rows)

    @property
    def left_out(self) -> str:
        count = len(self.table.rows)
        return (
            tr("Of {number} rows those with the largest differences.", number=count)
            if count > len(self.rows) >= MOST_ROWS
            else ""
        )

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The ends of the axis; zero is between them."""
        found = [row.comparison for row in self.rows]
        seeds = [delta for each in found for delta in each.deltas.values()]
        seeds += [each.mean for each in found if each.mean is not None]
        ends = [end for each in found for end in (each.low, each.high, each.simultaneous_low, each.simultaneous_high)]
        farthest = WIDEST * max(map(abs, seeds), default=0.0)
        numbers = [*seeds, *(min(max(end, -farthest), farthest) for end in ends if end is not None)]
        size = max(map(abs, numbers), default=0.0) or 0.001
        return min(*numbers, -0.25 * size, 0.0), max(*numbers, 0.25 * size, 0.0)

    def ticks(self) -> list[float]:
        low, high = self.limits
        rough = (high - low) / 7
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]

    def x(self, value: float) -> float:
        low, high = self.limits
        return round(EDGE + (WIDTH - 2 * EDGE) * (min(max(value, low), high) - low) / (high - low), 1)

    def axis(self) -> str:
        """The axis with "worse" and "better" at its ends, as SVG."""
        decimals = max(0, -math.floor(math.log10(self.ticks()[1] - self.ticks()[0] + 1e-12)))
        labels = "".join(
            f'<text x="{self.x(tick)}" y="31" text-anchor="middle">{tick:+.{decimals}f}</text>'
            if abs(tick) > 1e-12
            else f'<text x="{self.x(tick)}" y="31" text-anchor="middle">0</text>'
            for tick in self.ticks()
        )
        ends = (
            f'<text class="worse" x="{EDGE}" y="12">\N{LEFTWARDS ARROW} {tr("worse")}</text>'
            f'<text class="better" x="{WIDTH - EDGE}" y="12" text-anchor="end">'
            f"{tr('better')} \N{RIGHTWARDS ARROW}</text>"
        )
        text = "axis: difference to {reference} in {metric}; left of zero is worse, right is better"
        label = tr(text, reference=self.table.reference, metric=self.table.headline)
        return self._svg(f"{ends}{labels}", label, "axis")

    def line(self, row: Row) -> str:
        """Seeds, mean and intervals of a row, as SVG; what they are is in its label."""
        found, middle = row.comparison, HEIGHT / 2
        grid = "".join(
            self._vertical(tick, 0, HEIGHT, "zero" if abs(tick) < 1e-12 else "grid") for tick in self.ticks()
        )
        if not found.deltas:
            return self._svg(grid, "", "line") if self.is_drawn else ""
        parts = [grid, *(self._vertical(delta, 3, 10, "seed") for delta in found.deltas.values())]
        parts += self._interval(found.simultaneous_low, found.simultaneous_high, "joint")
        parts += self._interval(found.low, found.high, "own")
        if found.mean is not None:
            parts.append(f'<circle class="mean" cx="{self.x(found.mean)}" cy="{middle}" r="5"/>')
        seeds = ", ".join(f"{seed}: {format_number(delta, DELTA)}" for seed, delta in sorted(found.deltas.items()))
        words = f"{row.label}: {conclusion(row, self.table.reference)} {tr('Seeds {numbers}', numbers=seeds)}."
        return self._svg("".join(parts), words, "line")

    def _interval(self, low: float | None, high: float | None, name: str) -> Iterable[str]:
        """A horizontal line, with a stroke at each end that is on the axis and an arrow at one that is not."""
        if low is None or high is None:
            return
        y = HEIGHT / 2
        yield f'<line class="{name}" x1="{self.x(low)}" x2="{self.x(high)}" y1="{y}" y2="{y}"/>'
        for end, outside, sign in ((low, low < self.limits[0], 1), (high, high > self.limits[1], -1)):
            x = self.x(end)
            if outside:
                yield f'<path class="arrow" d="M{x - 7 * sign} {y}l{8 * sign} -5v10z"/>'
            elif name == "joint":
                yield f'<line class="{name}" x1="{x}" x2="{x}" y1="{y - 6}" y2="{y + 6}"/>'

    def _vertical(self, value: float, top: float, bottom: float, name: str) -> str:
        x = self.x(value)
        return f'<line class="{name}" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>'

    def _svg(self, content: str, label: str, name: str) -> str:
        hidden = f'role="img" aria-label="{escape(label)}"' if label else 'role="img" aria-label="reference"'
        return f'<svg class="{name}" viewBox="0 0 {WIDTH} {HEIGHT}" {hidden}>{content}</svg>'

    def colour(self, row: Row) -> str:
        colour = looks(self.table.rows)[row.label].colour
        return "currentColor" if colour == INK else colour

    def costs(self) -> Sequence[Column]:
        return [column for key in COSTS for column in COLUMNS if list(column.numbers) == [key]]

    def ratio(self, row: Row, column: Column) -> str:
        """How many times the reference's cost; empty if one of them is unknown, and for the reference."""
        reference = next((other for other in self.table.rows if other.runs is row.reference), None)
        if reference is None:
            return ""
        own, other = (next(iter(column.numbers_of(each).values())) for each in (row, reference))
        return f"\N{MULTIPLICATION SIGN}{own / other:.2f}" if own is not None and other else ""

    def is_compared(self, row: Row) -> bool:
        return is_compared(row)
