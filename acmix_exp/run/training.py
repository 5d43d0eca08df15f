"""The child process of one run: ``python -m acmix_exp.run.training RUN_DIR SUPERVISOR_PID RESUME``.

It sees the one GPU that it was given, as index 0, or none.
"""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acmix_exp import files
from acmix_exp.config import Config, load
from acmix_exp.errors import CheckpointError
from acmix_exp.run import directory, provenance
from acmix_exp.run.child import die_with_parent
from acmix_exp.run.directory import History
from acmix_exp.run.supervise import STALE_CHECKPOINT


def train(run: directory.Run, config: Config, *, resume: bool) -> None:
    """Train, evaluate, count and log one run; writes history.csv, result.json and provenance.json.

    Whatever goes wrong is raised, after W&B has been told.
    """
    from acmix_exp.tracking import Tracker

    started = time.time()
    made_with = {"versions": provenance.versions(), "git": provenance.record(run.path)}
    _note(run, {**made_with, "environment": provenance.environment()})
    tracker = Tracker.start(config, run.path, resumed=resume, resolved=asdict(config))
    try:
        result, facts = _measured(run, config, tracker, resume=resume)
    except BaseException as error:
        tracker.fail(_one_line(error, config))
        raise
    _note(run, {**facts, "seconds_in_all": round(time.time() - started, 1)})
    files.write_json(run.path / "result.json", result)
    tracker.finish({**result, "audit": facts["transfer"]})
    keep_weights(run, config.train.keep)


def _note(run: directory.Run, facts: dict[str, Any]) -> None:
    """Add to provenance.json."""
    known = run.provenance()
    about = {**known.get("dataset", {}), **facts.get("dataset", {})}
    files.write_json(run.path / "provenance.json", {**known, **facts, "dataset": about})


def keep_weights(run: directory.Run, keep: str) -> None:
    """Remove the checkpoints that ``train.keep`` (best, last, both or none) does not name."""
    for name in ("best", "last"):
        if keep not in (name, "both"):
            (run.path / "weights" / f"{name}.pt").unlink(missing_ok=True)


def _measured(
    run: directory.Run, config: Config, tracker: Any, *, resume: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    import torch

    from acmix_exp.data import resolve
    from acmix_exp.profile import complexity, timings
    from acmix_exp.run.replicates import replicates
    from acmix_exp.yolo import run as yolo
    from acmix_exp.yolo.report_images import store_pictures

    hardware = run.provenance()["identity"]["hardware"]
    where: int | str = 0 if hardware["device"] == "cuda" else "cpu"
    history = History(run, resumed=resume)

    def on_epoch(row: dict[str, float]) -> None:
        history.add(row)
        tracker.epoch(row)

    dataset = resolve(config.dataset)
    outcome = yolo.train(config, dataset, run.path, device=where, resume=resume, on_epoch=on_epoch)
    replicates(run.path, run.provenance()["identity"]["data"], outcome.metrics["split"])
    store_pictures(run.path, dataset, outcome.metrics, config, device=where)
    status = run.status() or {}
    result = {
        "arm": status.get("arm"),
        "seed": config.seed,
        "swept": status.get("swept", {}),
        "metrics": outcome.metrics,
        "val_best": outcome.val_best,
        "val_last": outcome.val_last,
        "cost": {
            **complexity(outcome.model)[0],
            **timings(outcome.model, config.train.imgsz, where),
            "latency_alone": config.hardware.runs_at_once == 1,
            "peak_memory_mb": outcome.peak_memory_mb,
            "train_seconds": outcome.train_seconds,
        },
        "epochs": config.train.epochs,
        "imgsz": config.train.imgsz,
        "batch": outcome.batch,
        "resumed": resume,
    }
    facts = {
        "hardware": {**provenance.hardware(where), "cpu_capability": torch.backends.cpu.get_cpu_capability()},
        "dataset": {"name": dataset.name, "names": {str(key): name for key, name in dataset.names.items()}},
        "transfer": outcome.audit,
        "seed_proof": outcome.seed_proof,
        "precision": hardware["precision"],
    }
    return result, facts


def _one_line(error: BaseException, config: Config) -> str:
    text = " ".join(str(error).split()) or "no further word"
    if type(error).__name__ == "OutOfMemoryError":
        return f"out of memory at train.batch={config.train.batch} train.imgsz={config.train.imgsz}: {text}"
    return f"{type(error).__name__}: {text}"


def main(arguments: list[str]) -> int:
    run = directory.Run(Path(arguments[0]))
    die_with_parent(int(arguments[1]))
    config = load(run.path / "config.yaml")
    try:
        train(run, config, resume=arguments[2] == "1")
    except Exception as error:
        traceback.print_exc()
        if isinstance(error, CheckpointError):
            return STALE_CHECKPOINT
        files.write_text(run.path / ".error", _one_line(error, config))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
