"""Trustworthy ablations of attention blocks in YOLO detectors."""

import os
import sys

from acmix_exp import moved

__version__ = "0.2.0"

moved.install()

_OWN = "ACMIX_EXP_OWN_PROCESS"  # told to the processes that our command line starts


def _is_own_process() -> bool:
    """Our command line or one started by it: what it loads checkpoints with allows our classes by itself."""
    program = (getattr(sys, "argv", None) or [""])[0]
    if program == "-m":  # the package is imported before its module is run and named there
        return any(word.removeprefix("-m").split(".")[0] == "acmix_exp" for word in sys.orig_argv)
    return os.path.splitext(os.path.basename(program))[0] == "acmix-exp" or _OWN in os.environ


# Ultralytics' opt-in to restricted loading: only then does this import bring torch along.
if os.environ.get("ULTRALYTICS_SAFE_LOAD", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}:
    if _is_own_process():
        os.environ[_OWN] = "1"
    else:
        from acmix_exp.yolo.safe_globals import register

        register()
