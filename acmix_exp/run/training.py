"""The child process of a run: train, evaluate, measure costs, and write the files of the run.

The imports take seconds, in which the parent may still check the plan.
"""

from __future__ import annotations

import glob
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch._dynamo  # ultralytics imports this and torchvision when it needs them
import torchvision  # noqa: F401
from torch import nn

from acmix_exp import files, model_tasks
from acmix_exp.child import Job
from acmix_exp.config import Config, load
from acmix_exp.data import Dataset, headline
from acmix_exp.errors import ChangedError, CheckpointError, NonFiniteLoss, one_line
from acmix_exp.profile import complexity, timings
from acmix_exp.run import directory, fingerprints, packing, provenance
from acmix_exp.run.directory import History
from acmix_exp.run.replicates import replicates
from acmix_exp.tracking import Tracker
from acmix_exp.yolo import evaluation, trainer  # noqa: F401
from acmix_exp.yolo import run as yolo
from acmix_exp.yolo.report_images import store_pictures
from acmix_exp.yolo.sample_loader import cause_of


def work(job: Job) -> None:
    """Train, evaluate, profile and log the run of the folder in the child process.

    Writes history.csv, result.json and provenance.json. The request says whether to ``resume``. Every error is raised,
    after it has been logged to W&B: ChangedError if the files that the identity in provenance.json was taken from are
    no longer the same.
    """
    started = time.time()
    run, resume = directory.Run(job.folder), job.request["resume"]
    config = load(run.path / "config.yaml")
    git = provenance.record(run.path)
    code = {"versions": provenance.versions(), "git": git, "imported": provenance.imported()}
    _add_provenance(run, {**code, "environment": provenance.environment(job.environment)})
    tracker = Tracker.start(config, run.path, resumed=resume, resolved=asdict(config))
    try:
        conditions = _conditions(config, job.device, git)
        result, facts = _measured(run, config, job.device, tracker, conditions, resume=resume)
    except BaseException as error:
        explained = _explained(error, run, config)
        tracker.fail(one_line(explained))
        if explained is error:
            raise
        raise explained from error
    _add_provenance(run, {**facts, "seconds_in_all": round(time.time() - started, 1)})
    files.write_json(run.path / "result.json", result)
    tracker.finish({**result, "audit": facts["transfer"]})
    for name in ("best", "last"):
        if config.train.keep not in (name, "both"):
            (run.path / "weights" / f"{name}.pt").unlink(missing_ok=True)


def _add_provenance(run: directory.Run, facts: dict[str, Any]) -> None:
    """Merge ``facts`` into provenance.json."""
    recorded = run.provenance()
    dataset = {**recorded.get("dataset", {}), **facts.get("dataset", {})}
    files.write_json(run.path / "provenance.json", {**recorded, **facts, "dataset": dataset})


def _conditions(config: Config, device: int | str, git: Mapping[str, Any] | None) -> dict[str, str]:
    """What the numbers of a run depend on beside its identity: a resumed run is exact where these are as before."""
    facts, commit = provenance.hardware(device), git or {}
    changes = f" with changes {commit['diff_sha256'][:8]}" if "diff_sha256" in commit else ""
    versions = provenance.versions()
    return {
        **{name: text for name, text in versions.items() if name not in ("hydra-core", "omegaconf", "wandb")},
        "commit": f"{str(commit.get('commit', 'unknown'))[:8]}{changes}",
        "processor": str(facts.get("gpu") or f"{facts['cpu']} ({torch.backends.cpu.get_cpu_capability()})"),
        "threads": str(config.hardware.threads),
    }


def _measured(
    run: directory.Run,
    config: Config,
    device: int | str,
    tracker: Tracker,
    conditions: Mapping[str, str],
    *,
    resume: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    history, first = History(run, resumed=resume), True

    def on_epoch(row: dict[str, float]) -> None:
        nonlocal first
        if first:
            first = False
            _add_provenance(run, {"memory": packing.in_use(device)})
        history.add(row)
        tracker.epoch(row)

    def on_resume(rows: list[dict[str, float]]) -> None:
        for row in history.restore(rows):
            print(f"epoch {int(row['epoch'])} was saved, but not in history.csv: it is written there now", flush=True)
            tracker.epoch(row)

    def verify() -> Dataset:
        return fingerprints.verify(config, run.provenance()["identity"])

    dataset = verify()
    outcome = yolo.train(
        config,
        dataset,
        run.path,
        device=device,
        resume=resume,
        on_epoch=on_epoch,
        on_resume=on_resume,
        before_evaluation=verify,
        conditions=conditions,
    )
    for name in model_tasks.of(config.model).scores:
        if not math.isfinite(outcome.metrics[name]):
            raise NonFiniteLoss(f"{name} on {outcome.metrics['split']} is not finite ({outcome.metrics[name]})")
    replicates(run.path, run.provenance()["identity"]["data"], outcome.metrics["split"])
    store_pictures(run.path, dataset, outcome.metrics, config, device=device)
    hardware = {**provenance.hardware(device), "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    latency, timed_run = latency_of_network(run, config, hardware, outcome.model, device)
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
            **latency,
            "peak_memory_mb": outcome.peak_memory_mb,
            "train_seconds": outcome.train_seconds,
        },
        "epochs": config.train.epochs,
        "imgsz": config.train.imgsz,
        "batch": outcome.batch,
        "resumed": resume,
    }
    verify()
    facts = {
        "hardware": hardware,
        "latency_of": timed_run,
        "dataset": {
            "name": dataset.name,
            "names": {str(key): name for key, name in dataset.names.items()},
            "split_made": dataset.split_made,
            "headline": asdict(headline(dataset)),
        },
        "transfer": outcome.audit,
        "seed_proof": outcome.seed_proof,
        **({"resumed_with": outcome.changes} if outcome.changes else {}),
        "precision": run.provenance()["identity"]["hardware"]["precision"],
        "weights": {path.name: fingerprints.digest(path) for path in (run.path / "weights").glob("*.pt")},
    }
    return result, facts


def latency_of_network(
    run: directory.Run, config: Config, hardware: dict[str, Any], model: nn.Module, device: int | str
) -> tuple[dict[str, Any], str]:
    """The latencies of the network, and the name of the run in which they were measured.

    Seeds share a network, so it is timed once: a finished run of the folder with the same network, machine, packages
    and threads passes its figures on. Figures measured beside other runs are not passed on to a run that is alone.
    """
    asked = config.hardware
    own_gpu = asked.executor != "local" and device != "cpu" and asked.gpus_per_run >= 1
    alone = asked.runs_at_once == 1 or own_gpu
    compared = _network_and_machine({**run.provenance(), "hardware": hardware})
    label = run.name.rsplit("-s", 1)[0]
    for other in map(directory.Run, sorted(run.path.parent.glob(f"{glob.escape(label)}-s*"))):
        cost, facts = (other.result() or {}).get("cost", {}), other.provenance()
        usable = cost.get("latency_ms_b1") is not None and (cost.get("latency_alone", True) or not alone)
        if usable and other.is_done() and _network_and_machine(facts) == compared:
            latency = {key: value for key, value in cost.items() if key.startswith("latency")}
            return latency, facts.get("latency_of") or other.name
    return {**timings(model, config.train.imgsz, device), "latency_alone": alone}, run.name


def _network_and_machine(provenance: dict[str, Any]) -> list[Any]:
    identity = {key: value for key, value in (provenance.get("identity") or {}).items() if key != "seed"}
    threads = (provenance.get("environment") or {}).get("OMP_NUM_THREADS")
    return [identity, provenance.get("hardware"), provenance.get("versions"), threads]


def _explained(error: BaseException, run: directory.Run, config: Config) -> BaseException:
    """``error``; or ChangedError if files have changed, which is then why; or MemoryError that names keys to change;
    or, of a loader's worker that ended, torch's error that names its signal.
    """
    error = cause_of(error)
    if isinstance(error, Exception) and not isinstance(error, (ChangedError, CheckpointError)):
        try:
            fingerprints.verify(config, run.provenance()["identity"])
        except ChangedError as changed:
            return changed
        except Exception:
            return error
    if type(error).__name__ != "OutOfMemoryError":
        return error
    train = config.train
    return MemoryError(f"out of memory at train.batch={train.batch} train.imgsz={train.imgsz}: {error}")
