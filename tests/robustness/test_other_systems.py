"""A Python without what Windows lacks: results are read and reported, all else is refused in one line.

Not a Windows: paths, consoles and files in use are those of the system that runs the tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.report import builders
from tests.robustness.cases import case

LACKING = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios", "pty", "syslog"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGSTOP", "SIGCONT", "pthread_sigmask", "setitimer"):
    delattr(signal, name)
for name in ("fork", "killpg", "getpgid", "setsid", "getuid", "geteuid", "sysconf", "statvfs", "sched_getaffinity"):
    delattr(os, name)
open_ = open
def without_proc(path, *rest, **named):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(path)
    return open_(path, *rest, **named)
import builtins; builtins.open = without_proc
"""
COMMAND = f"{LACKING}\nsys.orig_argv = ['python', '-m', 'acmix_exp']\nfrom acmix_exp.cli import main\nsys.exit(main())"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copied")
    builders.add_runs(root / "runs" / "demo", ("baseline", "mixed"), seeds=2, epochs=2, pictures=False)
    return root


def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
@case("Other systems", have="`acmix_exp.load` on Windows (simulated)", here="the results are read")
def test_results_are_read(folder: Path) -> None:
    code = f"{LACKING}\nimport acmix_exp; study = acmix_exp.load('runs/demo')\nprint(study.verdicts, len(study.runs))"
    done = run(folder, code)
    assert done.returncode == 0, done.stderr
    assert "'mixed': 'too_few_seeds'" in done.stdout


@case("Other systems", have="`task=report` on Windows (simulated)", here="the report is written")
def test_results_are_reported(folder: Path) -> None:
    done = run(folder, COMMAND, "task=report", "name=demo")
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "demo" / "report.html").stat().st_size > 10_000


@case(
    "Other systems",
    have="any other task on Windows (simulated)",
    here="one line: it needs Linux, such as WSL2; and what works here",
)
@pytest.mark.parametrize("arguments", [[], ["task=plan"], ["+experiment=demo"], ["task=export", "run=runs/demo/x"]])
def test_all_else_is_refused_in_one_line(folder: Path, arguments: list[str]) -> None:
    done = run(folder, COMMAND, *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "needs Linux, such as WSL2 on Windows; here task=report and task=power work, and acmix_exp.load" in line
    assert done.stdout == ""


@pytest.mark.parametrize("flags", [["--help"], ["--version"], ["--cfg", "job"]])
def test_help_is_shown(folder: Path, flags: list[str]) -> None:
    done = run(folder, COMMAND, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout
