"""``task=export``: export a finished run's network and compare it with torch, in a child process."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import shutil
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acmix_exp import files
from acmix_exp.child import Job, is_alive, require, run_child, unpickling
from acmix_exp.config import Config, from_plain
from acmix_exp.console import console, print_line, showing_steps, text_table
from acmix_exp.data import Dataset, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.run import devices, provenance
from acmix_exp.run.directory import Run
from acmix_exp.run.fingerprints import verify_finished
from acmix_exp.sweep.compose import Composed
from acmix_exp.tasks.finished_run import finished, kept_weights, require_safe, require_unchanged
from acmix_exp.yolo.sites import Network

TOLERANCE = 1e-3
EXPORTED = "made"  # subfolder of the temporary folder
IMAGES = 4
DIFFERENCES = ("boxes_px", "boxes", "scores")
# Not simplified: for the many slices of a window onnxslim takes minutes, the file grows, and nothing runs faster.
ARGUMENTS = {"dynamic": True, "simplify": False}
EXTRA = {"onnx": ("onnx", "onnxruntime")}  # packages of the extra `export`


@dataclass(frozen=True)
class Format:
    """An export format as ultralytics describes it; the fields are those of yolo/preflight.py."""

    name: str
    title: str
    cpu: bool  # can be exported on a CPU
    arguments: list[str]  # supported arguments of the exporter; with dynamic, height and width are symbolic


def export(cell: Composed) -> int:
    """Write RUN/export/WEIGHTS.FORMAT and its differences from torch; returns the exit code.

    A failed or interrupted export leaves no file but its log. Raises ConfigError before anything is written.
    """
    command = cell.config
    format = _format(command)
    run, config = finished(cell)
    weights = kept_weights(run, config)
    require_safe(command, config, weights)
    require_unchanged(cell, run, config, None)
    config.hardware = command.hardware
    dataset = resolve(config.dataset, config.model.task)
    gpus = devices.gpus(config.hardware)
    if format.cpu and gpus and {"hardware", "hardware.device"} & set(cell.keys):
        raise ConfigError(
            f"hardware.device={command.hardware.device}: {format.name} is exported on a CPU; leave it out"
        )
    gpus = [] if format.cpu else gpus
    if not (format.cpu or gpus):
        raise ConfigError(f"format={format.name}: {format.title} can only be exported on a GPU; use hardware=gpu")
    folder = run.path / "export"
    is_new = not folder.exists()
    temporary = folder / f".making-{platform.node()}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        _remove_abandoned(folder)
        request = _request(format, weights, config, dataset, temporary)
        threads, log = config.hardware.threads, temporary / "log"
        with devices.gpu_slot(gpus, 1) as gpu, showing_steps() as show:
            options = {"log": log, "on_step": show, "variables": unpickling(command.allow_unsafe_checkpoint)}
            answer = run_child("export", run.path, request, threads=threads, gpu=gpu, **options)
        device = "cpu" if gpu is None else f"cuda:{gpu}"
        if answer.kind == ConfigError.__name__:
            require(answer, "the export")
        report = answer.value
        if answer.error is not None:
            files.require_space(folder)  # torch aborts without a word if it cannot write
            report = {"error": answer.error if answer.kind else f"the export {answer.error}"}
        return _conclude(run, format, weights, temporary, request, {**report, "device": device})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _format(command: Config) -> Format:
    """The export format. Raises ConfigError if packages are missing, the format is unknown, or it has no float32."""
    missing = [package for package in EXTRA.get(command.format, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"format={command.format}: needs {', '.join(missing)}; pip install 'acmix_exp[export]'")
    with console(stderr=True).status("reading the export formats of ultralytics"):
        answer = run_child("preflight", Path(command.run or command.runs_dir), {"format": command.format})
    return Format(**require(answer, "the preflight"))


def _request(format: Format, weights: Path, config: Config, dataset: Dataset, temporary: Path) -> dict[str, Any]:
    """The request to the child: compare at the traced size and, if sizes are symbolic, at another height and width."""
    imgsz = config.train.imgsz
    sizes, stride = [(imgsz, imgsz)], Network.of(config.model).stride
    if "dynamic" in format.arguments:
        sizes.append((max(stride, imgsz * 3 // 4 // stride * stride), imgsz + stride))
    split = "test" if "test" in dataset.splits else "val"
    images = dataset.splits[split]
    chosen = [images[i * len(images) // min(IMAGES, len(images))] for i in range(min(IMAGES, len(images)))]
    return {
        "weights": str(weights.resolve()),
        "config": asdict(config),
        "format": format.name,
        "imgsz": imgsz,
        "arguments": {key: value for key, value in ARGUMENTS.items() if key in format.arguments},
        "sizes": sizes,
        "dataset": dataset.name,
        "split": split,
        "images": [str(image) for image in chosen],
        "threads": config.hardware.threads,
        "folder": str((temporary / EXPORTED).absolute()),
    }


def _conclude(
    run: Run, format: Format, weights: Path, temporary: Path, request: dict[str, Any], report: dict[str, Any]
) -> int:
    """Keep the exported file if it matches torch, else its log; print the result; returns the exit code."""
    if "missing" in report:
        raise ConfigError(f"format={format.name}: needs the package {report['missing']}; pip install it")
    folder = run.path / "export"
    largest = max((size["largest"] for size in report.get("sizes", [])), default=None)
    wrong = report.get("error")
    if largest is not None and not largest <= TOLERANCE:
        wrong = f"differs from torch by {largest:.1e}, more than {TOLERANCE:.0e}; it was not kept"
    if wrong:
        log = folder / f"{format.name}.log"
        os.replace(temporary / "log", log)
        print(f"acmix_exp: format={format.name}: {wrong}; see {log}", file=sys.stderr)
        return 1
    facts = {key: request[key] for key in ("format", "imgsz", "arguments", "dataset", "split")}
    names = [Path(image).name for image in request["images"]]
    facts |= {"weights": weights.name, "checkpoint": weights.name, "batch": 1, "precision": "fp32"}
    facts |= {"images": names, "tolerance": TOLERANCE, "largest_difference": largest}
    exported, facts_file = folder / report["file"], folder / f"{report['file']}.json"
    files.write_json(temporary / "facts.json", {**facts, **report})
    facts_file.unlink(missing_ok=True)
    if exported.is_dir():
        os.replace(exported, temporary / "old")
    os.replace(temporary / EXPORTED / report["file"], exported)
    os.replace(temporary / "facts.json", facts_file)
    (folder / f"{format.name}.log").unlink(missing_ok=True)
    _print_result(exported, {**facts, **report}, largest)
    return 0


def _print_result(exported: Path, report: dict[str, Any], largest: float | None) -> None:
    if report["sizes"]:
        columns = ("height x width", "images", "boxes, pixels", "boxes, cells", "scores")
        rows = [
            (f"{size['height']}x{size['width']}", str(size["images"]), *(f"{size[key]:.1e}" for key in DIFFERENCES))
            for size in report["sizes"]
        ]
        console().print(text_table(f"{exported} against torch", [], columns, rows))
        unit = "in grid cells, or in scores"
        print_line(f"largest difference {largest:.1e}, {unit}; the tolerance is {TOLERANCE:.0e}")
    else:
        print_line(f"not run, so not compared with torch: {report['not_run']}")
    made = f"{report['checkpoint']} as {report['format']}, float32, traced at {report['imgsz']} px, {report['device']}"
    print_line(f"{made}; images of {report['dataset']}, split {report['split']}")
    print_line(f"written to {exported}")


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders of killed exports of this machine."""
    prefix = f".making-{platform.node()}-"
    for old in folder.glob(f"{prefix}*"):
        number = old.name.removeprefix(prefix)
        if number.isdecimal() and not is_alive(int(number)):
            shutil.rmtree(old, ignore_errors=True)


def work(job: Job) -> dict[str, Any]:
    """Export and compare in the child process; returns the report, or ``missing`` with the name of a package."""
    try:
        return _export(job)
    except ImportError as error:
        traceback.print_exc()
        return {"missing": (error.name or str(error)).split(".")[0]}


def _export(job: Job) -> dict[str, Any]:
    from acmix_exp.yolo.run import prepare

    request, device = job.request, job.device
    config, run = from_plain(request["config"]), Run(job.folder)
    prepare(config)
    verify_finished(run, config)
    from acmix_exp.yolo import exporter

    weights, format, imgsz = Path(request["weights"]), request["format"], request["imgsz"]
    folder = Path(request["folder"])
    folder.mkdir()
    job.step(f"exporting {weights.name} to {format}, traced at {imgsz}x{imgsz}")
    exported = exporter.export_checkpoint(weights, format, imgsz, folder, arguments=request["arguments"], device=device)
    verify_finished(run, config)
    report = {"file": str(exported.relative_to(folder)), "measure": exporter.MEASURE, "versions": provenance.versions()}
    sizes = [(height, width) for height, width in request["sizes"]]
    names = " and ".join(f"{height}x{width}" for height, width in sizes)
    images = [Path(image) for image in request["images"]]
    job.step(f"comparing with torch at {names} on {len(images)} images")
    try:
        compared = exporter.compare(exported, format, weights, images, sizes, threads=request["threads"], device=device)
    except ImportError as error:
        return {**report, "sizes": [], "not_run": f"the package {error.name or error} is not installed"}
    for size in compared:
        if not math.isfinite(size.largest):
            raise ArithmeticError(f"gives values at {size.height}x{size.width} that are not finite, unlike torch")
    return {**report, "sizes": [{**asdict(size), "largest": size.largest} for size in compared]}
