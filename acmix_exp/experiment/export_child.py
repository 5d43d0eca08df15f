"""The child process of ``task=export``: FOLDER PARENT_PID. It reads FOLDER/request.json and writes FOLDER/report.json.

A line on stdout is a step begun; whatever the packages say goes to stderr.
"""

from __future__ import annotations

import math
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acmix_exp.experiment import provenance
from acmix_exp.experiment.process import die_with_parent
from acmix_exp.experiment.store import read_json, write_json


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0])
    die_with_parent(int(arguments[1]))
    steps = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(text: str) -> None:
        print(text, file=steps)

    try:
        report = _export(folder, read_json(folder / "request.json") or {}, say)
    except ImportError as error:
        traceback.print_exc()
        report = {"missing": (error.name or str(error)).split(".")[0]}
    except Exception as error:
        traceback.print_exc()
        report = {"error": " ".join(str(error).split())[:300] or type(error).__name__}
    write_json(folder / "report.json", report)
    return 0


def _export(folder: Path, request: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    from acmix_exp.yolo.run import prepare

    prepare(request["target"])
    from acmix_exp.yolo import export

    weights, format, imgsz = Path(request["weights"]), request["format"], request["imgsz"]
    where = request["device"]
    made = folder / "made"
    made.mkdir()
    say(f"exporting {weights.name} to {format}, traced at {imgsz}x{imgsz}")
    exported = export.export_checkpoint(weights, format, imgsz, made, arguments=request["arguments"], device=where)
    report = {"file": str(exported.relative_to(made)), "measure": export.MEASURE, "versions": provenance.versions()}
    sizes = [(height, width) for height, width in request["sizes"]]
    names = " and ".join(f"{height}x{width}" for height, width in sizes)
    images = [Path(image) for image in request["images"]]
    say(f"running it at {names} on {len(images)} images")
    try:
        found = export.compare(exported, format, weights, images, sizes, threads=request["threads"], device=where)
    except ImportError as error:
        return {**report, "sizes": [], "not_run": f"the package {error.name or error} is not installed"}
    for each in found:
        if not math.isfinite(each.largest):
            raise ArithmeticError(f"gives values at {each.height}x{each.width} that are not finite, unlike torch")
    return {**report, "sizes": [{**asdict(each), "largest": each.largest} for each in found]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
