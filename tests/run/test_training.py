"""A network is timed once per folder and machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from acmix_exp.config import load
from acmix_exp.files import write_json
from acmix_exp.run.directory import Run
from acmix_exp.run.training import latency_of_network

MACHINE = {"cpu": "one", "cores": 2}
TIMED = {"latency_ms_b1": 3.0, "latency_ms_b32": 50.0, "latency_alone": True}
MEASURED = {"latency_ms_b1": 4.0}


@pytest.fixture
def two_runs(make_run, monkeypatch: pytest.MonkeyPatch):
    """``two_runs(facts={}, cost={})``: the latency of a new run beside a finished one that differs as given."""
    monkeypatch.setattr("acmix_exp.run.training.timings", lambda model, imgsz, device: dict(MEASURED))

    def call(
        name: str = "mixed-s0-00000000",
        facts: dict[str, Any] | None = None,
        cost: dict[str, Any] | None = None,
        device: int | str = "cpu",
        **hardware: Any,
    ) -> tuple[dict[str, Any], str]:
        common = {"identity": {"block": {"name": "acmix"}}, "versions": {"torch": "2"}, "hardware": MACHINE}
        first, second = make_run(name, status="done"), make_run("mixed-s1-11111111")
        metrics = {"map50_95": 0.5, "map50": 0.7}
        write_json(first.path / "result.json", {"metrics": metrics, "cost": {**TIMED, **(cost or {})}})
        for seed, (run, more) in enumerate(((first, facts or {}), (second, {}))):
            identity = {**common["identity"], **more.get("identity", {}), "seed": seed}
            write_json(run.path / "provenance.json", {**common, **more, "identity": identity})
        config = load(second.path / "config.yaml")
        config = replace(config, hardware=replace(config.hardware, **hardware))
        return latency_of_network(Run(second.path), config, MACHINE, None, device)

    return call


def test_another_seed_takes_the_figures_over(two_runs) -> None:
    assert two_runs() == (TIMED, "mixed-s0-00000000")


def test_the_run_that_was_timed_is_named_through_others(two_runs) -> None:
    assert two_runs(facts={"latency_of": "mixed-s7-77777777"}) == (TIMED, "mixed-s7-77777777")


@pytest.mark.parametrize(
    "differs",
    [
        {"name": "conv-s0-00000000"},
        {"facts": {"identity": {"block": {"name": "ema"}}}},
        {"facts": {"hardware": {"cpu": "other", "cores": 2}}},
        {"facts": {"versions": {"torch": "1"}}},
        {"facts": {"environment": {"OMP_NUM_THREADS": "2"}}},
        {"cost": {"latency_ms_b1": None}},
        {"cost": {"latency_alone": False}},
    ],
    ids=["arm", "block", "machine", "package", "threads", "not timed", "timed beside other runs"],
)
def test_another_network_machine_or_state_is_timed_itself(two_runs, differs: dict[str, Any]) -> None:
    assert two_runs(**differs) == ({**MEASURED, "latency_alone": True}, "mixed-s1-11111111")


def test_a_figure_measured_beside_other_runs_is_reused_beside_other_runs(two_runs) -> None:
    latency, name = two_runs(cost={"latency_alone": False}, runs_at_once=2)
    assert (latency["latency_alone"], name) == (False, "mixed-s0-00000000")


@pytest.mark.parametrize(("gpus_per_run", "alone"), [(1, True), (2, True), (0.5, False)])
def test_a_part_of_a_gpu_is_shared_with_other_runs(two_runs, gpus_per_run: float, alone: bool) -> None:
    cost = {"latency_ms_b1": None}
    latency, _ = two_runs(cost=cost, device=0, executor="ray", runs_at_once=8, gpus_per_run=gpus_per_run)
    assert latency["latency_alone"] == alone
