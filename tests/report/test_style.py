"""Arms of one figure can be told apart, and their legend takes no room from the axes."""

from __future__ import annotations

import pytest

from acmix_exp.report.figures.style import legend, looks, subplots
from tests.report.rows import row

BLOCKS = [f"block_{number}" for number in range(12)]


@pytest.mark.parametrize("arms", [["baseline", "identity", "conv3x3", *BLOCKS], ["baseline", "conv", "mixed"]])
def test_every_arm_has_a_distinct_style(arms):
    found = looks([row(arm, 0.3, None) for arm in arms])
    assert len({(look.colour, look.line) for look in found.values()}) == len(arms)


@pytest.mark.parametrize("count", [2, 4, 12])
@pytest.mark.parametrize("arm", ["baseline", "mixed"])
def test_swept_values_of_one_arm_have_colours(arm, count):
    found = looks([row(arm, 0.3, None, swept={"model": f"network{number}"}) for number in range(count)])
    assert len({look.colour for look in found.values()}) == min(count, 7)
    assert len({(look.colour, look.line) for look in found.values()}) == count


@pytest.mark.parametrize("count", [3, 15])
def test_a_long_legend_makes_the_figure_taller(count):
    figure, ((axes,),) = subplots(height=3.5)
    legend(figure, {f"a_long_name_of_an_arm_{number}": {} for number in range(count)})
    figure.draw_without_rendering()
    assert axes.get_position().height * figure.get_figheight() > 2.2
