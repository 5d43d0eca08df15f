"""The whole state of a training at the end of an epoch: a run that goes on from it ends as if it had never stopped.

Weights and their average in full precision, optimizer, scheduler, scaler, and of every process its random numbers and
buffers. The loaders have no state: samples are a function of seed, epoch and index (sampling.py).
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed
from ultralytics.utils.torch_utils import unwrap_model

from acmix_exp.errors import CheckpointError, damage_of
from acmix_exp.files import replacing
from acmix_exp.yolo import checkpoints

if TYPE_CHECKING:
    from acmix_exp.yolo.trainer import BlockTrainer

FORMAT = 1
UNFIT = (
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
)  # what parts of another network's state raise


def write(path: Path, trainer: BlockTrainer, processes: list[dict[str, Any]]) -> None:
    """Replace the file by the state after the trainer's epoch; ``processes`` is of :func:`gather`. Raises OSError."""
    network, stopper = unwrap_model(trainer.model), trainer.stopper
    state = {
        "format": FORMAT,
        "epoch": trainer.epoch + 1,
        "model": network.state_dict(),
        "ema": trainer.ema.ema.state_dict(),
        "ema_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": trainer.scheduler.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_fitness": float(trainer.best_fitness),
        "stopper": {"best_fitness": float(stopper.best_fitness), "best_epoch": int(stopper.best_epoch)},
        "loss_updates": getattr(getattr(network, "criterion", None), "updates", None),
        "processes": processes,
    }
    with replacing(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # of torch, which hides why the file could not be written
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read(path: Path) -> dict[str, Any]:
    """What :func:`write` wrote; tensors on the CPU. Raises CheckpointError, and ConfigError if it could run code."""
    with damage_of(path):
        checkpoints.verify(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT or not isinstance(state["epoch"], int):
            raise ValueError("of another format")
    return dict(state)


def restore(trainer: BlockTrainer, state: dict[str, Any]) -> None:
    """Put the trainer, set up for its first epoch, behind the state's epoch; random numbers are for later.

    Raises CheckpointError if it is of another network or optimizer.
    """
    network = unwrap_model(trainer.model)
    try:
        network.load_state_dict(state["model"])
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(_of_this_process(state)["buffers"][name])
        trainer.ema.ema.load_state_dict(state["ema"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scheduler.load_state_dict(state["scheduler"])
        trainer.scaler.load_state_dict(state["scaler"])
        trainer.stopper.__dict__.update(state["stopper"])
    except UNFIT as error:
        raise CheckpointError(f"weights/{trainer.state_path.name}: does not fit the network ({error})") from error
    trainer.ema.updates, trainer.best_fitness = state["ema_updates"], state["best_fitness"]
    trainer.start_epoch = state["epoch"]
    if state["loss_updates"] is not None:  # the weights of such a loss change with the epoch
        network.criterion = network.init_criterion()
        network.criterion.updates = state["loss_updates"] - 1
        network.criterion.update()


def restore_random(device: torch.device, state: dict[str, Any]) -> None:
    """Set the random numbers of Python, numpy and torch, on the CPU and the device. Raises CheckpointError."""
    try:
        numbers = _of_this_process(state)["random"]
        version, words, position = numbers["python"]
        random.setstate((version, tuple(words.tolist()), position))
        kind, keys, *rest = numbers["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(numbers["torch"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(numbers["device"], device)
    except UNFIT as error:
        raise CheckpointError(f"no random numbers of this process were saved ({error})") from error


def gather(trainer: BlockTrainer) -> list[dict[str, Any]]:
    """What each process of a run has of its own, by rank. In distributed training every process must call this."""
    version, words, position = random.getstate()
    keys: Any
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    own = {
        "random": {
            "python": (version, torch.tensor(words), position),
            "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
            "torch": torch.get_rng_state(),
            "device": torch.cuda.get_rng_state(trainer.device) if trainer.device.type == "cuda" else None,
        },
        "buffers": {name: buffer.cpu() for name, buffer in unwrap_model(trainer.model).named_buffers()},
    }
    if not distributed.is_initialized():
        return [own]
    everyone: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(everyone, own)
    return everyone


def _of_this_process(state: dict[str, Any]) -> dict[str, Any]:
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    return dict(state["processes"][rank])
