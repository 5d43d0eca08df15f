"""One W&B run. Errors in W&B logging never fail the training run."""

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
from acmix_exp.tracking.artifacts import log_code, log_weights
from acmix_exp.tracking.settings import (
    TABLE_SECONDS,
    UPLOAD_SECONDS,
    choose_mode,
    environment,
    settings,
    stored_project,
)
from acmix_exp.tracking.summary import per_class, summarize, table
from acmix_exp.tracking.variables import PROJECT

RUN_ID = re.compile(r"[a-z0-9]{12}")
logger = logging.getLogger(__name__)


def within(seconds: float, action: Callable[[], object]) -> None:
    """Run ``action``; raise what it raises, or TimeoutError after ``seconds``.

    For calls of wandb that block on the server without a timeout, such as storing a table online (20 s on a dead
    connection). A call that times out stays behind in a daemon thread.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="wandb-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the server did not answer within {seconds:g} s")
    if errors:
        raise errors[0]


def stored_run_id(run_dir: Path, *, resumed: bool) -> str:
    """The id stored in ``run_dir``/wandb if the run is resumed and has one; else a new id, which is stored there.

    Ids are random and not derived from the name of the directory: the same baseline in two experiments is two W&B runs,
    a run that restarts must not append to the rows of a failed attempt, and W&B never reuses a deleted id.
    """
    path = run_dir / "wandb" / "run_id"
    if resumed and path.is_file():
        stored = path.read_text(encoding="ascii", errors="replace").strip()
        if RUN_ID.fullmatch(stored):
            return stored
    new = secrets.token_hex(6)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, new + "\n")
    return new


class Tracker:
    """The W&B run of a directory. Created by ``start`` in the process of a training run, or by ``open``.

    mode: online | offline | disabled, as resolved from ``logger.mode``. warnings: messages for the user, one line each,
    which are logged too. url: page of the run, or None. folder: its files, or None.
    """

    def __init__(self, mode: str = "disabled") -> None:
        self.mode = mode
        self.warnings: list[str] = []
        self._run: Any = None
        self._warned = False
        self.folder: Path | None = None
        self._unaffected = "training continues"
        self._weights_of: Path | None = None  # the run directory whose weights are logged at the end

    @classmethod
    def start(cls, config: Config, run_dir: Path, *, resumed: bool, resolved: Mapping[str, Any]) -> Tracker:
        """Start the W&B run of a training run; with ``resumed`` resume the one of this directory. Never raises.

        ``resolved`` is the whole config as plain containers. Online, a resumed run appends to the rows on the server;
        offline it writes a second segment (another offline-run folder) with the same id, beginning at the next epoch.
        """

        def arguments(run_id: str) -> dict[str, Any]:
            return {
                "project": config.logger.project,
                "entity": config.logger.entity,
                "group": config.logger.group or config.name,
                "notes": config.logger.notes,
                "job_type": arm_label(config),
                "tags": list(config.tags),
                "name": run_dir.name,
                "id": run_id,
                "resume": "allow",
                "config": dict(resolved),
                "reinit": "create_new",  # does not set wandb.run, into which integrations would write
            }

        uploads = config.logger.code or config.logger.save_weights
        tracker = cls.open(
            config.logger.mode,
            run_dir,
            arguments,
            resumed=resumed,
            finish_seconds=UPLOAD_SECONDS if uploads else None,
            system_metrics=config.logger.system_metrics,
        )
        tracker._guarded("start", _step_by_epoch)
        if config.logger.code:
            tracker._guarded("code", lambda run: log_code(run, config))
        if config.logger.save_weights:
            tracker._weights_of = run_dir
        return tracker

    @classmethod
    def open(
        cls,
        mode: str,
        run_dir: Path,
        arguments: Callable[[str], dict[str, Any]],
        *,
        resumed: bool,
        unaffected: str = "training continues",
        finish_seconds: float | None = None,
        system_metrics: bool = False,
    ) -> Tracker:
        """Start or resume a W&B run whose files are in ``run_dir``/wandb. Never raises.

        ``arguments`` gives those of ``wandb.init`` for an id; ``unaffected`` says in a warning what is not affected.
        The variables of ``environment`` are set in this process, because wandb-core inherits them.
        """
        tracker = cls()
        tracker._unaffected = unaffected
        try:
            os.environ.pop("WANDB_SERVICE", None)  # a service of another process would outlive this one
            os.environ.update(environment(run_dir))
            chosen = choose_mode(mode, _taken_from_wandb())
            tracker.mode = chosen.mode
            if chosen.warning:
                tracker._warn(chosen.warning)
            if chosen.mode != "disabled":
                run_id = stored_run_id(run_dir, resumed=resumed)
                tracker._begin(arguments(run_id), run_dir, finish_seconds, system_metrics=system_metrics)
        except Exception as error:
            tracker._warn_once("start", error)
        return tracker

    @property
    def url(self) -> str | None:
        return getattr(self._run, "url", None)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Log one row of the history; ``row["epoch"]`` (from 1) is also the step."""
        # wandb drops a step that it already has: an epoch that a resumed run repeats keeps its first row.
        self._guarded("epoch", lambda run: run.log(dict(row), step=int(row["epoch"]), commit=True))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the summary of a finished run (the content of result.json) and end the W&B run."""
        self._guarded("finish", lambda run: run.summary.update(summarize(result)))
        if classes := per_class(result):
            self._guarded("finish", lambda run: within(TABLE_SECONDS, lambda: _store(run, classes)))
        if folder := self._weights_of:
            self._guarded("save_weights", lambda run: log_weights(run, folder, result["metrics"]))
        self.end()

    def log(self, values: Callable[[], dict[str, Any]], seconds: float) -> None:
        """Log ``values()``, which may contain media, as one row; gives up after ``seconds``."""
        self._guarded("log", lambda run: within(seconds, lambda: run.log(values())))

    def fail(self, message: str) -> None:
        """End the run as failed, with ``message`` in its summary."""
        self._guarded("fail", lambda run: run.summary.update({"error": message}))
        self.end(exit_code=1)

    def end(self, exit_code: int = 0) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        try:
            import wandb

            run.finish(exit_code=exit_code)
            wandb.teardown()
        except (Exception, SystemExit) as error:  # teardown exits if wandb-core failed
            self._warn_once("finish", error)

    def _begin(
        self, arguments: dict[str, Any], run_dir: Path, finish_seconds: float | None, *, system_metrics: bool
    ) -> None:
        import wandb

        timeout = {} if finish_seconds is None else {"finish_timeout": finish_seconds}
        options = wandb.Settings(**{**settings(run_dir, system_metrics=system_metrics), **timeout})
        arguments["project"] = arguments["project"] or stored_project()
        if self.mode == "online":
            before = _segments(run_dir)
            try:
                self._run = wandb.init(mode="online", settings=options, **arguments)
            except Exception as error:
                self._warn(f"W&B stays offline: {one_line(error, 300)}")
                self.mode = "offline"
                wandb.teardown()
                # `wandb sync` would upload the folder of the failed attempt as a separate run.
                for empty in _segments(run_dir) - before:
                    shutil.rmtree(empty, ignore_errors=True)
        if self._run is None:
            self._run = wandb.init(mode="offline", settings=options, **arguments)
        self.folder = Path(self._run.settings.sync_dir)

    def _guarded(self, step: str, action: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._warn_once(step, error)

    def _warn_once(self, step: str, error: BaseException) -> None:
        if not self._warned:
            self._warned = True
            message = f"W&B failed at {step}, {self._unaffected}: {one_line(error, 300)}"
            if self.mode == "online" and self.folder:
                message += f"; to upload the rest: wandb sync {self.folder}"
            self._warn(message)

    def _warn(self, message: str) -> None:
        self.warnings.append(message)
        logger.warning(message)


def _taken_from_wandb() -> dict[str, str]:
    """A copy of the variables, of which wandb then sees no more what it cannot read.

    It fails on a WANDB_MODE that it does not know, on an empty tag, a project or an id that it refuses and a key with
    spaces around it, also where it gets the mode, the tags, the project and the id by argument.
    """
    before = dict(os.environ)
    for name in ("WANDB_MODE", "WANDB_TAGS", "WANDB_RUN_ID"):
        os.environ.pop(name, None)
    if not PROJECT.fullmatch(os.environ.get("WANDB_PROJECT", "")):
        os.environ.pop("WANDB_PROJECT", None)
    if key := os.environ.pop("WANDB_API_KEY", "").strip():
        os.environ["WANDB_API_KEY"] = key
    return before


def _step_by_epoch(run: Any) -> None:
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")


def _store(run: Any, classes: Mapping[str, Mapping[str, Any]]) -> None:
    import wandb

    columns, rows = table(classes)
    run.summary["per_class"] = wandb.Table(columns=columns, data=rows)


def _segments(run_dir: Path) -> set[Path]:
    return set((run_dir / "wandb").glob("run-*"))
