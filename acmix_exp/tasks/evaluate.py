"""``task=evaluate``: score a finished run on another split or data set, in a child process."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from acmix_exp import model_tasks
from acmix_exp.child import Job, require, run_child, unpickling
from acmix_exp.config import from_plain, load
from acmix_exp.console import console, print_line, text_table
from acmix_exp.data import Dataset, headline, inspect, report_table, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.files import write_json
from acmix_exp.run import devices, packing
from acmix_exp.run.directory import Run
from acmix_exp.run.fingerprints import verify_data, verify_finished
from acmix_exp.sweep.compose import Composed
from acmix_exp.tasks.finished_run import finished, kept_weights, names_dataset, require_safe, require_unchanged

SCORES = {"precision": "precision", "recall": "recall", "map50": "mAP50", "map50_95": "mAP50-95"}
CLASS_SCORES = {key: model_tasks.SCORES[key] for key in ("top1", "top5")}


def evaluate(cell: Composed) -> int:
    """Evaluate the run and write RUN/evaluations/DATASET-SPLIT-FINGERPRINT.json; returns the exit code.

    Data set, image size and batch are those of the run unless the command names them; another size or batch is part of
    the file's name. Raises ConfigError, and ChildError if the child fails.
    """
    command = cell.config
    run, config = finished(cell)
    config.hardware, config.split = command.hardware, command.split
    dataset = resolve(config.dataset, config.model.task)
    inspection = inspect(dataset)
    split = config.split or headline(dataset).split
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: must be one of the data set's splits, {', '.join(dataset.splits)}")
    names = (run.provenance().get("dataset") or {}).get("names")
    if names is not None and names != {str(key): name for key, name in dataset.names.items()}:
        raise ConfigError(
            f"dataset.name={dataset.name}: its classes are {', '.join(dataset.names.values())}; "
            f"must be those of the run, {', '.join(names.values())}"
        )
    weights = kept_weights(run, config)
    require_safe(command, config, weights)
    fingerprint = inspection.fingerprint
    require_unchanged(cell, run, config, None if names_dataset(cell) else fingerprint)
    console(stderr=True).print(report_table(inspection), soft_wrap=True)
    request = {"config": asdict(config), "weights": str(weights.resolve()), "split": split, "data": fingerprint}
    with devices.gpu_slot(devices.gpus(config.hardware), packing.smallest(config.hardware)) as gpu:
        variables = unpickling(command.allow_unsafe_checkpoint)
        threads = config.hardware.threads
        answer = run_child("evaluate", run.path, request, threads=threads, gpu=gpu, variables=variables)
    metrics = require(answer, "the evaluation")
    trained = load(run.path / "config.yaml").train
    used = {"imgsz": config.train.imgsz, "batch": config.train.batch}
    others = "".join(f"-{key}{value}" for key, value in used.items() if value != getattr(trained, key))
    path = run.path / "evaluations" / f"{dataset.name}-{split}-{fingerprint[:8]}{others}.json"
    device = "cpu" if gpu is None else f"cuda:{gpu}"
    data = {"name": dataset.name, "source": str(dataset.source), "fingerprint": fingerprint}
    metrics |= {**used, "device": device, "dtype": "float32", "data": data}
    path.parent.mkdir(exist_ok=True)
    write_json(path, metrics)
    counted = [(name, inspection.counts[split][name], scores) for name, scores in metrics["per_class"].items()]
    scored = [("all", inspection.boxes[split], metrics), *counted]
    task = model_tasks.of(config.model)
    shown = CLASS_SCORES if task.name == model_tasks.CLASSIFY else SCORES
    rows = [(name, f"{boxes:,}", *(f"{scores[key]:.3f}" for key in shown)) for name, boxes, scores in scored]
    headings = [f"{task.metric} {name}".lstrip() for name in shown.values()]
    console().print(text_table(run.name, ["class"], [inspection.noun, *headings], rows))
    images = f"{inspection.images[split]:,}"
    sizes = f"{used['imgsz']} px, batch {used['batch']}, {device}, float32"
    print_line(f"{weights.name} on {dataset.name} ({dataset.source}), split {split}, {images} images, {sizes}")
    for head, scores in (metrics.get("heads") or {}).items():
        scored_first = " (the headline)" if head == metrics["head"] else ""
        print_line(f"head {head}{scored_first}: " + ", ".join(f"{SCORES[key]} {scores[key]:.3f}" for key in SCORES))
    print_line(f"written to {path}")
    return 0


def work(job: Job) -> dict[str, Any]:
    """Evaluate ``weights`` on ``split`` of the data set of ``config`` in the child process; returns the metrics.

    Raises ChangedError if the data set does not have the fingerprint ``data``, or the run's block, code or weights are
    not those of the run, before or afterwards.
    """
    from acmix_exp.yolo.run import prepare

    config = from_plain(job.request["config"])
    prepare(config)
    from acmix_exp.yolo.evaluation import evaluate_checkpoint

    weights, split = Path(job.request["weights"]), job.request["split"]

    def verify() -> Dataset:
        verify_finished(Run(job.folder), config)
        return verify_data(config, job.request["data"])

    dataset = verify()
    metrics = evaluate_checkpoint(weights, dataset, split, config, job.device, detailed=True)
    verify()
    return metrics
