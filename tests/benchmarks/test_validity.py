"""A shorter set of the simulations of docs/validity.md, and that its numbers are those of the committed result."""

from __future__ import annotations

import json

import pytest

from benchmarks.validity.__main__ import missed, simulate
from benchmarks.validity.page import PAGE, latest, rewritten
from benchmarks.validity.scenarios import GROUPS, scenarios

SCENARIOS = scenarios()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.group}: {scenario.setting}")
def test_a_scenario_keeps_to_its_bounds(scenario):
    """30 repeats: enough to see a method that is wrong, with bounds that are as much wider."""
    result = simulate(scenario, 30 / scenario.repeats)
    assert result["repeats"] == 30
    assert all(0 <= value <= 1 for value in result["measures"].values())
    assert scenario.bounds.keys() <= result["measures"].keys()
    assert missed(result, errors=3) == []


def test_a_measure_outside_of_its_bounds_is_named():
    result = {"setting": "s", "repeats": 10_000, "measures": {"x": 0.06}, "bounds": {"x": [0.0, 0.05]}}
    assert missed(result) == ["s: x 0.060, must be from 0 to 0.05"]
    assert missed({**result, "measures": {"x": 0.054}}) == []  # two standard errors are 0.0044
    assert missed({**result, "repeats": 100}) == []


def test_every_scenario_has_a_name_and_a_group_of_its_own():
    names = [(scenario.group, scenario.setting) for scenario in SCENARIOS]
    assert len(names) == len(set(names))
    assert list(dict.fromkeys(group for group, _ in names)) == list(GROUPS)


def test_the_page_has_the_numbers_of_the_committed_result():
    assert PAGE.read_text(encoding="utf-8") == rewritten(latest())


def test_the_committed_result_is_of_all_scenarios_and_keeps_to_their_bounds():
    content = json.loads(latest().read_text(encoding="utf-8"))
    assert content["share"] == 1
    assert [(result["group"], result["setting"]) for result in content["results"]] == [
        (scenario.group, scenario.setting) for scenario in SCENARIOS
    ]
    assert [line for result in content["results"] for line in missed(result)] == []


def test_seeds_auto_saves_a_third_of_the_runs_and_keeps_to_5_percent():
    """Of 2,000 simulated ablations each: what README and docs/reading_the_report.md say of it."""
    content = json.loads(latest().read_text(encoding="utf-8"))
    of_auto = {each["setting"]: each for each in content["results"] if each["setting"].startswith("seeds=auto")}
    assert len(of_auto) == 7
    for result in of_auto.values():
        assert result["repeats"] == 2000
        assert result["measures"]["families with a false claim"] <= 0.05
    large = of_auto["seeds=auto: normal; 3 arms, effect 2.5 sd"]["measures"]
    assert large["effect found"] >= 0.99
    assert large["runs, of those of the last look"] <= 2 / 3
