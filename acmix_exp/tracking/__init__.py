"""W&B runs. Errors in here never fail a training run; wandb is imported when a W&B run starts.

Read tracker.py (one W&B run), settings.py (its mode and settings), summary.py (result.json as a W&B summary), then
experiment_run.py (the W&B run of a report).
"""

from acmix_exp.tracking.settings import Mode, choose_mode, is_disabled
from acmix_exp.tracking.tracker import Tracker

__all__ = ["Mode", "Tracker", "choose_mode", "is_disabled"]
