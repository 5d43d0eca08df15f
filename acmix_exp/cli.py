"""The command line: arguments, help and exit codes. ``task=X`` calls ``acmix_exp/tasks/X.py``."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import acmix_exp
from acmix_exp.errors import STOPS

if TYPE_CHECKING:
    from acmix_exp.sweep.compose import Composed
    from acmix_exp.sweep.planning import Plan
    from acmix_exp.sweep.preflight_child import Preflight


def text() -> str:
    """The text of help.txt, with the groups and options of conf/."""
    from acmix_exp.config import GROUPS, options

    indent = max(map(len, GROUPS)) + 4
    lines = (f"  {group}".ljust(indent) + " ".join(options(group)) for group in GROUPS)
    groups = "\n".join(textwrap.fill(line, 108, subsequent_indent=" " * indent) for line in lines)
    return (Path(__file__).parent / "help.txt").read_text(encoding="utf-8").format(groups=groups)


# Hydra's flags that only show something.
SHOW_FLAGS = ("--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc")
SHOWN = {"--cfg": ("job", "hydra", "all")}
PLANNED = ("train", "plan", "profile")
ANYWHERE = ("report", "power")  # tasks that start no process
PRINTED_DATASETS = 5
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
PACKAGE = Path(__file__).resolve().parent


def main() -> int:
    """Run a command; returns the exit code: 0 done, 1 a run failed, 2 wrong config, 130 Ctrl-C, 143 SIGTERM."""
    arguments = sys.argv[1:]
    try:
        for number in STOPS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP, and ``&`` of a script SIGINT
                signal.signal(number, _stop)
        if {"--help", "-h"} & set(arguments):
            print(text(), end="")
            return DONE
        if "--version" in arguments:
            print(f"acmix_exp {acmix_exp.__version__}")
            return DONE
        return _run(arguments)
    except (KeyboardInterrupt, _Terminated) as stop:
        what = getattr(stop, "__notes__", ["nothing was started"])
        with suppress(OSError):  # of a terminal that is closed
            print(f"acmix_exp: stopped; {'; '.join(what)}", file=sys.stderr)
        return stop.code if isinstance(stop, _Terminated) else INTERRUPTED


class _Terminated(SystemExit):
    """SIGTERM, or SIGHUP of a closed terminal."""

    code: int


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise once: what more signals would cut off is the cleaning up, which takes a few seconds at most."""
    for each in STOPS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated(128 + number)


def _run(arguments: list[str]) -> int:
    from acmix_exp import installed
    from acmix_exp.errors import ChildError, ConfigError, one_line, storage_fault

    try:
        _refuse_system(arguments)
        _refuse_foreign(arguments)
        if any(argument in SHOW_FLAGS for argument in arguments):
            return _show(arguments)
        from acmix_exp.sweep.compose import compose_cells
        from acmix_exp.sweep.preflight_child import Preflight

        with Preflight() as preflight:
            return _dispatch(compose_cells(arguments, on_first=preflight.start), preflight)
    except (ConfigError, ChildError) as error:
        for line in str(error).splitlines():
            print(f"acmix_exp: {line}", file=sys.stderr)
        return WRONG if isinstance(error, ConfigError) else FAILED
    except OSError as error:  # a full disk, above all
        fault = storage_fault(error)
        text = f"{fault}; rerun the same command once that is solved" if fault else one_line(error)
        print(f"acmix_exp: {text}", file=sys.stderr)
        return FAILED
    except Exception as error:
        if not (foreign := installed.in_children()):
            raise
        paths = ", ".join(module.path for module in foreign)
        print(f"acmix_exp: {one_line(error)}; not of the installed packages: {paths}", file=sys.stderr)
        return WRONG


def _refuse_system(arguments: list[str]) -> None:
    """Raise ConfigError for a task that starts processes in the way of Linux where the system has no such processes."""
    from acmix_exp.errors import ConfigError

    tasks = [argument.partition("=")[2] for argument in arguments if argument.lstrip("+").startswith("task=")]
    task = tasks[-1] if tasks else "train"
    if not hasattr(os, "killpg") and task not in ANYWHERE and not {*arguments} & {*SHOW_FLAGS}:
        works = " and ".join(f"task={name}" for name in ANYWHERE)
        raise ConfigError(f"task={task}: needs Linux, such as WSL2 on Windows; here {works} work, and acmix_exp.load")


def _refuse_foreign(arguments: list[str]) -> None:
    """Raise ConfigError for modules that stand in for those which composing the config imports, and the like.

    The others are refused once the config is composed, which may allow them (sweep/check.py).
    """
    from acmix_exp import installed
    from acmix_exp.errors import ConfigError

    if other := installed.other_package(installed.child_path()):
        raise ConfigError(
            f"acmix_exp: {other} would be imported by the child processes, and this command is of {PACKAGE}; "
            "start in another folder, or run python -m acmix_exp in that one"
        )
    early = [module for module in installed.in_children() if module.name not in installed.HEAVY]
    if lines := installed.refusals(early, allowed=installed.allowed_by(arguments)):
        raise ConfigError(*lines)


def _dispatch(cells: list[Composed], preflight: Preflight) -> int:
    """Call the task's function, ``acmix_exp.tasks.X.X``, with what it takes: a plan, the cells, or the one cell."""
    from acmix_exp.console import print_line
    from acmix_exp.errors import ConfigError
    from acmix_exp.sweep import planning
    from acmix_exp.tasks.prospects import first_line

    task, asked = cells[0].config.task, cells[0].config.report.columns
    if asked != "default":
        import_module("acmix_exp.report.columns").chosen(asked)  # raises ConfigError for columns that do not exist
    function = getattr(import_module(f"acmix_exp.tasks.{task}"), task)
    if task in PLANNED:
        preflight.send(cells)
        plan = planning.build(cells)
        planning.check_reference(plan)
        preflight.check(plan)
        if task != "profile":
            print_line(first_line(plan))
        _print_data(plan)
        return _call(function, plan)
    if task == "power":
        return _call(function, cells)
    if task == "report":
        planning.refuse_split(cells)
    elif len(cells) > 1:
        raise ConfigError(f"task={task}: takes one run, so it goes without -m and without an experiment")
    return _call(function, cells[0])


def _call(function: Callable[[Any], int], argument: Plan | Composed | list[Composed]) -> int:
    try:
        return int(function(argument))
    except (KeyboardInterrupt, _Terminated) as stop:
        if function.__name__ != "train":  # which handles a stop itself, from its first run on
            stop.add_note("rerun the same command")
        raise


def _print_data(plan: Plan) -> None:
    from acmix_exp.console import console
    from acmix_exp.data import report_table

    err = console(stderr=True)
    config = plan.cells[0].config
    detail = "short" if config.task != "plan" else "all" if config.plan.rows == "all" else "plan"
    for inspection in plan.inspections[:PRINTED_DATASETS]:
        err.print(report_table(inspection, detail=detail), soft_wrap=True)
    if len(plan.inspections) > PRINTED_DATASETS:
        err.print(f"and {len(plan.inspections) - PRINTED_DATASETS} more data sets")


def _completion(arguments: list[str]) -> str | None:
    """What ``--shell-completion install=bash`` and ``uninstall=bash`` print; None for others, which are Hydra's."""
    if not {"--shell-completion", "-sc"} & set(arguments):
        return None
    from acmix_exp.sweep.completion import UNINSTALL, script

    return script() if "install=bash" in arguments else UNINSTALL if "uninstall=bash" in arguments else None


def _show(arguments: list[str]) -> int:
    """Hydra's own command line, for the flags that show the config or install completion."""
    import hydra

    from acmix_exp.config import conf_dir, register_schema
    from acmix_exp.errors import ConfigError
    from acmix_exp.sweep.compose import FLAGS, refuse_unknown_flags, rewritten
    from acmix_exp.sweep.foreign_arguments import answers
    from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS, explain, schema_keys

    refuse_unknown_flags(arguments, (*FLAGS, *SHOW_FLAGS, "--resolve", "--package", "-p"))
    for flag, choices in SHOWN.items():
        for argument, value in zip(arguments, [*arguments[1:], ""], strict=True):
            if argument in (flag, flag[1:3]) and value not in choices:
                raise ConfigError(f"{argument} {value}".strip() + f": must be followed by one of {', '.join(choices)}")
    if (answer := _completion(arguments)) is not None:
        print(answer)
        return DONE
    register_schema()
    settings = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    own_options = any(argument.startswith(("--config-dir", "-cd")) for argument in arguments)
    if not own_options and (lines := answers(settings, schema_keys(), [conf_dir()])):
        raise ConfigError(*lines)
    # Hydra then raises what it would otherwise print in nine lines.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    given = [argument for argument in arguments if argument not in ("-m", "--multirun")]
    sys.argv[1:] = rewritten(given, multirun=len(given) < len(arguments))
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(lambda config: None)()
    except CONFIG_ERRORS as error:
        raise ConfigError(*explain(error, sys.argv[1:])) from None
    return DONE
