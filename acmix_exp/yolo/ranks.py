"""One run that is trained by several processes, its ranks: on several GPUs, or with gloo on a CPU.

The child that trains a run starts them itself, one child each, waits for them, and evaluates alone. ultralytics' own
launcher would delete the run directory first. ``rank_process.py`` is the ranks' side.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from acmix_exp.child import Answer, Child, describe_exit, unpickling
from acmix_exp.config import Config
from acmix_exp.errors import STOPS, ChangedError, CheckpointError, ChildError, ConfigError, NonFiniteLoss, StorageError
from acmix_exp.yolo.arguments import rank_count

HOST = "127.0.0.1"
POLL_SECONDS = 0.1
REASON_SECONDS = 1.0  # for the other ranks to end by themselves, and say why, once one has ended badly
KINDS = {kind.__name__: kind for kind in (ConfigError, CheckpointError, NonFiniteLoss, StorageError, ChangedError)}


def train(
    config: Config,
    run_dir: Path,
    *,
    device: str | int,
    resume: bool,
    on_epoch: Callable[[dict[str, float]], None],
    conditions: Mapping[str, str],
) -> None:
    """Train the run of ``run_dir`` to its last epoch; arguments as of ``run.train``.

    Its results are in the folder ``weights``. If a rank ends badly, all are ended, and its error is raised as one of
    the same class whose message begins with ``rank N:``. If it was told to end, so is this process.
    """
    count, reports = rank_count(config.hardware), _Reports(on_epoch)
    request = {"resume": resume, "conditions": dict(conditions)}
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_rendezvous())
        ranks = []
        for rank in range(count):
            child = Child(
                "train_rank",
                run_dir,
                threads=config.hardware.threads,
                gpu=None if device == "cpu" else range(count),
                variables={**_variables(rank, count, port), **unpickling(config.allow_unsafe_checkpoint)},
                on_step=partial(reports.put, rank),
                own_group=False,
            )
            ranks.append(stack.enter_context(child))
        stack.callback(_terminate, ranks)
        for child in ranks:
            child.send(request, log=run_dir / "train.log", append=True)
        while None in (codes := _codes(ranks)) and not any(codes):
            reports.handle(POLL_SECONDS)
        ended_badly = _ended_badly(ranks)
        _terminate(ranks)
        answers = [child.answer() for child in ranks]
        reports.handle()
    if ended_badly:
        # The others lose their connection to the first, and fail too. One that was killed could not say when.
        first = min(ended_badly, key=lambda rank: (reports.failed_at.get(rank, 0.0), rank))
        _fail(first, answers[first])


class _Reports:
    """What the ranks report: queued by threads, and acted on in the main thread, where an error ends the training."""

    def __init__(self, on_epoch: Callable[[dict[str, float]], None]) -> None:
        self.failed_at: dict[int, float] = {}
        self._on_epoch = on_epoch
        self._queue: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()

    def put(self, rank: int, text: str) -> None:
        self._queue.put((rank, json.loads(text)))

    def handle(self, seconds: float = 0.0) -> None:
        """Act on those that are there; wait up to ``seconds`` for the first."""
        with contextlib.suppress(queue.Empty):
            while True:
                rank, message = self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
                seconds = 0.0
                if "row" in message:
                    self._on_epoch(message["row"])
                else:
                    self.failed_at[rank] = message["failed_at"]


def _codes(ranks: Sequence[Child]) -> list[int | None]:
    """Their exit codes, None for those at work."""
    return [child.code if child.ended(0) else None for child in ranks]


def _ended_badly(ranks: Sequence[Child]) -> list[int]:
    """The ranks that ended badly by themselves; if there is one, the others have a moment to say why they end."""
    if any(_codes(ranks)):
        deadline = time.monotonic() + REASON_SECONDS
        while None in _codes(ranks) and time.monotonic() < deadline:
            time.sleep(0.02)
    return [rank for rank, code in enumerate(_codes(ranks)) if code]


def _variables(rank: int, count: int, port: int) -> dict[str, str]:
    """What ultralytics and torch read when they are imported, as torchrun sets it."""
    local = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ else {}
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": HOST,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store at that address is there already
        **local,
    }


@contextlib.contextmanager
def _rendezvous() -> Iterator[int]:
    """Serve the store through which the ranks find each other, on this machine's loopback alone; yields its port."""
    from torch import distributed

    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
    yield port
    del store


def _terminate(ranks: Sequence[Child]) -> None:
    """Tell all to end at once, so that none waits for another's grace period."""
    for child in ranks:
        if not child.ended(0):
            with contextlib.suppress(ProcessLookupError):
                child.signal(signal.SIGTERM)


def _fail(rank: int, answer: Answer) -> None:
    if -answer.code in STOPS:
        signal.raise_signal(-answer.code)  # as for a run without ranks, the process that trains it ends by the signal
        time.sleep(REASON_SECONDS)
    if not answer.kind:
        how = describe_exit(answer.code) if answer.code < 0 else answer.error
        raise ChildError(f"rank {rank} {how}; see train.log")
    message = str(answer.error).removeprefix(f"{answer.kind}: ").removeprefix("changed: ")
    raise KINDS.get(answer.kind, type(answer.kind, (RuntimeError,), {}))(f"rank {rank}: {message}")
