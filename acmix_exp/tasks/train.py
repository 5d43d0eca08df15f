"""``task=train``: train the unfinished runs of a plan, show them, and write the tables and the report."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from acmix_exp import executors, installed
from acmix_exp.console import console, print_line
from acmix_exp.errors import STOPS, ConfigError, one_line, storage_fault
from acmix_exp.run.lock_reach import without_reach
from acmix_exp.sweep.live_view import View
from acmix_exp.sweep.planning import Plan, prepare
from acmix_exp.sweep.progress import Survey
from acmix_exp.tracking import remarks

SUMMARY_SECONDS = 20.0  # shortest time between two summaries while runs finish
SUMMARY_SHARE = 0.05  # of the time that summaries may take then
ENDED = ("done", "failed")
Handlers = Mapping[signal.Signals, Any]


def train(plan: Plan) -> int:
    """Train the runs that are not done and write the summary; returns the exit code.

    Whatever happens, no child process and no living status ``running`` of this command remains. Ctrl-C gives 130,
    another signal the code that its handler raises, and a fault of the machine, such as a full disk, 1.
    """
    new = [path for path in (plan.folder, *(run.path for run in plan.runs)) if not path.exists()]
    for remark in remarks(plan.cells[0].config.logger.mode):
        print(f"acmix_exp: {remark}", file=sys.stderr)
    if why := without_reach(plan.folder):
        print(f"acmix_exp: {plan.folder} is on {why}; each run is claimed by a file in its folder", file=sys.stderr)
    handlers = {number: signal.getsignal(number) for number in STOPS}
    hardware = plan.cells[0].config.hardware
    executor = executors.create(plan.runs, hardware)
    try:
        prepare(plan)
    except BaseException:
        executor.interrupt()  # it may have started a cluster
        raise
    for name, file in installed.startup_files().items():
        print(f"acmix_exp: {name}: {file} runs in every process; provenance.json has its hash", file=sys.stderr)
    view = View(plan, executor.at_once, executor.notes)
    code, fault, apart = 1, None, None
    try:
        view.start()
        _start(executor, new)
        if hardware.executor != "slurm" or hardware.slurm.wait:
            _wait(executor, plan)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except OSError as error:
        fault = error
    finally:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        apart = executor.interrupt()
        view.stop()
    if apart:
        print(f"acmix_exp: {apart}", file=sys.stderr)
        if code == 0:  # the jobs are submitted, which is all that was asked for
            return 0
    if code == 0:
        code = int(not all(run.is_done() for run in plan.runs))
    later = _conclude(plan, code, handlers, hint=not apart and fault is None)
    fault = fault or later
    if fault is not None and code in (0, 1):
        raise fault  # cli.py says it in one line
    return code


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
    from acmix_exp.report.planned import Asked
    from acmix_exp.report.table import make_tables
    from acmix_exp.report.terminal import terminal
    from acmix_exp.report.write import write_summary

    asked, fault = Asked.of(plan.cells[0].config.report), None
    try:
        tables = write_summary(plan.folder, asked)
    except OSError as error:
        tables, fault = make_tables(plan.folder, asked), error
    out = console()
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
            say(report, plan.folder)
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
