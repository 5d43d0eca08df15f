"""Files that change after they were planned: before training, during it, before a resume, before evaluate and so on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from acmix_exp.config import load
from acmix_exp.errors import ChangedError, one_line
from acmix_exp.run import fingerprints
from acmix_exp.run.directory import Run, runs_in
from acmix_exp.sweep import planning
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import Cell
from tests.robustness.cases import Row, add, case
from tests.robustness.changing_inputs import INPUTS, LINK, SMALL, Input, World
from tests.robustness.commands import wait_until

SECTION = "What is trained"
FAILS = "the run fails with `changed:` and what; with the old content back the same command goes on, weights kept"
for each in INPUTS.values():
    add(Row(SECTION, f"after the plan was made: {each.have}", FAILS))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return World(tmp_path)


def planned(given: Input) -> Cell:
    (cell,) = planning.build(compose_cells([*given.arguments, *SMALL])).cells
    return cell


@pytest.mark.parametrize("kind", INPUTS)
def test_is_noticed_and_put_right(world: World, kind: str) -> None:
    given = INPUTS[kind]
    cell, restore = planned(given), world.snapshot()
    fingerprints.verify(cell.config, cell.identity)
    given.change(world)
    with pytest.raises(ChangedError) as caught:
        fingerprints.verify(cell.config, cell.identity)
    line = one_line(caught.value)
    assert line.startswith(f"changed: {given.named}")
    assert line.endswith("the same command goes on with the old content, and starts new runs with the new")
    restore()
    fingerprints.verify(cell.config, cell.identity)


@case(
    SECTION,
    have="a link to the data set pointed at another folder while runs wait",
    here="they train on the folder that was planned; the next command plans the other one",
)
def test_a_link_is_followed_once(world: World) -> None:
    cell = planned(LINK)
    planning.prepare(planning.Plan("run", world.path("runs/run"), [cell], []))
    LINK.change(world)
    config = load(cell.run.path / "config.yaml")
    assert config.dataset.path == str(world.path("real/data.yaml"))
    fingerprints.verify(config, cell.identity)
    assert planned(LINK).identity["data"] != cell.identity["data"]


@case(
    SECTION,
    have="data, block or pretrained file touched or copied anew, with the same content",
    here="the same run: content counts, not dates and paths",
)
@pytest.mark.parametrize("kind", ["label", "pretrained", "block"])
def test_the_same_content_is_no_change(world: World, kind: str) -> None:
    cell = planned(INPUTS[kind])
    world.snapshot()()
    fingerprints.verify(cell.config, cell.identity)
    assert planned(INPUTS[kind]).identity == cell.identity


@case(
    SECTION,
    have="a file of the installed ultralytics edited while a sweep runs",
    here="the next run fails with `changed: the code of ultralytics`",
)
def test_the_installed_package_edited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from acmix_exp import installed

    cell = planned(INPUTS["label"])
    place = world.path("fork/ultralytics")
    place.mkdir(parents=True)
    edited = [installed.Module("ultralytics", str(place), "modified", "ultralytics/nn/tasks.py")]
    monkeypatch.setattr(installed, "modified", lambda path: edited)
    with pytest.raises(
        ChangedError, match=r"^the code of ultralytics \(hash [0-9a-f]{16}, was as installed\); the same"
    ):
        fingerprints.verify(cell.config, cell.identity)


# finished runs


def finished_run(cell: Cell) -> Run:
    """A run directory as training leaves it, with other bytes for weights."""
    planning.prepare(planning.Plan("run", cell.run.path.parent, [cell], []))
    weights = {}
    (cell.run.path / "weights").mkdir()
    for name in ("best.pt", "last.pt"):
        path = cell.run.path / "weights" / name
        path.write_bytes(name.encode())
        weights[name] = fingerprints.digest(path)
    facts = {**cell.run.provenance(), "weights": weights, "imported": {}}
    (cell.run.path / "provenance.json").write_text(json.dumps(facts))
    return cell.run


@pytest.mark.parametrize("kind", ["pretrained", "block", "helper"])
def test_of_a_finished_run(world: World, kind: str) -> None:
    given = INPUTS[kind]
    cell, restore = planned(given), world.snapshot()
    run = finished_run(cell)
    fingerprints.verify_finished(run, cell.config, pretrained=True)
    given.change(world)
    with pytest.raises(ChangedError) as caught:
        fingerprints.verify_finished(run, cell.config, pretrained=True)
    assert str(caught.value).startswith(given.named)
    restore()
    fingerprints.verify_finished(run, cell.config, pretrained=True)


@case(
    SECTION,
    have="best.pt or last.pt of a finished run replaced by another file",
    here="evaluate, export and repeat refuse it with `changed:`, its path is named",
)
@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_weights_of_a_finished_run(world: World, name: str) -> None:
    cell = planned(INPUTS["label"])
    run = finished_run(cell)
    (run.path / "weights" / name).write_bytes(b"another")
    (line,) = fingerprints.finished_changes(run, cell.config)
    assert line == f"{run.path / 'weights' / name} is not the file that the run wrote"


# real runs


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image added", "label unseen", "xml unseen", "list", "pretrained", "block", "helper"])
def test_during_a_sweep(world: World, kind: str) -> None:
    """Changed while the first run trains: it fails before its evaluation, and the second before it trains."""
    given = INPUTS[kind]
    if "pretrained" in kind:
        _save_network(world.weights)
    command = ("-m", *given.arguments, *SMALL, "seed=0,1", "train.epochs=12", "hardware.runs_at_once=1")
    folder, restore = world.path("runs/run"), world.snapshot()
    process = world.start(*command)
    wait_until(lambda: list(folder.glob("*-s0-*/history.csv")), process)
    given.change(world)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    first, second = runs_in(folder)
    for run in (first, second):
        status = run.status() or {}
        assert (status["status"], run.result()) == ("failed", None)
        assert status["error"].startswith(f"changed: {given.named}")
        assert f"acmix_exp: {run.name} failed: {status['error']}" in err
    assert not second.last.exists()
    history, weights = first.history(), first.last.stat().st_mtime_ns
    assert (first.path / "weights" / "best.pt").exists()
    restore()
    code, err = world.finish(*command)
    assert code == 0, err
    assert [run.state() for run in (first, second)] == ["done", "done"]
    assert first.history()[: len(history)] == history
    assert "resumed after epoch" in first.log.read_text()
    assert first.status()["attempt"] == 2
    assert runs_in(folder) == [first, second]
    assert weights <= first.last.stat().st_mtime_ns
    identities = [run.provenance()["identity"] for run in (first, second)]
    assert [{**parts, "seed": 0} for parts in identities] == [identities[0]] * 2


@pytest.mark.slow
def test_before_evaluate_repeat_and_export(world: World) -> None:
    for kind, tasks in {"label unseen": ("evaluate", "repeat"), "block": ("evaluate", "repeat", "export")}.items():
        given = INPUTS[kind]
        code, err = world.finish(*given.arguments, *SMALL, f"name={kind.split()[0]}", "train.epochs=1")
        assert code == 0, err
        (run,) = runs_in(world.path(f"runs/{kind.split()[0]}"))
        restore = world.snapshot()
        for task in tasks:
            given.change(world)
            block = [text for text in given.arguments if text.startswith("block")]
            extra = ["format=torchscript"] if task == "export" else []
            code, err = world.finish(f"task={task}", f"run={run.path}", *block, *extra)
            assert (code, err.splitlines()[-1].startswith("acmix_exp: changed: ")) == (2, True), err
            assert not (run.path / "evaluations").exists() or task != "evaluate"
            restore()
            code, err = world.finish(f"task={task}", f"run={run.path}", *block, *extra)
            assert code == 0, err
            for made in ("evaluations", "repeat", "export"):
                shutil.rmtree(run.path / made, ignore_errors=True)


def _save_network(path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    arguments = {"task": "detect", "model": "yolov8n.yaml"}
    torch.save({"epoch": -1, "train_args": arguments, "model": DetectionModel("yolov8n.yaml", nc=1).half()}, path)
