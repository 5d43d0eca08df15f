"""``task=export``: export a finished run's network and compare it with torch, in a child process."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acmix_exp import files
from acmix_exp.child import Job, is_alive, require, run_child, unpickling
from acmix_exp.config import Config, from_plain
from acmix_exp.console import console, print_line, showing_steps, text_table
from acmix_exp.data import Dataset, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.model_tasks import DETECT
from acmix_exp.run import devices, provenance
from acmix_exp.run.directory import Run
from acmix_exp.run.fingerprints import digest, verify_finished
from acmix_exp.sweep.compose import Composed
from acmix_exp.tasks.finished_run import finished, kept_weights, require_safe, require_unchanged, why_kept
from acmix_exp.yolo.export_formats import KEYS, Format
from acmix_exp.yolo.sites import Network

EXPORTED = "made"  # subfolder of the temporary folder
IMAGES, IMAGES_BELOW_FP32 = 4, 16  # compared: one shows whether the graph is right, a mean needs more
CALIBRATION = 300  # images of val at most; ultralytics recommends as many
TIMED_SECONDS, FEWEST_PASSES = 1.5, 20


def export(cell: Composed) -> int:
    """Write RUN/export/WEIGHTS.FORMAT and its differences from torch; returns the exit code.

    A failed or interrupted export leaves no file but its log. Raises ConfigError before anything is written.
    """
    command = cell.config
    run, config = finished(cell)  # before the format, for which ultralytics is imported
    weights = kept_weights(run, config)
    format = _format(command)
    require_safe(command, config, weights)
    require_unchanged(cell, run, config, None)
    config.hardware = command.hardware
    dataset = resolve(config.dataset, config.model.task)
    gpus = devices.gpus(config.hardware)
    name = f"format={format.name}" + (f" export.quantize={format.quantize}" if format.quantize else "")
    if gpus and not format.needs_gpu and {"hardware", "hardware.device"} & set(cell.keys):
        raise ConfigError(f"hardware.device={command.hardware.device}: {name} is exported on a CPU; leave it out")
    gpus = gpus if format.needs_gpu else []
    if format.needs_gpu and not gpus:
        raise ConfigError(f"{name}: can only be exported on a GPU; use hardware=gpu")
    chosen = _images(format, dataset)
    folder = run.path / "export"
    is_new = not folder.exists()
    temporary = folder / f".making-{platform.node()}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        _remove_abandoned(folder)
        request = _request(format, weights, config, dataset, chosen, temporary)
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
        why = why_kept(run, config, weights)
        return _conclude(run, format, why, temporary, request, {**report, "device": device})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _format(command: Config) -> Format:
    """The format. Raises ConfigError if it is unknown, lacks what the command asks for, or a package is missing."""
    request = {"format": command.format, "export": {key: getattr(command.export, key) for key in KEYS}}
    with console(stderr=True).status("reading the export formats of ultralytics"):
        answer = run_child("preflight", Path(command.run or command.runs_dir), request)
    return Format(**require(answer, "the preflight"))


def _images(format: Format, dataset: Dataset) -> tuple[str, list[Path], list[Path]]:
    """The split and images to compare on, and those of val to calibrate on, of which none has the bytes of the others.

    Raises ConfigError if val is too small for both.
    """
    split = "test" if "test" in dataset.splits else "val"
    images, val = dataset.splits[split], dataset.splits["val"]
    number = IMAGES if format.precision == "fp32" else IMAGES_BELOW_FP32
    if not format.calibrates:
        return split, _spread(images, number), []
    compared = _spread(images, number if split == "test" else min(number, len(val) // 2))
    rest = [image for image in val if image not in compared]
    contents = {digest(image) for image in compared}
    calibration = [image for image in _spread(rest, CALIBRATION) if digest(image) not in contents]
    if not (compared and calibration):
        raise ConfigError(
            f"export.quantize={format.quantize}: is calibrated on images of val and compared with torch on others; "
            f"{dataset.name} has too few, {len(val)} in val"
        )
    return split, compared, calibration


def _spread(images: Sequence[Path], number: int) -> list[Path]:
    """At most ``number`` of the images, evenly spaced."""
    number = min(number, len(images))
    return [images[i * len(images) // number] for i in range(number)]


def _request(
    format: Format,
    weights: Path,
    config: Config,
    dataset: Dataset,
    chosen: tuple[str, list[Path], list[Path]],
    temporary: Path,
) -> dict[str, Any]:
    """The request to the child: compare at the traced size and, if sizes are symbolic, at another height and width."""
    imgsz = config.train.imgsz
    sizes, stride = [(imgsz, imgsz)], Network.of(config.model).stride
    if format.dynamic:
        sizes.append((max(stride, imgsz * 3 // 4 // stride * stride), imgsz + stride))
    split, compared, calibration = chosen
    return {
        "weights": str(weights.resolve()),
        "config": asdict(config),
        "format": asdict(format),
        "imgsz": imgsz,
        "sizes": sizes,
        "dataset": dataset.name,
        "split": split,
        "images": [str(image) for image in compared],
        "calibration": [str(image) for image in calibration],
        "threads": config.hardware.threads,
        "folder": str((temporary / EXPORTED).absolute()),
    }


def _conclude(
    run: Run, format: Format, why: str, temporary: Path, request: dict[str, Any], report: dict[str, Any]
) -> int:
    """Keep the exported file if it matches torch, else its log; print the result; returns the exit code.

    why: the checkpoint and why it is this one.
    """
    if "missing" in report:
        raise ConfigError(f"format={format.name}: needs the package {report['missing']}; pip install it")
    folder = run.path / "export"
    wrong = report.get("error") or _disagreement(report)
    if wrong:
        log = folder / f"{format.name}.log"
        os.replace(temporary / "log", log)
        print(f"acmix_exp: format={format.name}: {wrong}; see {log}", file=sys.stderr)
        return 1
    facts: dict[str, Any] = {key: request[key] for key in ("imgsz", "dataset", "split", "threads")}
    facts |= {"format": format.name, "precision": format.precision, "batch": 1, "opset": format.opset}
    facts |= {"nms": format.nms, "dynamic": format.dynamic}
    facts |= {"checkpoint": Path(request["weights"]).name, "why": why}
    for key in ("images", "calibration"):
        facts[key] = [Path(image).name for image in request[key]]
    exported, facts_file = folder / report["file"], folder / f"{report['file']}.json"
    files.write_json(temporary / "facts.json", {**facts, **report})
    facts_file.unlink(missing_ok=True)
    if exported.is_dir():
        os.replace(exported, temporary / "old")
    os.replace(temporary / EXPORTED / report["file"], exported)
    os.replace(temporary / "facts.json", facts_file)
    (folder / f"{format.name}.log").unlink(missing_ok=True)
    _print_result(exported, format, {**facts, **report})
    return 0


def _disagreement(report: dict[str, Any]) -> str:
    """What is beyond its limit, in words; empty if nothing is."""
    for size in report.get("sizes", []):
        for key, limit in report["limits"].items():
            if not size[key] <= limit:
                place = f"{size['height']}x{size['width']}"
                return f"differs from torch: {key} at {place} by {size[key]:.2g}, limit {limit:g}; it was not kept"
    return ""


def _print_result(exported: Path, format: Format, report: dict[str, Any]) -> None:
    sizes, limits = report["sizes"], report["limits"]
    shown = ".1e" if format.precision == "fp32" else ".4f"
    has_boxes = "boxes" in limits
    if sizes:
        columns = ("height x width", "images", *["largest, pixels"] * has_boxes, *limits)
        rows = [
            (
                f"{size['height']}x{size['width']}",
                str(size["images"]),
                *[f"{size['boxes_px']:.2g}"] * has_boxes,
                *(f"{size[key]:{shown}}" for key in limits),
            )
            for size in sizes
        ]
        rows.append(("limit", "", *[""] * has_boxes, *(f"{limit:g}" for limit in limits.values())))
        console().print(text_table(f"{exported} against torch", [], columns, rows))
        print_line(f"differences: {report['measure']}")
        if not any(size["compared"] for size in sizes):
            print_line("torch predicts nothing above the score of the suppression on these images: nothing to compare")
        print_line(f"on images of {report['dataset']}, split {report['split']}{_calibrated(report)}")
    else:
        print_line(f"not run, so not compared with torch: {report['not_run']}")
    times = report.get("latency_ms") or {}
    rows = [
        (name, f"{report['bytes'][key] / 1e6:.2f}", f"{times[key]:.2f}" if key in times else "-")
        for key, name in (("torch", f"torch, fp32 ({report['checkpoint']})"), ("exported", _name(format)))
    ]
    console().print(text_table("size and latency", ["network"], ["MB", "ms per image"], rows))
    timed = f"; median of {report['passes']} passes in turn" if times else ""
    threads = f", {report['threads']} thread{'s' * (report['threads'] > 1)}" if report["device"] == "cpu" else ""
    print_line(f"{report['imgsz']}x{report['imgsz']}, batch 1, {report['device']}{threads}{timed}")
    print_line(f"checkpoint: {report['why']}")
    inside = {
        None: "raw boxes and scores" if has_boxes else "probabilities of the classes",
        True: "non-maximum suppression inside",
        False: "the head without suppression",
    }
    any_size = "any height and width" if format.dynamic else "this size only"
    print_line(f"{_name(format)}, traced at {report['imgsz']} px, {any_size}, {inside[format.nms]}")
    print_line(f"written to {exported}")


def _calibrated(report: dict[str, Any]) -> str:
    number = len(report["calibration"])
    return f"; calibrated on {number} other image{'s' * (number > 1)} of val" if number else ""


def _name(format: Format) -> str:
    return f"{format.name}, {format.precision}"


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
    from acmix_exp.profile.latency import fused, latencies
    from acmix_exp.yolo import exporter
    from acmix_exp.yolo.agreement import limits, measure

    weights, format, imgsz = Path(request["weights"]), Format(**request["format"]), request["imgsz"]
    images, calibration = ([Path(image) for image in request[key]] for key in ("images", "calibration"))
    folder, options = Path(request["folder"]), {"threads": request["threads"], "device": device}
    folder.mkdir()
    calibrated = f", calibrated on {len(calibration)} images" if calibration else ""
    job.step(f"exporting {weights.name} to {format.name}, {format.precision}, traced at {imgsz}x{imgsz}{calibrated}")
    exported = exporter.export_checkpoint(weights, format, imgsz, folder, calibration=calibration, device=device)
    verify_finished(run, config)
    report: dict[str, Any] = {
        "file": str(exported.relative_to(folder)),
        "measure": measure(format.precision, config.model.task or DETECT),
        "reference": exporter.REFERENCE,
        "limits": limits(format.precision, config.model.task or DETECT),
        "bytes": {"torch": weights.stat().st_size, "exported": exporter.size_of(exported)},
        "versions": provenance.versions(),
        "sizes": [],
    }
    if not format.runs_here:
        return {**report, "not_run": f"{format.title} runs on its own devices"}
    sizes = [(height, width) for height, width in request["sizes"]]
    names = " and ".join(f"{height}x{width}" for height, width in sizes)
    job.step(f"comparing with torch at {names} on {len(images)} images")
    try:
        compared = exporter.compare(exported, format, weights, images, sizes, **options)
        job.step(f"timing at {imgsz}x{imgsz}")
        network, module = exporter.to_time(exported, format, weights, **options)
    except ImportError as error:
        return {**report, "not_run": f"the package {error.name or error} is not installed"}
    for size in compared:
        if not math.isfinite(size.boxes + size.scores + size.others):
            raise ArithmeticError(f"gives values at {size.height}x{size.width} that are not finite, unlike torch")
    both = {"torch": fused(network), "exported": module}
    place = "cpu" if device == "cpu" else f"cuda:{device}"
    times = latencies(both, imgsz, 1, place, seconds=TIMED_SECONDS, fewest=FEWEST_PASSES)
    report["latency_ms"] = {key: time.median for key, time in times.items()}
    report["passes"] = min(time.passes for time in times.values())
    return {**report, "sizes": [asdict(size) for size in compared]}
