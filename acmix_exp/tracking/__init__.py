"""W&B runs. Errors in here never fail a training run; wandb is imported when a W&B run starts.

Read variables.py (what the environment asks for), tracker.py (one W&B run), settings.py (its mode and settings),
summary.py (result.json as a W&B summary), then experiment_run.py (the W&B run of a report).
"""

from acmix_exp.tracking.settings import Mode, choose_mode
from acmix_exp.tracking.tracker import Tracker
from acmix_exp.tracking.variables import filled, is_disabled, remarks

__all__ = ["Mode", "Tracker", "choose_mode", "filled", "is_disabled", "remarks"]
