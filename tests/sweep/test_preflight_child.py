"""What is sent to the preflight, every network once whatever the seed, and how its faults name their cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from acmix_exp.child import Answer
from acmix_exp.errors import ChildError, ConfigError
from acmix_exp.sweep import preflight_child
from acmix_exp.sweep.compose import Composed, compose_cells
from acmix_exp.sweep.preflight_child import Preflight

SWEEP = ("-m", "arm=baseline,mixed", "block.kernel_att=3,5", "seed=0,1")
PENDING = SimpleNamespace(cells=[], runs=[SimpleNamespace(is_final=lambda: False)])
DONE = SimpleNamespace(cells=[], runs=[SimpleNamespace(is_final=lambda: True)])


class FakeChild:
    """Keeps the request in place of a process; ``reply`` is its answer, None if it must not be asked."""

    reply: Answer | None = Answer(0, value={"faults": {}, "names": []})
    started: ClassVar[list[tuple[str, Path]]] = []
    requests: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, task: str, folder: Path, **options: Any) -> None:
        self.started.append((task, folder))

    def __enter__(self) -> FakeChild:
        return self

    def __exit__(self, *_: object) -> None: ...

    def send(self, request: dict[str, Any]) -> None:
        self.requests.append(request)

    def answer(self) -> Answer:
        assert self.reply is not None
        return self.reply


SPARES: list[str] = []  # tasks of the spare children that are waiting


@contextmanager
def fake_spare(task: str, folder: Path, threads: int) -> Iterator[None]:
    SPARES.append(task)
    yield
    SPARES.remove(task)


@pytest.fixture(autouse=True)
def fake_child(monkeypatch):
    monkeypatch.setattr(preflight_child, "Child", FakeChild)
    monkeypatch.setattr(preflight_child, "spare", fake_spare)
    SPARES.clear()
    FakeChild.started.clear()
    FakeChild.requests.clear()


def sent(*arguments: str) -> tuple[Preflight, list[Composed]]:
    preflight = Preflight()
    cells = compose_cells(arguments, on_first=preflight.start)
    preflight.send(cells)
    return preflight, cells


def test_every_network_is_sent_once():
    sent(*SWEEP, "name=many")
    assert FakeChild.started == [("preflight", Path("runs/many"))]
    (request,) = FakeChild.requests
    kernels = [(network["arm"]["name"], network["block"].get("kernel_att")) for network in request["networks"]]
    assert kernels == [("baseline", None), ("mixed", 3), ("mixed", 5)]


def test_a_sweep_starts_it_before_its_cells_are_composed():
    preflight = Preflight()
    compose_cells(SWEEP, on_first=preflight.start)
    assert len(FakeChild.started) == 1


@pytest.mark.parametrize("task", ["plan", "report", "evaluate"])
def test_other_tasks_do_without(task):
    preflight, _ = sent(f"task={task}")
    preflight.check(PENDING)
    assert FakeChild.started == []


def test_train_arguments_are_checked_for_each_value():
    sent("-m", "train.extra.mosaic=0,2")
    assert len(FakeChild.requests[0]["networks"]) == 2


def test_a_fault_names_the_cells_that_have_it(monkeypatch):
    preflight, _ = sent(*SWEEP)
    faults = {"a=1: must be 2": [2], "b=1: must be 3": [0, 1, 2]}
    monkeypatch.setattr(FakeChild, "reply", Answer(0, value={"faults": faults, "names": []}))
    with pytest.raises(ConfigError) as caught:
        preflight.check(PENDING)
    assert caught.value.lines == ["arm=mixed block.kernel_att=5 a=1: must be 2", "b=1: must be 3"]


def test_a_dead_child_is_no_fault_of_the_config(monkeypatch):
    preflight, _ = sent("arm=mixed")
    monkeypatch.setattr(FakeChild, "reply", Answer(-9, error="was killed by SIGKILL (out of memory?)"))
    with pytest.raises(ChildError, match="the preflight failed: was killed by SIGKILL"):
        preflight.check(PENDING)


def test_nothing_is_waited_for_if_every_run_is_done(monkeypatch):
    monkeypatch.setattr(FakeChild, "reply", None)
    sent("arm=mixed")[0].check(DONE)
    with pytest.raises(AssertionError):
        sent("task=profile")[0].check(DONE)


def test_the_first_runs_process_is_started_meanwhile_on_a_cpu():
    preflight, _ = sent("arm=mixed", "hardware=cpu")
    assert SPARES == ["train"]
    preflight.check(PENDING)
    assert SPARES == ["train"], "its run takes it"
    preflight.__exit__()
    assert SPARES == []


def test_no_process_waits_if_no_run_is_left_or_nothing_is_trained():
    preflight, _ = sent("arm=mixed", "hardware=cpu")
    preflight.check(DONE)
    assert SPARES == []
    sent("arm=mixed", "hardware=cpu", "task=profile")
    assert SPARES == []
