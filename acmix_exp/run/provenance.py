"""Provenance of a run: versions, environment, hardware, commit and uncommitted changes, with secrets masked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import acmix_exp
from acmix_exp import installed
from acmix_exp.child import RESTRICTED
from acmix_exp.files import write_text

PACKAGES = {  # that a result depends on -> the module of each
    "torch": "torch",
    "torchvision": "torchvision",
    "ultralytics": "ultralytics",
    "hydra-core": "hydra",
    "omegaconf": "omegaconf",
    "numpy": "numpy",
    "opencv-python": "cv2",
    "wandb": "wandb",
    "scipy": "scipy",
    "timm": "timm",
}
PREFIXES = (  # of environment variables that can change a result
    *("ATEN_", "CUBLAS_", "CUDA_", "CUDNN_", "DNNL_", "HYDRA_", "KMP_", "MKL_", "NCCL_", "NVIDIA_TF32_", "OMP_"),
    *("ONEDNN_", "OPENBLAS_", "OPENCV_", "PYTORCH_", "TORCH", "TRITON_", "ULTRALYTICS_", "YOLO_"),
)
NAMES = ("ACMIX_EXP_BACKEND", "PYTHONHASHSEED", "WANDB_MODE")
FOLDERS = ("TORCH_HOME", "YOLO_CONFIG_DIR")  # variables that name a folder only


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that a result depends on, as they are imported."""
    by_package = {"acmix_exp": acmix_exp.__version__, "python": platform.python_version()}
    written = {module.name: installed.written_version(module.path) for module in installed.in_children()}
    for name, module in PACKAGES.items():
        with contextlib.suppress(PackageNotFoundError):
            by_package[name] = written.get(module) or version(name)
    return by_package


def imported() -> dict[str, dict[str, Any]]:
    """Of ultralytics, torch and each module that is not as installed: version, path, and a hash where there is one.

    Call it in the process that trains, after its imports.
    """
    modules = [*installed.found(sys.path), *installed.modified(sys.path)]
    facts: dict[str, dict[str, Any]] = {
        module.name: {"path": module.path, "kind": module.kind, "sha256": installed.digest(module.path)}
        for module in modules
    }
    for name in ("ultralytics", "torch", *facts):
        if module := sys.modules.get(name):
            path = str(module.__file__)
            path = os.path.dirname(path) if hasattr(module, "__path__") else path
            facts.setdefault(name, {"path": path, "kind": "installed"})["version"] = getattr(
                module, "__version__", None
            )
    if "ultralytics" in facts:
        facts["ultralytics"]["pin"] = installed.PIN_TEXT
    for name, startup in installed.startup_files().items():
        facts[name] = {"path": startup, "kind": "startup", "sha256": installed.digest(startup)}
    return facts


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables that can change a result, without secrets and without names of folders."""
    return {
        name: redact(value, variables)
        for name, value in sorted(variables.items())
        if (name.startswith(PREFIXES) or name in NAMES) and name not in (*FOLDERS, *RESTRICTED) and not is_secret(name)
    }


def hardware(gpu: int | str) -> dict[str, Any]:
    """Platform, CPU, memory and GPU. ``gpu`` is the device of the run: ``cpu`` or a CUDA index."""
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": str(gpu),
    }
    if gpu != "cpu":
        import torch

        properties = torch.cuda.get_device_properties(gpu)
        facts["gpu"] = properties.name
        facts["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        facts["cuda"] = torch.version.cuda
    return facts


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


PACKAGE = Path(acmix_exp.__file__).resolve().parent
DIFF = "provenance.diff"
LIMIT = 1 << 20  # largest number of characters of a diff that is stored
_PLAIN = ("diff", "--no-color", "--no-ext-diff", "--no-textconv")


def commit(package: Path = PACKAGE) -> dict[str, Any] | None:
    """The commit, and whether the package has changes, whose hash is ``diff_sha256``. None outside a checkout."""
    return _state(package)[0]


def record(folder: Path, package: Path = PACKAGE) -> dict[str, Any] | None:
    """As :func:`commit`, and write the changes to ``folder``/provenance.diff, secrets masked, truncated to LIMIT.

    The file includes new files that git does not ignore. Without changes there is no file.
    """
    state, diff = _state(package)
    if not diff:
        (folder / DIFF).unlink(missing_ok=True)
        return state
    write_text(folder / DIFF, diff[:LIMIT])
    return {**(state or {}), "diff": DIFF, "diff_complete": len(diff) <= LIMIT}


def _state(package: Path) -> tuple[dict[str, Any] | None, str]:
    def git(folder: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        command = ["git", "-C", folder, "-c", "core.quotepath=off", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
        if result.returncode not in codes:
            raise subprocess.SubprocessError(result.stderr)
        return result.stdout

    path = str(package)
    try:
        git(path, "ls-files", "--error-unmatch", "__init__.py")
        top = git(path, "rev-parse", "--show-toplevel").rstrip("\n")
        head = git(top, "rev-parse", "HEAD").strip()
        diff = git(top, *_PLAIN, "HEAD", "--", path)
        for name in filter(None, git(top, "ls-files", "--others", "--exclude-standard", "-z", "--", path).split("\0")):
            diff += git(top, *_PLAIN, "--no-index", "--", "/dev/null", name, codes=(0, 1))
    except (OSError, subprocess.SubprocessError):
        return None, ""
    if not diff:
        return {"commit": head, "dirty": False}, ""
    diff = redact(diff)
    return {"commit": head, "dirty": True, "diff_sha256": hashlib.sha256(diff.encode()).hexdigest()}, diff


MASK = "***"
_NAMED = re.compile(r"KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)|CREDENTIAL|AUTH", re.IGNORECASE)
_LEAST = 6  # characters of a secret: a shorter value would match everywhere
_PART = r"[\w.-]{0,99}"  # bounded, because a diff may have lines of any length
_NAME = rf"(?<![\w.-]){_PART}(?:%s){_PART}[\"']?\s*"
_SECRET = r"(?:api|access|private)[_-]?key|secret|passw(?:or)?d|passphrase|credential"
_ANY = _NAME % f"{_SECRET}|token"
_BARE = r"[^\s\"'()\[\]{},;#<>*]"  # a character of an unquoted value that is not an expression
_PATTERNS = [
    (re.compile(r"\b(\w+://)[^/\s@'\"]+@"), rf"\1{MASK}@"),  # user and password in a URL
    (re.compile(rf"(?i)({_ANY}[:=]\s*)([\"'])[^\"'\n]{{{_LEAST},}}\2"), rf"\1\2{MASK}\2"),
    (re.compile(r"\b([A-Z_]*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)[A-Z_]*=)[^\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer )[\w.~+/=-]{16,}"), rf"\1{MASK}"),
    # A single word after a colon, up to the end of the line; names of types begin with an upper-case letter.
    (re.compile(rf"(?m)((?i:{_NAME % _SECRET}):[ \t]+)[a-z]{_BARE}{{7,}}(?=[ \t]*(?:#.*)?$)"), rf"\1{MASK}"),
]
# A value that is neither called nor indexed; the quantifier is possessive, else a prefix of it would match.
_UNQUOTED = re.compile(rf"(?i)({_ANY}[:=][ \t]*)({_BARE}{{8,}}+)(?![(\[])")


def is_secret(name: str) -> bool:
    """Whether the name of a variable implies that its value is a secret."""
    return _NAMED.search(name) is not None


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with secrets masked: values of variables with secret names, passwords in URLs, values of secrets."""
    secrets = {value for name, value in environment.items() if is_secret(name) and len(value) >= _LEAST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, masked in _PATTERNS:
        text = pattern.sub(masked, text)
    return _UNQUOTED.sub(_without_value, text)


def _without_value(match: re.Match[str]) -> str:
    """Mask an unquoted value with a digit; not a number or name after "token", a word of attention code too."""
    name, value = match.groups()
    is_code = "token" in name.lower() and re.fullmatch(r"-?[\d._e+-]+|[A-Za-z_][\w.]{,19}", value)
    return match[0] if is_code or not re.search(r"\d", value) else f"{name}{MASK}"
