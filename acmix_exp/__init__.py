"""Trustworthy ablations of attention blocks in YOLO detectors."""

import os

__version__ = "0.1.0"

# Ultralytics' opt-in to restricted loading: only then does this import bring torch along.
if os.environ.get("ULTRALYTICS_SAFE_LOAD", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}:
    from acmix_exp.yolo.safe_globals import register

    register()
