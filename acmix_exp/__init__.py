"""Ablation experiments for attention blocks in YOLO detectors.

``load`` reads an experiment, ``build`` makes a network, ``nn`` holds the blocks, ``ops`` the operators, and ``errors``
what is raised. Each is imported when it is used.
"""

import os
import sys

from acmix_exp import early

__version__ = "0.2.0"
__all__ = ["Study", "build", "errors", "load", "nn", "ops"]

TYPE_CHECKING = False  # not from typing: nothing is imported before early.refuse
if TYPE_CHECKING:
    from acmix_exp import errors, nn, ops
    from acmix_exp.report.study import Study, load
    from acmix_exp.yolo.stock_api import build


def __getattr__(name: str) -> object:
    from importlib import import_module

    places = {"Study": "report.study", "load": "report.study", "build": "yolo.stock_api"}
    if name not in __all__:
        raise AttributeError(f"module 'acmix_exp' has no attribute {name!r}; it has {', '.join(__all__)}")
    module = import_module(f"acmix_exp.{places.get(name, name)}")
    return getattr(module, name) if name in places else module


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def _is_own_process() -> bool:
    """Whether this is the command line or a child process of it, which register the classes when they need them."""
    if "ACMIX_EXP_USER_YOLO_CONFIG_DIR" in os.environ:  # child.py sets it, and restricted loading, for every child
        return True
    program = (getattr(sys, "argv", None) or [""])[0]
    if program == "-m":  # with `python -m` the package is imported before sys.argv names the module
        return any(word.removeprefix("-m").split(".")[0] == "acmix_exp" for word in sys.orig_argv)
    return os.path.splitext(os.path.basename(program))[0] == "acmix-exp"


if _is_own_process() and "ACMIX_EXP_USER_YOLO_CONFIG_DIR" not in os.environ:
    early.refuse(sys.argv[1:])

from acmix_exp import moved  # noqa: E402

moved.install()

# The opt-in of ultralytics to restricted loading: only then does this import torch.
_RESTRICTED = os.environ.get("ULTRALYTICS_SAFE_LOAD", "").strip().lower() in {"1", "true", "yes", "on", "y", "t"}
if _RESTRICTED and not _is_own_process():
    from acmix_exp.yolo.safe_globals import register

    register()
