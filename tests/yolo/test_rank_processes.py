"""How a run's ranks are started, heard and ended; the ranks are a few lines of Python in place of trainings."""

from __future__ import annotations

import signal
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from ultralytics.engine import trainer as ultralytics_trainer

from acmix_exp import child
from acmix_exp.data import Dataset
from acmix_exp.errors import ChangedError, CheckpointError, ChildError, ConfigError, NonFiniteLoss, StorageError
from acmix_exp.yolo import ranks
from acmix_exp.yolo.epoch_record import joint_proof
from acmix_exp.yolo.trainer import BlockTrainer
from tests.yolo.builders import make_config

HEAD = """
import json, os, signal, sys, time
from acmix_exp.worker import serve
from acmix_exp.errors import *
RANK = int(os.environ["RANK"])
def fail(error):
    job.step(json.dumps({"failed_at": time.monotonic()}))
    raise error
def work(given):
    global job
    job = given
    (job.folder / f"pid{RANK}").write_text(str(os.getpid()))
"""
TAIL = """
sys.exit(serve(lambda: work))
"""
WAIT = "time.sleep(60)"


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[dict[str, float]]]:
    """``train(code, ranks=2)``: the rows that were heard; ``code`` is what each rank does."""

    def put(code: str, count: int = 2, **options: Any) -> list[dict[str, float]]:
        code = HEAD + textwrap.indent(textwrap.dedent(code).strip(), "    ") + TAIL
        monkeypatch.setattr(child, "command", lambda task, folder: [sys.executable, "-c", code, task, str(folder)])
        rows: list[dict[str, float]] = []
        given = {"device": "cpu", "resume": False, "on_epoch": rows.append, "conditions": {}, **options}
        try:
            ranks.train(make_config(hardware__gpus_per_run=count), tmp_path, **given)
        finally:
            texts = [path.read_text() for path in tmp_path.glob("pid*")]  # empty: killed while it was written
            assert not any(psutil.pid_exists(int(text)) for text in texts if text)
        return rows

    return put


def test_rows_of_rank_0_are_heard_in_order(train: Callable[..., Any]) -> None:
    rows = train(
        """
        if RANK == 0:
            for epoch in (1, 2, 3):
                job.step(json.dumps({"row": {"epoch": epoch, "loss": float("nan") if epoch == 2 else 0.1}}))
        """
    )
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[1]["loss"] != rows[1]["loss"]


def test_what_a_rank_is_given(train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "7")
    train(
        """
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "CUDA_VISIBLE_DEVICES")
        in_group = os.getpgid(0) == os.getpgid(os.getppid())
        facts = [*(os.environ[name] for name in names), job.request, job.device, in_group]
        (job.folder / f"facts{RANK}").write_text(json.dumps(facts))
        """,
        resume=True,
        conditions={"torch": "2"},
    )
    request = '{"resume": true, "conditions": {"torch": "2"}}'
    for rank in "01":
        expected = f'["{rank}", "{rank}", "2", "127.0.0.1", "-1", {request}, "cpu", true]'
        assert (tmp_path / f"facts{rank}").read_text() == expected


@pytest.mark.slow
def test_ranks_meet_on_the_loopback_only(train: Callable[..., Any], tmp_path: Path) -> None:
    train(
        """
        from torch import distributed
        distributed.init_process_group("gloo", rank=RANK, world_size=2)
        everyone = [None, None]
        distributed.all_gather_object(everyone, RANK)
        (job.folder / "everyone").write_text(str(everyone))
        import psutil
        sockets = [c for pid in (os.getpid(), os.getppid()) for c in psutil.Process(pid).net_connections("tcp")]
        (job.folder / "addresses").write_text(str({c.laddr.ip.removeprefix("::ffff:") for c in sockets}))
        distributed.barrier()
        """
    )
    assert (tmp_path / "everyone").read_text() == "[0, 1]"
    assert (tmp_path / "addresses").read_text() == "{'127.0.0.1'}"


@pytest.mark.parametrize(
    ("raised", "kind", "says"),
    [
        ("NonFiniteLoss('loss is not finite')", NonFiniteLoss, "rank 1: loss is not finite"),
        ("ConfigError('a=1: must be 2')", ConfigError, "rank 1: a=1: must be 2"),
        pytest.param(
            "CheckpointError('last.pt: cut')", CheckpointError, "rank 1: last.pt: cut", marks=pytest.mark.slow
        ),
        pytest.param("ChangedError('data')", ChangedError, "rank 1: data", marks=pytest.mark.slow),
        ("OSError(28, 'No space left on device', 'x')", StorageError, "rank 1: No space left on device: x"),
        ("type('OutOfMemoryError', (RuntimeError,), {})('CUDA')", RuntimeError, "rank 1: CUDA"),
    ],
)
def test_a_rank_that_raises_alone_ends_all_with_its_reason(
    train: Callable[..., Any], raised: str, kind: type[Exception], says: str
) -> None:
    began = time.monotonic()
    with pytest.raises(kind) as error:
        train(f"fail({raised}) if RANK == 1 else {WAIT}")
    assert str(error.value) == says
    assert type(error.value).__name__ in raised or kind is StorageError
    assert time.monotonic() - began < 30


def test_the_first_to_fail_is_the_reason(train: Callable[..., Any]) -> None:
    """The others fail when they lose their connection to it, and may end before it."""
    with pytest.raises(RuntimeError, match="rank 2: the cause"):
        train(
            """
            if RANK == 2:
                job.step(json.dumps({"failed_at": time.monotonic()}))
                (job.folder / "failed").touch()
                time.sleep(0.5)
                raise RuntimeError("the cause")
            while not (job.folder / "failed").exists():
                time.sleep(0.01)
            fail(RuntimeError("Connection closed by peer"))
            """,
            count=3,
        )


def test_a_killed_rank_is_the_reason(train: Callable[..., Any]) -> None:
    with pytest.raises(ChildError, match=r"^rank 1 was killed by SIGKILL \(out of memory\?\); see train.log$"):
        train(
            """
            if RANK == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            while not (job.folder / "pid1").exists() or os.path.exists("/proc/" + (job.folder / "pid1").read_text()):
                time.sleep(0.01)
            """
            + WAIT
        )


def test_a_rank_that_exits_without_a_word(train: Callable[..., Any]) -> None:
    with pytest.raises(ChildError, match=r"^rank 0 exited with 3; see train.log$"):
        train(f"os._exit(3) if RANK == 0 else {WAIT}")


def test_a_rank_that_is_told_to_end_ends_this_process_alike(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def end(number: int) -> None:
        assert number == signal.SIGTERM
        raise Killed

    monkeypatch.setattr(ranks.signal, "raise_signal", end)
    with pytest.raises(Killed):
        train(f"signal.raise_signal(signal.SIGTERM) if RANK == 1 else {WAIT}")


def test_an_error_while_an_epoch_is_recorded_ends_all(train: Callable[..., Any]) -> None:
    def on_epoch(row: dict[str, float]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        train(f'job.step(json.dumps({{"row": {{"epoch": 1}}}}))\n{WAIT}', on_epoch=on_epoch)


def test_proofs_of_ranks_are_joined_in_order() -> None:
    assert joint_proof(["a", "b"]) != joint_proof(["b", "a"])
    assert len(joint_proof(["a", "b"])) == 64


def test_the_launcher_of_ultralytics_is_never_reached(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would delete the run directory."""

    def launch(*args: Any) -> None:
        raise AssertionError("reached")

    monkeypatch.setattr(ultralytics_trainer, "generate_ddp_command", launch)
    trainer = BlockTrainer(make_config(), dataset, tmp_path, "cpu", lambda row: None)
    (tmp_path / "status.json").write_text("{}")
    trainer.ddp = True  # as ultralytics decides for device=0,1 where RANK is not set
    with pytest.raises(RuntimeError, match=r"device=cpu: several GPUs need a process each"):
        trainer.train()
    assert (tmp_path / "status.json").exists()
