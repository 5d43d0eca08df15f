from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.summary import summarise

Write = Callable[..., Path]
NETWORK = {"parameters": 3_001_000, "gflops": 8.0}
PROFILED = {"latency_ms_b1": 3.0, "latency_ms_b1_p95": 4.0, "latency_ms_b32": 50.0, "latency_ms_b32_p95": 55.0}


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    (table,) = summarise(folder)
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


def test_a_latency_beside_other_runs_is_said_to_be_one(runs: dict[str, Path]) -> None:
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
def test_the_profile_is_taken_where_it_timed_the_same_network(
    runs: dict[str, Path], row: dict[str, Any], taken: bool
) -> None:
    edit(runs["mixed"], latency_alone=False)
    profiled = {"arm": "mixed", "swept": {}, "imgsz": 64, "cost": {**NETWORK, **PROFILED}, **row}
    (runs["mixed"].parent / "profile.json").write_text(json.dumps({"rows": [profiled]}))
    found = rows(runs["mixed"].parent)["mixed"]
    assert found["latency_from"] == ("profile" if taken else "shared")
    assert found["latency_ms_b1"] == (3.0 if taken else 10.0)
    assert found["latency_ms_b32"] == (50.0 if taken else None)


@pytest.mark.parametrize("text", ["", "[]", '{"rows": 5}', '{"rows": [7, {}]}'])
def test_a_broken_profile_is_none(runs: dict[str, Path], text: str) -> None:
    (runs["mixed"].parent / "profile.json").write_text(text)
    assert rows(runs["mixed"].parent)["mixed"]["latency_from"] == "run"
