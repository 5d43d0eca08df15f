"""What every test runs under: one thread, no network services, nothing written outside the session's folder.

The environment is set at import, before a test module can import torch, ultralytics or wandb: they read it
once.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
FOLDERS = {
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "MPLCONFIGDIR": "matplotlib",
    "YOLO_CONFIG_DIR": "ultralytics",
    "WANDB_DIR": "wandb",
    "WANDB_CACHE_DIR": "wandb",
    "WANDB_CONFIG_DIR": "wandb",
    "WANDB_DATA_DIR": "wandb",
}
PREFIXES = ("HYDRA_", "ULTRALYTICS_", "WANDB_", "YOLO_")
SESSION = "ACMIX_EXP_TEST_SESSION"  # parallel workers inherit it: the embedded data set is made once for all


def _session_folder() -> Path:
    if SESSION not in os.environ:
        os.environ[SESSION] = tempfile.mkdtemp(prefix="acmix_exp-tests-")
        atexit.register(shutil.rmtree, os.environ[SESSION], ignore_errors=True)
    return Path(os.environ[SESSION])


def _set_environment(folder: Path) -> None:
    for key in list(os.environ):
        if key.startswith(PREFIXES) or key in ("FORCE_COLOR", "CLICOLOR_FORCE"):
            del os.environ[key]
    for key, name in FOLDERS.items():
        (folder / name).mkdir(exist_ok=True)
        os.environ[key] = str(folder / name)
    os.environ.update(
        WANDB_MODE="offline",
        WANDB_SILENT="true",
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        OMP_NUM_THREADS="1",
        # A child started from another folder tests this checkout too.
        PYTHONPATH=os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")])),
    )


def _interpret_triton() -> None:
    """Without a GPU the Triton kernels run in Triton's interpreter. The switch is read when they are imported."""
    from acmix_exp.experiment.device import cuda_devices

    if not cuda_devices():
        os.environ["TRITON_INTERPRET"] = "1"


def _heed_ctrl_c() -> None:
    """A test session in the background of a script has SIGINT ignored, and so would every child that a test stops."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_set_environment(_session_folder())
_interpret_triton()
_heed_ctrl_c()
