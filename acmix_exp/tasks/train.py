"""One command from its first job to its exit code: live view, summary, and true statuses whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from acmix_exp import child
from acmix_exp.config import load
from acmix_exp.console import console
from acmix_exp.errors import one_line
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import Command, supervise
from acmix_exp.sweep.hydra_callback import JOBS_VARIABLE, PlanCallback
from acmix_exp.sweep.live_view import View
from acmix_exp.sweep.planning import Plan


@dataclass
class Session:
    """How the command stands; ``code`` is its exit code."""

    code: int = 0


def run_cell() -> None:
    """Supervise the run of the Hydra job that calls this, then write the summary with it in."""
    from acmix_exp.report.write import write_summary

    hydra = HydraConfig.get()
    number = 0 if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num  # a single run has no number
    jobs = json.loads(Path(os.environ[JOBS_VARIABLE]).read_text(encoding="utf-8"))
    run, command = Run(Path(jobs["runs"][number])), Command(jobs["owner"], jobs["began"])
    if os.getpid() != command.owner:
        child.die_with_parent(command.owner)
    supervise(run, command)
    write_summary(run.path.parent, load(run.path / "config.yaml").report.reference)


@contextlib.contextmanager
def session() -> Iterator[Session]:
    """Everything around Hydra's launch. Leaves no process and no status ``running`` of ours behind."""
    current = Session()
    view: list[View] = []
    PlanCallback.planned = lambda plan, runs_at_once: view.append(View(plan, runs_at_once).start())
    try:
        yield current
        if current.code == 0 and PlanCallback.plan is not None:
            _share(PlanCallback.plan)
            current.code = int(not all(run.is_done() for run in PlanCallback.plan.runs))
    except KeyboardInterrupt:
        current.code = 130
    except SystemExit as end:
        current.code = end.code if isinstance(end.code, int) else 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for watching in view:
            watching.stop()
        if PlanCallback.plan is not None:
            _close(PlanCallback.plan, current.code)


def _share(plan: Plan) -> None:
    """Wait for the runs that another process holds, and take over what it left unfinished."""
    for run in plan.runs:
        if run.state() not in ("done", "failed"):
            supervise(run, Command(os.getpid(), time.time()), wait=True)


def _close(plan: Plan, code: int) -> None:
    from acmix_exp.report.terminal import terminal
    from acmix_exp.report.write import write_summary

    for left in (Path(os.environ.pop(JOBS_VARIABLE, "")), plan.folder / "multirun.yaml"):
        if left.is_file():
            left.unlink()
    for run in plan.runs:
        status = run.status() or {}
        if status.get("status") == "running" and status.get("owner") == os.getpid():
            if status.get("pid"):
                child.end_group(status["pid"])
            with run.lock() as mine:
                if mine and (run.status() or {}).get("status") == "running":
                    run.set_status(status="interrupted", pid=None)
    tables = write_summary(plan.folder, plan.cells[0].config.report.reference)
    out = console()
    out.print(terminal(tables, out.width))
    failed = [run for run in plan.runs if (run.status() or {}).get("status") == "failed"]
    for run in failed:
        print(
            f"acmix_exp: {run.name} failed: {(run.status() or {}).get('error')}; see {run.log}",
            file=sys.stderr,
        )
    if code in (130, 143):
        print("acmix_exp: stopped; the same command goes on from here", file=sys.stderr)
    out.print(
        f"written to {plan.folder}/summary.md, .csv, .json and .tex", soft_wrap=True, highlight=False, markup=False
    )
    if code in (0, 1) and plan.cells[0].config.report.auto:
        _report(plan)


def _report(plan: Plan) -> None:
    """The whole report, unless it stands already. It may be stopped, and whatever happens the exit code stays."""
    from acmix_exp.report.build import build, is_current
    from acmix_exp.report.wandb_report import publish
    from acmix_exp.tasks.report import say

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    again = f"task=report name={plan.name} runs_dir={plan.folder.parent}"
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if not is_current(plan.folder) and any(run.is_done() for run in plan.runs):
            config = plan.cells[0].config
            made = build(plan.folder, config.report.reference)
            say(made, plan.folder)
            for line in publish(plan.folder, made, config.logger):
                console().print(line, soft_wrap=True, highlight=False, markup=False)
    except KeyboardInterrupt:
        print(f"acmix_exp: the report was stopped; {again} makes it", file=sys.stderr)
    except Exception as error:
        print(f"acmix_exp: the report could not be made ({one_line(error)}); {again} tries again", file=sys.stderr)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
