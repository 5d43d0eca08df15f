"""Attention figures show attention: uniform attention is flat at every place, and all panels share one scale."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.report.figures.attention_maps import heads, times_uniform, windows
from tests.report import builders, rows
from tests.report.builders import _reflect


def window(place: tuple[int, int], shape: tuple[int, int], kernel: int, dilation: int = 1) -> dict[str, list[int]]:
    taps = [(tap - kernel // 2) * dilation for tap in range(kernel)]
    under, across = ([far(at + tap, side) for tap in taps] for at, side in zip(place, shape, strict=True))
    return {"rows": under, "columns": across}


def far(place: int, side: int) -> int:
    """Reflected as often as needed."""
    while not 0 <= place < side and side > 1:
        place = _reflect(place, side)
    return place if side > 1 else 0


@pytest.mark.parametrize("kernel", [3, 7, 31])
@pytest.mark.parametrize("shape", [(9, 12), (2, 3), (1, 5), (1, 1)], ids=str)
def test_uniform_attention_is_one_everywhere(shape: tuple[int, int], kernel: int) -> None:
    for place in np.ndindex(shape):
        relative = times_uniform(shape, window(place, shape, kernel), np.full((kernel, kernel), kernel**-2.0).tolist())
        assert np.allclose(relative.compressed(), 1)
        assert not relative.mask[place]


def test_a_corner_of_uniform_attention_is_not_brighter() -> None:
    """At the corner four taps fall onto most cells and one onto the corner itself."""
    weights = np.full((3, 3), 1 / 9)
    relative = times_uniform((4, 4), window((0, 0), (4, 4), 3), weights.tolist())
    assert np.allclose(relative.compressed(), 1)
    weights[0, 0] += 0.1  # is reflected onto (1, 1), as are three others
    weights[1, 1] -= 0.1  # the corner
    relative = times_uniform((4, 4), window((0, 0), (4, 4), 3), weights.tolist())
    assert relative[1, 1] == pytest.approx(1 + 0.1 * 9 / 4)
    assert relative[0, 0] == pytest.approx(1 - 0.1 * 9)
    assert relative[0, 1] == pytest.approx(1)


def test_a_cell_without_weight_is_zero_and_one_without_a_tap_is_masked() -> None:
    weights = np.zeros((3, 3))
    weights[1, 1] = 1
    relative = times_uniform((9, 9), window((4, 4), (9, 9), 3), weights.tolist())
    assert relative[4, 4] == 9
    assert relative[3, 3] == 0
    assert relative.mask.sum() == 81 - 9


def drawn(folder: Path, change=None):
    """The figures of two rows with attention, ``change`` applied to the stored windows of the second."""
    found = []
    for number in range(2):
        path = folder / f"arm{number}"
        path.mkdir()
        builders.write_images(path / "images", True, number, 0.5)
        file = path / "images" / "windows.json"
        content = json.loads(file.read_text())
        if number and change:
            change(content)
        file.write_text(json.dumps(content))
        runs = {0: rows.record(f"arm{number}", 0, folder=path)}
        found.append(rows.row(f"arm{number}", 0.3, None))
        found[-1].runs.runs.clear()
        found[-1].runs.runs.update(runs)
    table = rows.table(found)
    return [[drawing.figure for drawing in figure(table)] for figure in (windows, heads)]


def scale(figure):
    """The norms of all coloured panels, and the axes of the colour bars."""
    panels = [image for axes in figure.axes for image in axes.images if image.get_cmap().name != "gray"]
    bars = [axes for axes in figure.axes if axes.get_ylabel() == "times uniform attention"]
    return {(panel.norm.vmin, panel.norm.vmax) for panel in panels}, bars


def test_all_panels_of_all_rows_share_one_scale_and_each_figure_has_its_colour_bar(tmp_path: Path) -> None:
    for figures in drawn(tmp_path):
        assert len(figures) == 2
        norms = set()
        for figure in figures:
            found, bars = scale(figure)
            norms |= found
            assert len(bars) == 1
        ((low, high),) = norms
        assert low == pytest.approx(1 / high)


def test_uniform_attention_is_drawn_in_one_colour(tmp_path: Path) -> None:
    def uniform(content) -> None:
        for site in content["sites"]:
            for one in site["windows"]:
                one["mean"] = np.full((7, 7), 0.02041).tolist()
                one["heads"] = np.full((4, 7, 7), 0.02041).tolist()

    for figures in drawn(tmp_path, uniform):
        for axes in figures[1].axes:
            for image in axes.images:
                if image.get_cmap().name != "gray":
                    colours = image.to_rgba(image.get_array())[~image.get_array().mask]
                    assert len(np.unique(colours, axis=0)) == 1
                    assert axes.get_xlabel() == "1.00 to 1.00"
