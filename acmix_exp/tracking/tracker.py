"""One W&B run. Nothing that goes wrong in here reaches the job that it tells of."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from acmix_exp.config import Config, arm_label
from acmix_exp.errors import one_line
from acmix_exp.files import write_text
from acmix_exp.tracking.settings import TABLE_SECONDS, available, choose_mode, environment, settings
from acmix_exp.tracking.summary import per_class, summarize, table


def within(seconds: float, action: Callable[[], object]) -> None:
    """Run ``action``; raise what it raises, or TimeoutError after ``seconds``.

    For calls of wandb that ask the server and wait, such as storing a table online (20 s on a dead
    connection). What has run out of time is left behind in a daemon thread.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="wandb-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the server did not answer within {seconds:g} s")
    if failure:
        raise failure[0]


ID = re.compile(r"[a-z0-9]{12}")


def run_id(run_dir: Path, *, resumed: bool) -> str:
    """The id stored under ``run_dir``/wandb where a run is resumed and has one; else a new one, stored there.

    Random, not derived from the directory's name: the same baseline of two experiments is two W&B runs, a run
    that starts anew must not append to the rows of a failed attempt, and W&B never gives out a deleted id again.
    """
    path = run_dir / "wandb" / "run_id"
    if resumed and path.is_file():
        stored = path.read_text(encoding="ascii", errors="replace").strip()
        if ID.fullmatch(stored):
            return stored
    fresh = secrets.token_hex(6)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, fresh + "\n")
    return fresh


logger = logging.getLogger(__name__)


class Tracker:
    """The W&B run of a directory. Made by ``start`` for a training job, in whose process it runs, or by ``open``.

    mode: what became of ``logger.mode``: online | offline | disabled. warnings: what the user should hear,
    one line each; they are logged as well. url: the run's page, or None.
    """

    def __init__(self, mode: str = "disabled") -> None:
        self.mode = mode
        self.warnings: list[str] = []
        self._run: Any = None
        self._warned = False
        self.folder: Path | None = None
        self._unharmed = "training goes on"

    @classmethod
    def start(cls, config: Config, run_dir: Path, *, resumed: bool, resolved: Mapping[str, Any]) -> Tracker:
        """Begin the job's W&B run, or with ``resumed`` go on with the one this directory has. Never raises.

        ``resolved`` is the whole config as plain containers. The WANDB_* variables of ``environment`` are set
        in this process, because wandb-core inherits them. Online, a resume continues the rows on the server;
        offline it writes a second segment (another offline-run folder) with the same id, whose rows go on
        from the next epoch.
        """

        def arguments(identity: str) -> dict[str, Any]:
            return _arguments(config, run_dir, identity, resolved)

        tracker = cls.open(config.logger.mode, run_dir, arguments, resumed=resumed)
        tracker._guarded("start", _step_by_epoch)
        return tracker

    @classmethod
    def open(
        cls,
        mode: str,
        run_dir: Path,
        arguments: Callable[[str], dict[str, Any]],
        *,
        resumed: bool,
        unharmed: str = "training goes on",
        finish_seconds: float | None = None,
    ) -> Tracker:
        """Begin a W&B run whose files are in ``run_dir``/wandb, or go on with the one it has. Never raises.

        ``arguments`` are those of ``wandb.init``, made from the run's id; ``unharmed`` says in a warning what does
        not suffer.
        """
        tracker = cls()
        tracker._unharmed = unharmed
        try:
            chosen = available(choose_mode(mode, os.environ))
            tracker.mode = chosen.mode
            if chosen.warning:
                tracker._warn(chosen.warning)
            if chosen.mode != "disabled":
                os.environ.pop("WANDB_SERVICE", None)  # a service of somebody else would outlive this process
                os.environ.update(environment(run_dir))
                identity = run_id(run_dir, resumed=resumed)
                tracker._begin(arguments(identity), run_dir, finish_seconds)
        except Exception as error:
            tracker._lose("start", error)
        return tracker

    @property
    def url(self) -> str | None:
        return getattr(self._run, "url", None)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log one row of the history under its own keys; ``row["epoch"]`` (from 1) is the step as well."""
        # wandb drops a step it has already: an epoch that a resume repeats keeps its first row
        self._guarded("epoch", lambda run: run.log(dict(row), step=int(row["epoch"]), commit=True))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the summary of a finished job (the content of result.json) and end the run."""
        self._guarded("finish", lambda run: run.summary.update(summarize(result)))
        if classes := per_class(result):
            self._guarded("finish", lambda run: within(TABLE_SECONDS, lambda: _store(run, classes)))
        self._end(exit_code=0)

    def log(self, values: Callable[[], dict[str, Any]], seconds: float) -> None:
        """Log ``values()``, which may be media, as one row; given up after ``seconds``."""
        self._guarded("log", lambda run: within(seconds, lambda: run.log(values())))

    def end(self) -> None:
        self._end(exit_code=0)

    def fail(self, message: str) -> None:
        """End the run as failed, with ``message`` in its summary."""
        self._guarded("fail", lambda run: run.summary.update({"error": message}))
        self._end(exit_code=1)

    def _begin(self, arguments: dict[str, Any], run_dir: Path, finish_seconds: float | None) -> None:
        import wandb

        own = {} if finish_seconds is None else {"finish_timeout": finish_seconds}
        options = wandb.Settings(**{**settings(run_dir), **own})
        if self.mode == "online":
            before = _segments(run_dir)
            try:
                self._run = wandb.init(mode="online", settings=options, **arguments)
            except Exception as error:
                self._warn(f"W&B stays offline: {one_line(error, 300)}")
                self.mode = "offline"
                wandb.teardown()
                # the attempt that never began would be synced as a run of its own
                for empty in _segments(run_dir) - before:
                    shutil.rmtree(empty, ignore_errors=True)
        if self._run is None:
            self._run = wandb.init(mode="offline", settings=options, **arguments)
        self.folder = Path(self._run.settings.sync_dir)

    def _guarded(self, what: str, action: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._lose(what, error)

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            import wandb

            run.finish(exit_code=exit_code)
            wandb.teardown()
        except (Exception, SystemExit) as error:  # teardown exits where wandb-core ended badly
            self._lose("finish", error)

    def _lose(self, what: str, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            message = f"W&B failed at {what}, {self._unharmed}: {one_line(error, 300)}"
            if self.mode == "online" and self.folder:
                message += f"; to upload what is missing: wandb sync {self.folder}"
            self._warn(message)

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        logger.warning(message)


def _step_by_epoch(run: Any) -> None:
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")


def _store(run: Any, classes: Mapping[str, Mapping[str, Any]]) -> None:
    import wandb

    columns, rows = table(classes)
    run.summary["per_class"] = wandb.Table(columns=columns, data=rows)


def _arguments(config: Config, run_dir: Path, identity: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "project": config.logger.project,
        "entity": config.logger.entity,
        "group": config.name,
        "job_type": arm_label(config),
        "tags": list(config.tags),
        "name": run_dir.name,
        "id": identity,
        "resume": "allow",
        "config": dict(resolved),
        "reinit": "create_new",  # not wandb.run: integrations that look for it must not write into this run
    }


def _segments(run_dir: Path) -> set[Path]:
    return set((run_dir / "wandb").glob("run-*"))
