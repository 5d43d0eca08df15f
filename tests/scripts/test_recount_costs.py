"""scripts/recount_costs.py: GFLOPs of finished runs are counted anew; everything else stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.config import Config, load
from scripts import recount_costs
from scripts.recount_costs import complexity_of, recount
from tests.report import builders

ARMS = ("baseline", "mixed")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**read(path), **changes}))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def figures() -> dict[bool, dict[str, Any]]:
    """The counted costs, by whether blocks are inserted."""
    return {}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, figures: dict[bool, dict[str, Any]]) -> Path:
    """Two arms with the figures of version 0.1, and the profile of both."""
    folder = tmp_path_factory.mktemp("runs") / "x"
    rows = []
    for run in builders.add_runs(folder, ARMS, seeds=1, epochs=2, pictures=False):
        result = read(run / "result.json")
        config = load(run / "config.yaml")
        counted = complexity_of(config, len(read(run / "provenance.json")["dataset"]["names"]))
        figures[config.arm.insert] = counted
        old = {**counted, "gflops": 9.9, "gflops_ultralytics": 9.7}
        del old["gflops_published"], old["parameters_fused"]
        times = {key: value for key, value in result["cost"].items() if not key.startswith(("parameters", "gflops"))}
        change(run / "result.json", cost={**old, **times})
        rows.append(
            {"arm": result["arm"], "swept": {}, "imgsz": result["imgsz"], "cost": {**old, "latency_ms_b1": 3.0}}
        )
    (folder / "profile.json").write_text(json.dumps({"rows": rows, "seconds": 1.0}))
    return folder


@pytest.fixture
def folder(
    template: Path, tmp_path: Path, figures: dict[bool, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    def known(config: Config, classes: int) -> dict[str, Any]:
        return figures[config.arm.insert]

    monkeypatch.setattr(recount_costs, "complexity_of", known)
    return Path(shutil.copytree(template, tmp_path / "x"))


def run_of(folder: Path, arm: str) -> Path:
    return next(folder.glob(f"{arm}-*"))


def test_only_counted_figures_change(folder: Path) -> None:
    before = contents(folder)
    lines, faults = recount(folder)
    assert lines == [f"{folder}: 2 finished runs, 2 networks, 2 runs changed"]
    assert faults == []
    after = contents(folder)
    assert after.keys() == before.keys()
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed == {"result.json", "provenance.json", "profile.json"}
    for arm in ARMS:
        path = run_of(folder, arm).relative_to(folder)
        old, new = (json.loads(files[path / "result.json"]) for files in (before, after))
        was, now = old.pop("cost"), new.pop("cost")
        assert old == new
        assert {key for key in now if now[key] != was.get(key)} == {
            "gflops",
            "gflops_ultralytics",
            "gflops_published",
            "parameters_fused",
        }
        facts, recorded = (json.loads(files[path / "provenance.json"]) for files in (before, after))
        remark = recorded.pop("costs_recounted")
        assert recorded == facts
        assert remark["was"]["gflops"] == 9.9
        assert remark["versions"]["acmix_exp"]
        row = next(row for row in read(folder / "profile.json")["rows"] if row["arm"] == arm)
        assert row["cost"] == {**{key: now[key] for key in row["cost"] if key in now}, "latency_ms_b1": 3.0}
        assert row["cost"]["gflops"] == now["gflops"]


def test_a_second_call_changes_nothing(folder: Path) -> None:
    recount(folder)
    once = contents(folder)
    assert recount(folder)[0] == [f"{folder}: 2 finished runs, 2 networks, 0 runs changed"]
    assert contents(folder) == once


def test_the_first_figures_are_kept(folder: Path) -> None:
    recount(folder)
    path = run_of(folder, "mixed") / "result.json"
    change(path, cost={**read(path)["cost"], "gflops": 1.0})
    recount(folder)
    assert read(path)["cost"]["gflops"] != 1.0
    assert read(path.with_name("provenance.json"))["costs_recounted"]["was"]["gflops"] == 9.9


def test_another_network_is_left_as_it_is(folder: Path) -> None:
    path = run_of(folder, "mixed") / "result.json"
    change(path, cost={**read(path)["cost"], "parameters": 7})
    (run_of(folder, "baseline") / "config.yaml").write_text("what: unknown\n")
    before = contents(folder)
    faults = recount(folder)[1]
    assert [fault.split(":")[0] for fault in faults] == [run_of(folder, arm).name for arm in ARMS]
    assert "parameters, 7 were trained" in faults[1]
    assert contents(folder) == before
