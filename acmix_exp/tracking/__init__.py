"""The W&B run of a training job. wandb itself is imported when a run starts."""

from acmix_exp.tracking.settings import Mode, choose_mode
from acmix_exp.tracking.tracker import Tracker

__all__ = ["Mode", "Tracker", "choose_mode"]
