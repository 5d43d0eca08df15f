"""One run on the node that Ray chose for it: ``python -m acmix_exp.executors.ray_job RUN_FOLDER PARENT_PID``.

Exit code: 0 done, 1 failed, 75 if another command is at work on the run, 130 interrupted.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from acmix_exp.child import die_with_parent
from acmix_exp.errors import storage_fault
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import BUSY, DONE, FAILED, INTERRUPTED, Command, supervise

CODES = {DONE: 0, FAILED: 1, BUSY: 75, INTERRUPTED: 130}


def main(arguments: list[str]) -> int:
    """Supervise the run; returns the exit code."""
    run = Run(Path(arguments[0]))
    die_with_parent(int(arguments[1]))
    if not (run.path / "config.yaml").is_file():
        print(f"{run.path}: not on {platform.node()}; every node needs the folder of the runs", file=sys.stderr)
        return CODES[FAILED]
    command = Command(scheduled=True)
    with command.stopped_by_signals():
        try:
            return CODES[supervise(run, command)]
        except OSError as error:
            print(f"{run.name}: interrupted: {storage_fault(error) or error}", file=sys.stderr)
            return CODES[FAILED]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
