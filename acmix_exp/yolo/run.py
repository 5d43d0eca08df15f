"""Train one run, then evaluate it once. ultralytics and torch are imported when a run starts, not before."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acmix_exp import model_tasks
from acmix_exp.config import Config
from acmix_exp.data import Dataset, headline
from acmix_exp.files import cache_dir, replacing
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.yolo import ranks
from acmix_exp.yolo import resume as resuming
from acmix_exp.yolo.arguments import rank_count

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Outcome:
    """Result of a run.

    metrics:        headline, of the checkpoint and split that ``acmix_exp.data.headline`` chooses. map50, map50_95,
                    precision, recall, per_class {name: {map50, map50_95}}, split, checkpoint; of a classifier top1
                    and top5 in place of these, and per_class {name: {top1, top5}}
    val_best/_last: {epoch, map50, map50_95}, or top1 and top5, of the epoch of best.pt, and of the last epoch
    audit:          names of tensors transferred, rebuilt, new, converted, unused
    seed_proof:     SHA-256 of the first training batches
    train_seconds:  over all epochs, including validation and epochs before a resume
    peak_memory_mb: MiB; allocated by torch on a GPU, resident memory of the process on a CPU
    changes:        how the conditions differed between the attempts of a resumed run; empty: they did not
    model:          the averaged (EMA) network after the last epoch: float32, eval mode, on the CPU, not fused; through
                    the float16 of last.pt where this process did not train it
    """

    metrics: dict[str, Any]
    val_best: dict[str, float]
    val_last: dict[str, float]
    audit: dict[str, list[str]]
    seed_proof: str
    train_seconds: float
    peak_memory_mb: float
    batch: int
    model: nn.Module
    changes: list[str]


def train(
    config: Config,
    dataset: Dataset,
    run_dir: Path,
    *,
    device: str | int,
    resume: bool,
    on_epoch: Callable[[dict[str, float]], None],
    on_resume: Callable[[list[dict[str, float]]], None] = lambda rows: None,
    before_evaluation: Callable[[], object] = lambda: None,
    conditions: Mapping[str, str] | None = None,
) -> Outcome:
    """Train the network of ``config`` (arm applied) and evaluate it once; writes ``run_dir/outcomes.npz``.

    device: ``"cpu"`` or a CUDA index. A run of several ranks (``ranks.py``) uses that many GPUs from it on.
    resume: continue after the last epoch saved in ``run_dir/weights``. The run then ends as if it had not stopped: on
        a CPU bit for bit, under the same ``conditions``.
    on_epoch: called with a flat row after each epoch, once its checkpoint is on disk.
    on_resume: called with the rows of the epochs that a resumed run does not repeat.
    before_evaluation: called when the last checkpoint has been written; the run resumes there if this raises.
    conditions: what the numbers depend on beside the config, such as versions; a resumed run records how they changed.

    Raises CheckpointError if there is no valid checkpoint to resume from, NonFiniteLoss, MemoryError, ConfigError, and
    ValueError for pretrained weights that do not fit.
    """
    prepare(config)
    from acmix_exp.yolo.evaluation import evaluate_checkpoint
    from acmix_exp.yolo.heads import predicts_by_headline
    from acmix_exp.yolo.trainer import BlockTrainer

    weights = run_dir / "weights"
    progress, state = resuming.restore(weights, config.train.epochs) if resume else (resuming.Progress(), None)
    if resume:
        print(f"resumed after epoch {progress.epochs}", flush=True)
        on_resume(progress.rows)
    trained = resume and state is None  # stopped after its last epoch
    if not trained:
        for change in progress.record_conditions(conditions or {}):
            print(f"not as before the interruption: {change}", flush=True)
    if not trained and rank_count(config.hardware) > 1:
        ranks.train(config, run_dir, device=device, resume=resume, on_epoch=on_epoch, conditions=conditions or {})
        progress, _ = resuming.restore(weights, config.train.epochs)
        trained = True
    if trained:
        model, _ = resuming.load(weights / "last.pt")
    else:
        trainer = BlockTrainer(config, dataset, run_dir, device, on_epoch, progress, state)
        trainer.train()
        model, progress = trainer.ema.ema.cpu().float().eval(), trainer.progress
        model.criterion = None
        del trainer  # frees its loaders, cached images and optimizer before the evaluation
    val_best, val_last = (
        {key: progress.rows[epoch - 1][key] for key in ("epoch", *model_tasks.of(config.model).scores)}
        for epoch in (progress.best_epoch, progress.epochs)
    )
    before_evaluation()
    scored = headline(dataset)
    checkpoint = weights / scored.checkpoint
    metrics = evaluate_checkpoint(checkpoint, dataset, scored.split, config, device, outcomes=run_dir / OUTCOMES)
    predicts_by_headline(model, config)  # its costs are measured
    _strip(weights)
    return Outcome(
        metrics=metrics,
        val_best=val_best,
        val_last=val_last,
        audit=progress.audit,
        seed_proof=progress.seed_proof,
        train_seconds=sum(row["seconds"] for row in progress.rows),
        peak_memory_mb=progress.peak_memory_mb,
        batch=config.train.batch,
        model=model,
        changes=progress.changes,
    )


def prepare(config: Config | None = None) -> None:
    """Prepare the import of ultralytics: call before a module that imports it is imported.

    Sets the environment variables that are unset: no network, no installs, and a settings folder in the cache folder of
    this package, because the import writes a missing settings file and migrates an old one.

    ``config``: of the run whose checkpoints will be read, with the arm applied, or None. Its user-defined block is
    imported.
    """
    if "ultralytics" not in sys.modules:  # once imported, it no longer reads them
        settings = cache_dir() / "ultralytics"
        try:
            settings.mkdir(parents=True, exist_ok=True)
        except OSError:
            settings = Path(tempfile.mkdtemp(prefix="acmix_exp-"))
        os.environ.setdefault("YOLO_OFFLINE", "true")
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")
        os.environ.setdefault("YOLO_CONFIG_DIR", str(settings))
    if config is None:
        return
    from acmix_exp import custom_block
    from acmix_exp.yolo import checkpoints
    from acmix_exp.yolo.sites import sites_of

    checkpoints.restrict(not config.allow_unsafe_checkpoint)
    for inserted, sites in sites_of(config):
        if custom_block.is_custom(inserted.block):
            checkpoints.allow_block(inserted.block, [site.channels for site in sites])


def _strip(weights: Path) -> None:
    """Remove the optimizer's state from the checkpoints, each replaced atomically. Raises OSError."""
    from ultralytics.utils.torch_utils import strip_optimizer

    from acmix_exp.yolo import checkpoints

    for path in (weights / "best.pt", weights / "last.pt"):
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            if path.exists():
                checkpoints.verify(path)
            if path.exists() and strip_optimizer(path, s=str(temporary)):
                os.replace(temporary, path)
        except RuntimeError:  # of torch, which does not say why it cannot write: an equally long file does
            temporary.unlink(missing_ok=True)
            with replacing(temporary) as trial:
                trial.write(path.read_bytes())
            raise
        finally:
            temporary.unlink(missing_ok=True)
