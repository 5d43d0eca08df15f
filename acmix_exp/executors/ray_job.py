"""One run on the node that Ray chose for it: ``python -m acmix_exp.executors.ray_job RUN_FOLDER PARENT_PID``.

Exit codes: those of ``job.CODES``.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from acmix_exp.child import die_with_parent
from acmix_exp.executors.job import CODES, outcome
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import Command


def main(arguments: list[str]) -> int:
    """Supervise the run; returns the exit code."""
    run = Run(Path(arguments[0]))
    die_with_parent(int(arguments[1]))
    if not (run.path / "config.yaml").is_file():
        print(f"{run.path} is not on {platform.node()}; every node needs the folder of the runs", file=sys.stderr)
        return 1
    command = Command(scheduled=True)
    with command.stopped_by_signals():
        return CODES[outcome(run, command)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
