"""What wandb is told, so that it stays inside the run directory and keeps to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# In the worst case the probe (3 s) and these three stay below the 30 s that tracking may cost a run.
INIT_SECONDS = 9.0
TABLE_SECONDS = 6.0
FINISH_SECONDS = 9.0


def environment(run_dir: Path) -> dict[str, str]:
    """The variables for the training process: what wandb-core and wandb's early output read from there alone.

    WANDB_CONFIG_DIR is left as it is: nothing is written there, and the user's server is read from it.
    """
    home = (run_dir / "wandb").resolve()
    return {
        "WANDB_DIR": str(run_dir.resolve()),
        "WANDB_CACHE_DIR": str(home / "cache"),
        "WANDB_DATA_DIR": str(home / "data"),
        "WANDB_ARTIFACT_DIR": str(home / "artifacts"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_CONSOLE": "off",
    }


def settings(run_dir: Path) -> dict[str, Any]:
    """Arguments of ``wandb.Settings``: quiet, bounded in time, nothing collected that we did not log."""
    return {
        "root_dir": str(run_dir.resolve()),
        "use_dot_wandb": False,
        "symlink": False,
        "allow_val_change": True,  # a resumed run may continue on other hardware
        "init_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "console": "off",
        "silent": True,
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        "label_disable": True,
        "sagemaker_disable": True,
        "host": "",
        "program": "acmix_exp",  # its default is an absolute path of this machine
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 0.2,  # what a killed run loses at most; the default is 15 s
    }
