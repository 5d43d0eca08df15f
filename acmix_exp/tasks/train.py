"""``task=train``: train the unfinished runs of a plan, show them, and write the tables and the report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acmix_exp import executors, installed
from acmix_exp.console import console, print_line
from acmix_exp.errors import STOPS, ConfigError, one_line, storage_fault
from acmix_exp.run.lock_reach import without_reach
from acmix_exp.sweep.live_view import View
from acmix_exp.sweep.planning import Plan, prepare
from acmix_exp.sweep.progress import Survey
from acmix_exp.tasks.looks import Course, is_auto
from acmix_exp.tracking import remarks

SUMMARY_SECONDS = 20.0  # shortest time between two summaries while runs finish
SUMMARY_SHARE = 0.05  # of the time that summaries may take then
ENDED = ("done", "failed")
Handlers = Mapping[signal.Signals, Any]


@dataclass(frozen=True)
class Outcome:
    """How the training of a part of a plan ended.

    fault: of the machine. apart: what goes on without this process, and how it is reached.
    """

    code: int
    fault: OSError | None = None
    apart: str | None = None

    @classmethod
    def of(cls, stop: BaseException) -> Outcome:
        """That of a training, or of what is around it, that ``stop`` ended."""
        if isinstance(stop, OSError):
            return cls(1, stop)
        if isinstance(stop, KeyboardInterrupt):
            return cls(130)
        return cls(stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 1)


def train(plan: Plan) -> int:
    """Train the runs that are not done and write the summary; returns the exit code. With seeds=auto look by look.

    Whatever happens, no child process and no living status ``running`` of this command remains. Ctrl-C gives 130,
    another signal the code that its handler raises, and a fault of the machine, such as a full disk, 1.
    """
    for remark in remarks(plan.cells[0].config.logger.mode):
        print(f"acmix_exp: {remark}", file=sys.stderr)
    if why := without_reach(plan.folder):
        print(f"acmix_exp: {plan.folder} is on {why}; each run is claimed by a file in its folder", file=sys.stderr)
    for name, file in installed.startup_files().items():
        print(f"acmix_exp: {name}: {file} runs in every process; provenance.json has its hash", file=sys.stderr)
    handlers = {number: signal.getsignal(number) for number in STOPS}
    course = Course(plan) if is_auto(plan) else None
    part = course.first() if course else plan
    outcome, last = _train(part), False
    while course and not last and _is_complete(part, outcome):
        part, outcome, last = _next_look(course, part, outcome, handlers)
    code, fault = outcome.code, outcome.fault
    if outcome.apart:
        print(f"acmix_exp: {outcome.apart}", file=sys.stderr)
        if code == 0:
            return 0
    later = _conclude(part, code, handlers, hint=not outcome.apart and fault is None)
    fault = fault or later
    if fault is not None and code in (0, 1):
        raise fault  # cli.py says it in one line
    return code


def _train(plan: Plan) -> Outcome:
    """Prepare, start and await the runs of a plan. Signals are ignored when it returns.

    Raises what happens before the first run is started.
    """
    new = [path for path in (plan.folder, *(run.path for run in plan.runs)) if not path.exists()]
    hardware = plan.cells[0].config.hardware
    executor = executors.create(plan.runs, hardware)
    try:
        prepare(plan)
    except BaseException:
        executor.interrupt()  # it may have started a cluster
        raise
    view = View(plan, executor.at_once, executor.notes)
    outcome, apart = Outcome(1), None
    try:
        view.start()
        _start(executor, new)
        if hardware.executor != "slurm" or hardware.slurm.wait:
            _wait(executor, plan)
        outcome = Outcome(0)
    except (KeyboardInterrupt, SystemExit, OSError) as stop:
        outcome = Outcome.of(stop)
    finally:
        _ignore_signals()
        apart = executor.interrupt()
        view.stop()
    if outcome.code == 0 and not apart:  # else the jobs are submitted, which is all that was asked for
        outcome = Outcome(int(not all(run.is_done() for run in plan.runs)))
    return replace(outcome, apart=apart)


def _is_complete(part: Plan, outcome: Outcome) -> bool:
    """Whether a look can be taken at the runs: all have ended, if only because they diverged."""
    stopped = outcome.code > 1 or outcome.fault or outcome.apart
    return not stopped and all(run.is_final() for run in part.runs)


def _next_look(course: Course, part: Plan, outcome: Outcome, handlers: Handlers) -> tuple[Plan, Outcome, bool]:
    """Take a look at the complete runs ``part`` and train those of the next one; the last value: there is no next one.

    Nothing is raised, because there are tables to be shown.
    """
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        later = course.after(part)
        return (part, outcome, True) if later is None else (later, _train(later), False)
    except ConfigError as error:  # of a cluster that takes no more runs
        print(f"acmix_exp: {error}", file=sys.stderr)
        return part, Outcome(1), True
    except (KeyboardInterrupt, SystemExit, OSError) as stop:
        return part, Outcome.of(stop), True
    finally:
        _ignore_signals()


def _ignore_signals() -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _start(executor: executors.Executor, new: Iterable[Path]) -> None:
    """Start the runs; if the engine takes none of them, the folders that were made for them are removed."""
    try:
        executor.start()
    except ConfigError:
        for path in new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _wait(executor: executors.Executor, plan: Plan) -> None:
    from acmix_exp.report.planned import Asked
    from acmix_exp.report.write import write_summary

    survey, summarised, pause = Survey(plan), 0, SUMMARY_SECONDS
    while not executor.wait(pause):
        began = time.perf_counter()
        ended = sum(row.status in ENDED for row in survey.rows(whole=True))
        if ended > summarised:
            with contextlib.suppress(OSError):  # the summary at the end reports it
                write_summary(plan.folder, Asked.of(plan.cells[0].config.report))
            summarised = ended
        pause = max(SUMMARY_SECONDS, (time.perf_counter() - began) / SUMMARY_SHARE)


def _conclude(plan: Plan, code: int, handlers: Handlers, *, hint: bool) -> OSError | None:
    """Print and write the tables and the report; returns the fault of the machine that kept them from being written.

    handlers: of signals, which are ignored here except while the report is made. hint: say how interrupted runs go on.
    """
    from acmix_exp.report.language import speaking
    from acmix_exp.report.planned import Asked
    from acmix_exp.report.table import make_tables
    from acmix_exp.report.terminal import terminal
    from acmix_exp.report.write import write_summary

    asked, fault = Asked.of(plan.cells[0].config.report), None
    out = console()
    with speaking(asked.language):
        try:
            tables = write_summary(plan.folder, asked)
        except OSError as error:
            tables, fault = make_tables(plan.folder, asked), error
        out.print(terminal(tables, out.width))
    for run in plan.runs:
        if run.state() == "failed":
            why = run.broken() or (run.status() or {}).get("error")
            again = "; it is not trained again unless its folder is deleted" if run.has_diverged() else ""
            print(f"acmix_exp: {run.name} failed: {why}; see {run.log}{again}", file=sys.stderr)
    if hint and (code > 1 or any(run.state() == "interrupted" for run in plan.runs)):
        print("acmix_exp: interrupted; rerun the same command to resume", file=sys.stderr)
    if fault is None:
        print_line(f"written to {plan.folder}/summary.md, .csv, .json and table.tex")
        if code in (0, 1) and plan.cells[0].config.report.auto:
            _report(plan, handlers)
    return fault


def _report(plan: Plan, handlers: Handlers) -> None:
    """Write the report unless it is up to date. Ctrl-C stops it; neither that nor an error changes the exit code.

    Raises OSError if the disk is full or the like.
    """
    from acmix_exp.report.build import build, is_current
    from acmix_exp.report.planned import Asked
    from acmix_exp.report.wandb_report import publish
    from acmix_exp.tasks.report import say

    command = shlex.join(["task=report", f"name={plan.name}", f"runs_dir={plan.folder.parent}"])
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if not is_current(plan.folder) and any(run.is_done() for run in plan.runs):
            config = plan.cells[0].config
            report = build(plan.folder, Asked.of(config.report))
            say(report, plan.folder, config.report.language)
            for line in publish(plan.folder, report, config.logger):
                print_line(line)
    except (KeyboardInterrupt, SystemExit):
        print(f"acmix_exp: the report was interrupted; {command} writes it", file=sys.stderr)
    except Exception as error:
        if storage_fault(error):
            raise
        print(f"acmix_exp: the report could not be written ({one_line(error)}); try {command}", file=sys.stderr)
    finally:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)
