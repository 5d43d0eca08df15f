from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.columns import columns
from acmix_exp.report.figures.cost_plots import latency
from acmix_exp.report.table import make_tables
from tests.report import builders
from tests.report.builders import summary

Write = Callable[..., Path]
NETWORK = {"parameters": 3_001_000, "gflops": 8.0}
PROFILED = {"latency_ms_b1": 3.0, "latency_ms_b1_p95": 4.0, "latency_ms_b32": 50.0, "latency_ms_b32_p95": 55.0}


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    (table,) = summary(folder)
    return {row["arm"]: row | {"notes": table["notes"]} for row in table["rows"]}


def edit(run: Path, **changes: Any) -> None:
    result = json.loads((run / "result.json").read_text())
    result["cost"] |= changes
    (run / "result.json").write_text(json.dumps({**result, "imgsz": 64}))


@pytest.fixture
def runs(add: Write) -> dict[str, Path]:
    return {arm: add(arm, 0, 0.5) for arm in ("baseline", "mixed")}


def test_mean_time_and_highest_memory(add: Write, runs: dict[str, Path]) -> None:
    edit(runs["mixed"], latency_ms_b1=8.0, peak_memory_mb=100.0, train_seconds=10.0)
    edit(add("mixed", 1, 0.5), latency_ms_b1=12.0, peak_memory_mb=300.0, train_seconds=20.0)
    row = rows(runs["mixed"].parent)["mixed"]
    assert row["latency_ms_b1"] == 10.0
    assert row["peak_memory_mb"] == 300.0
    assert row["train_seconds"] == 15.0
    assert row["latency_ms_b32"] is None
    assert row["latency_from"] == "run"
    assert not any("task=profile" in note for note in row["notes"])


def test_a_latency_measured_beside_other_runs_is_named(runs: dict[str, Path]) -> None:
    edit(runs["mixed"], latency_alone=False)
    row = rows(runs["mixed"].parent)["mixed"]
    assert row["latency_from"] == "shared"
    assert any("task=profile" in note for note in row["notes"])


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        pytest.param({}, True, id="same"),
        pytest.param({"imgsz": 640}, False, id="other-size"),
        pytest.param({"arm": "conv"}, False, id="other-arm"),
        pytest.param({"cost": {**NETWORK, **PROFILED, "parameters": 5}}, False, id="other-network"),
    ],
)
def test_the_profile_is_used_if_it_timed_the_same_network(
    runs: dict[str, Path], row: dict[str, Any], taken: bool
) -> None:
    edit(runs["mixed"], latency_alone=False)
    profiled = {"arm": "mixed", "swept": {}, "imgsz": 64, "cost": {**NETWORK, **PROFILED}, **row}
    plain = {"arm": "baseline", "swept": {}, "imgsz": 64, "cost": {**NETWORK, **PROFILED, "parameters": 3_000_000}}
    edit(runs["baseline"])
    (runs["mixed"].parent / "profile.json").write_text(json.dumps({"rows": [plain, profiled]}))
    found = rows(runs["mixed"].parent)["mixed"]
    assert found["latency_from"] == ("profile" if taken else "shared")
    assert found["latency_ms_b1"] == (3.0 if taken else 10.0)
    assert found["latency_ms_b32"] == (50.0 if taken else None)
    assert any("it did not time mixed as trained here" in note for note in found["notes"]) != taken
    assert any("Latencies are those of task=profile" in note for note in found["notes"]) == taken


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 5}', '{"rows": [7, {}]}'])
def test_a_broken_profile_is_none(runs: dict[str, Path], text: str) -> None:
    (runs["mixed"].parent / "profile.json").write_text(text)
    assert rows(runs["mixed"].parent)["mixed"]["latency_from"] == "run"


def on_machines(folder: Path, **arms: list[tuple[dict[str, Any], float]]) -> dict[str, dict[str, Any]]:
    """Rows of runs with a machine and milliseconds each, by arm."""
    for arm, runs in arms.items():
        for seed, (hardware, milliseconds) in enumerate(runs):
            path = builders.add_run(folder, arm, seed, 2, pictures=False, hardware=hardware)
            cost = {"latency_ms_b1": milliseconds, "train_seconds": 10 * milliseconds, "peak_memory_mb": milliseconds}
            result = json.loads((path / "result.json").read_text())
            (path / "result.json").write_text(json.dumps({**result, "cost": {**result["cost"], **cost}}))
    return rows(folder)


CPU, GPU = builders.MACHINE, builders.GPU


def test_times_are_of_the_machine_that_every_row_has(tmp_path: Path) -> None:
    found = on_machines(tmp_path, baseline=[(CPU, 40.0)] * 3, mixed=[(GPU, 3.0), (GPU, 3.0), (CPU, 54.0)])
    assert [found[arm]["n"] for arm in ("baseline", "mixed")] == [3, 3]
    assert [found[arm]["latency_ms_b1"] for arm in ("baseline", "mixed")] == [40.0, 54.0]
    assert [found[arm]["train_seconds"] for arm in ("baseline", "mixed")] == [400.0, 540.0]
    assert [found[arm]["peak_memory_mb"] for arm in ("baseline", "mixed")] == [40.0, 54.0]
    assert (
        "Times and memory are those of the runs on AMD EPYC (2 cores); the runs on NVIDIA H200 count only for "
        "accuracy." in found["mixed"]["notes"]
    )


def test_if_no_machine_is_every_rows_it_is_the_references(tmp_path: Path) -> None:
    found = on_machines(tmp_path, baseline=[(CPU, 40.0)], conv=[(GPU, 3.0)], mixed=[(GPU, 4.0)])
    assert [found[arm]["latency_ms_b1"] for arm in ("baseline", "conv", "mixed")] == [40.0, None, None]
    assert [found[arm]["latency_from"] for arm in ("baseline", "mixed")] == ["run", None]
    assert any("conv, mixed: no run on AMD EPYC (2 cores)" in note for note in found["mixed"]["notes"])


def profile(folder: Path, hardware: dict[str, Any], *arms: str) -> None:
    """What task=profile would leave: 5 ms for the first arm, 6 for the next, and so on."""
    results = [json.loads(path.read_text()) for path in folder.glob("*/result.json")]
    timed = []
    for place, arm in enumerate(arms):
        cost = next(result["cost"] for result in results if result["arm"] == arm)
        figures = {key: cost[key] for key in ("parameters", "gflops")} | {"latency_ms_b1": 5.0 + place}
        timed.append({"arm": arm, "swept": {}, "imgsz": 320, "cost": figures})
    device = "cuda" if "gpu" in hardware else "cpu"
    content = {"rows": timed, "device": device, "threads": 1, "hardware": hardware}
    (folder / "profile.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("hardware", "arms", "said"),
    [
        (
            CPU,
            ("baseline", "mixed"),
            "Latencies are those of task=profile: the networks in turn, on AMD EPYC (2 cores)",
        ),
        (GPU, ("baseline", "mixed"), "it ran on NVIDIA H200, not on AMD EPYC (2 cores)"),
        ({**CPU, "cpu": "a laptop"}, ("baseline", "mixed"), "it ran on a laptop (2 cores), not on AMD EPYC (2 cores)"),
        (CPU, ("mixed",), "it did not time baseline as trained here"),
    ],
)
def test_page_and_figure_have_the_summarys_latencies(
    tmp_path: Path, hardware: dict[str, Any], arms: tuple[str, ...], said: str
) -> None:
    on_machines(tmp_path, baseline=[(CPU, 40.0)] * 2, mixed=[(CPU, 54.0)] * 2)
    profile(tmp_path, hardware, *arms)
    (table,) = make_tables(tmp_path)
    taken = said.startswith("Latencies are")
    expected = [5.0, 6.0] if taken else [40.0, 54.0]
    assert [row.cost.latency_ms_b1 for row in table.rows] == expected
    assert any(said in note for note in table.notes)
    (column,) = [column for column in columns("costs") if column.title == "latency (ms)"]
    assert [column.text(row) for row in table.rows] == [f"{value:.2f}" for value in expected]
    figure = next(iter(latency(table))).figure
    points = {float(x) for line in figure.axes[0].get_lines() for x in line.get_xdata()}
    assert points == set(expected)
    assert ("task=profile" in figure.axes[0].get_xlabel()) == taken
