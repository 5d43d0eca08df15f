"""``task=export``: a finished run's network in another format, checked against torch before it is kept."""

from __future__ import annotations

import difflib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from acmix_exp.config import Config, ConfigError
from acmix_exp.data import Dataset, resolve
from acmix_exp.experiment import device, process
from acmix_exp.experiment.finished import finished, kept_weights, names_dataset
from acmix_exp.experiment.output import console
from acmix_exp.experiment.plan import checked
from acmix_exp.experiment.slots import gpu_slot
from acmix_exp.experiment.store import Run, read_json, write_json
from acmix_exp.experiment.supervise import child_environment
from acmix_exp.yolo.export_formats import Format, export_formats

TOLERANCE = 1e-3
IMAGES = 4
# Not simplified: over a window's many slices onnxslim takes minutes, the file grows, and nothing runs faster.
ARGUMENTS = {"dynamic": True, "simplify": False}
EXTRA = {"onnx": ("onnx", "onnxruntime")}  # what the extra `export` brings


def export(master: DictConfig) -> int:
    """Write RUN/export/WEIGHTS.FORMAT and, beside it, how far it is from torch; the exit code.

    Nothing is kept of what failed or was stopped. Raises ConfigError before anything is written.
    """
    overrides = list(master.hydra.overrides.task)
    asked = checked(master, overrides)
    kind = _format(asked.format)
    run, config = finished(asked)
    weights = kept_weights(run, asked, config)
    if names_dataset(overrides):
        config.dataset = asked.dataset
    config.hardware = asked.hardware
    dataset = resolve(config.dataset)
    gpus = [] if kind.cpu else device.gpus(config.hardware)
    if not (kind.cpu or gpus):
        raise ConfigError(f"format={kind.name}: {kind.title} is exported on a GPU; none is used here")
    folder = run.path / "export"
    new = not folder.exists()
    making = folder / f".making-{platform.node()}-{os.getpid()}"
    try:
        making.mkdir(parents=True)
        _sweep(folder)
        write_json(making / "request.json", _request(kind, weights, config, dataset, bool(gpus)))
        with gpu_slot(gpus, 1) as gpu:
            report = _child(making, child_environment(run.path, config, gpu))
        return _conclude(run, kind, weights, making, report)
    finally:
        shutil.rmtree(making, ignore_errors=True)
        shutil.rmtree(run.path / ".ultralytics", ignore_errors=True)
        if new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _format(name: str) -> Format:
    """Raises ConfigError for a format that there is not, that has no float32, or whose packages are missing."""
    known = export_formats()
    exact = [format.name for format in known.values() if format.full_precision]
    if name not in known:
        close = difflib.get_close_matches(name, exact, n=1)
        hint = f"did you mean {close[0]}?" if close else f"must be one of {', '.join(exact)}"
        raise ConfigError(f"format={name}: unknown format; {hint}")
    if name not in exact:
        raise ConfigError(
            f"format={name}: has no float32, so it can't equal torch; must be one of {', '.join(exact)} "
            f"(or quantise the checkpoint yourself: yolo export model=RUN/weights/best.pt format={name})"
        )
    missing = [package for package in EXTRA.get(name, ()) if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"format={name}: needs {', '.join(missing)}; pip install 'acmix_exp[export]'")
    return known[name]


def _request(kind: Format, weights: Path, config: Config, dataset: Dataset, on_gpu: bool) -> dict[str, Any]:
    """What the child is asked: to check at the traced size and, where sizes are open, at one that differs in both."""
    imgsz = config.train.imgsz
    sizes = [(imgsz, imgsz)]
    if "dynamic" in kind.arguments:
        sizes.append((max(32, imgsz * 3 // 4 // 32 * 32), imgsz + 32))
    split = "test" if "test" in dataset.splits else "val"
    images = dataset.splits[split]
    chosen = [images[i * len(images) // min(IMAGES, len(images))] for i in range(min(IMAGES, len(images)))]
    return {
        "weights": str(weights.resolve()),
        "target": config.block.get("target"),
        "format": kind.name,
        "imgsz": imgsz,
        "arguments": {key: value for key, value in ARGUMENTS.items() if key in kind.arguments},
        "sizes": sizes,
        "dataset": dataset.name,
        "split": split,
        "images": [str(image) for image in chosen],
        "threads": config.hardware.threads,
        "device": 0 if on_gpu else "cpu",
    }


def _child(making: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Export and check in a process of its own, its steps shown; its report, ``error`` in it where it has none."""
    out = console(stderr=True)
    command = [sys.executable, "-m", "acmix_exp.experiment.export_child", str(making.resolve()), str(os.getpid())]
    with open(making / "log", "wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    try:
        assert child.stdout is not None
        with out.status("importing torch") as status:
            for line in child.stdout:
                text = line.decode().rstrip()
                status.update(escape(text))
                if not out.is_terminal:
                    out.print(text, markup=False, highlight=False, soft_wrap=True)
        code = child.wait()
    finally:
        process.end(child)
    return read_json(making / "report.json") or {"error": f"its process ended with {code} (out of memory?)"}


def _conclude(run: Run, kind: Format, weights: Path, making: Path, report: dict[str, Any]) -> int:
    """Put what was made in its place, where it is right, and say so."""
    if "missing" in report:
        raise ConfigError(f"format={kind.name}: needs the package {report['missing']}; pip install it")
    folder = run.path / "export"
    largest = max((size["largest"] for size in report.get("sizes", [])), default=None)
    wrong = report.get("error")
    if largest is not None and not largest <= TOLERANCE:
        wrong = f"differs from torch by {largest:.1e}, more than {TOLERANCE:.0e}; it was not kept"
    if wrong:
        log = folder / f"{kind.name}.log"
        os.replace(making / "log", log)
        print(f"acmix_exp: format={kind.name}: {wrong}; see {log}", file=sys.stderr)
        return 1
    request = read_json(making / "request.json") or {}
    kept = {key: request[key] for key in ("format", "imgsz", "arguments", "dataset", "split")}
    names = [Path(image).name for image in request["images"]]
    about = {**kept, "weights": weights.name, "images": names, "tolerance": TOLERANCE, "largest_difference": largest}
    place, facts = folder / report["file"], folder / f"{report['file']}.json"
    write_json(making / "facts.json", {**about, **report})
    facts.unlink(missing_ok=True)
    if place.is_dir():
        os.replace(place, making / "old")
    os.replace(making / "made" / report["file"], place)
    os.replace(making / "facts.json", facts)
    (folder / f"{kind.name}.log").unlink(missing_ok=True)
    _show(place, report, largest)
    return 0


def _show(place: Path, report: dict[str, Any], largest: float | None) -> None:
    out = console()
    if report["sizes"]:
        table = Table(title=f"{escape(str(place))} against torch", title_justify="left")
        for name in ("height x width", "images", "boxes, pixels", "boxes, cells", "scores"):
            table.add_column(name, justify="right")
        for size in report["sizes"]:
            figures = (f"{size[key]:.1e}" for key in ("boxes_px", "boxes", "scores"))
            table.add_row(f"{size['height']}x{size['width']}", str(size["images"]), *figures)
        out.print(table)
        unit = "in grid cells of 8, 16 or 32 pixels, or in scores"
        line = f"largest difference {largest:.1e}, {unit}; it may be {TOLERANCE:.0e}"
    else:
        line = f"not run, so not compared with torch: {report['not_run']}"
    out.print(line, soft_wrap=True, markup=False, highlight=False)
    out.print(f"written to {place}", soft_wrap=True, markup=False, highlight=False)


def _sweep(folder: Path) -> None:
    """Remove what exports left on this machine whose process was killed."""
    prefix = f".making-{platform.node()}-"
    for old in folder.glob(f"{prefix}*"):
        number = old.name.removeprefix(prefix)
        if number.isdecimal() and not process.is_alive(int(number)):
            shutil.rmtree(old, ignore_errors=True)
