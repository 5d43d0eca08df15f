"""The child process of ``task=repeat`` that compares weights: REPORT PARENT_PID FIRST SECOND [FIRST SECOND ...]."""

from __future__ import annotations

import sys
from pathlib import Path

from acmix_exp.experiment.process import die_with_parent
from acmix_exp.experiment.store import write_json


def main(arguments: list[str]) -> int:
    die_with_parent(int(arguments[1]))
    from acmix_exp.yolo.run import prepare

    prepare()
    from acmix_exp.yolo.same_weights import compare_weights

    paths = [Path(argument) for argument in arguments[2:]]
    pairs = zip(paths[::2], paths[1::2], strict=True)
    write_json(Path(arguments[0]), {first.name: compare_weights(first, second) for first, second in pairs})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
