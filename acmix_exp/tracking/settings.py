"""W&B settings: the mode of a run; write only to the run directory; collect nothing that we did not log."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from acmix_exp.tracking.variables import MODES, NOT_DISABLED, UNKNOWN, requested_mode

DEFAULT_PROJECT = "acmix_exp"
# With the other limits below the 30 s that tracking may cost a run.
PROBE_SECONDS = 3.0
INIT_SECONDS = 9.0
TABLE_SECONDS = 6.0
FINISH_SECONDS = 9.0
UPLOAD_SECONDS = 600.0  # instead, where the user asks for artifacts


class Mode(NamedTuple):
    """mode: online, offline or disabled; warning: why it is not the requested one, or None."""

    mode: str
    warning: str | None = None


def choose_mode(configured: str, environ: Mapping[str, str]) -> Mode:
    """The mode for ``logger.mode`` = auto | online | offline | disabled, in the process that logs.

    auto: WANDB_DISABLED or WANDB_MODE of ``environ`` if set, else what ``wandb offline`` or ``wandb disabled`` stored,
    else online if there is a login for the server, else offline. Other values override the variables. Online becomes
    offline, with a warning, if there is no login, for which wandb would prompt, or if the server cannot be reached.
    """
    requested, source = configured, f"logger.mode={configured}"
    if configured == "auto":
        requested, source = requested_mode(environ)
        if requested == UNKNOWN:
            return Mode("offline", f"{source} must be one of {', '.join(MODES)}: W&B stays offline")
    if requested in ("offline", "disabled"):
        return Mode(requested)
    stored, url, has_login = _ask_wandb()
    if not requested and stored in ("offline", "disabled"):  # `wandb online` stores a permission, not a request
        return Mode(stored)
    if not has_login:
        warning = f"{source}, but there is no W&B login for {url} (wandb login): W&B stays offline"
        return Mode("offline", warning if requested else None)
    if not reachable(url):
        return Mode("offline", f"{url} cannot be reached: W&B stays offline")
    return Mode("online")


def _ask_wandb() -> tuple[str, str, bool]:
    """Stored mode and server by wandb's settings files and variables, and whether there is a login; without network."""
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib.wbauth import read_netrc_auth

    settings = wandb_setup.singleton().settings
    login = settings.api_key or settings.identity_token_file or read_netrc_auth(host=settings.base_url)
    # Old versions of wandb stored `wandb disabled` in this way, which the present one does not read.
    disabled = settings.read_system_settings().all().get("disabled", "")
    stored = "disabled" if disabled.lower() not in NOT_DISABLED else MODES.get(settings.mode, "")
    return stored, settings.base_url, bool(login)


def stored_project() -> str:
    """The project that ``wandb init`` stored in the working folder or for the user, else :data:`DEFAULT_PROJECT`."""
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings.project or DEFAULT_PROJECT


def reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection to ``url`` (http or https) opens within ``seconds``.

    True without a connection if there is a proxy, because a direct connection would prove nothing. Uses a thread,
    because resolving a name can take far longer than any socket timeout.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        return False
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return True
    connected = threading.Event()

    def connect() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            with socket.create_connection((host, port), timeout=seconds):
                connected.set()
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=connect, name="wandb-probe", daemon=True)
    thread.start()
    thread.join(seconds)
    return connected.is_set()


def environment(run_dir: Path) -> dict[str, str]:
    """The variables of the process that logs, to be set before wandb is imported: wandb-core reads them only there.

    WANDB_CONFIG_DIR and WANDB_DIR are not changed: the user's wandb settings are read from there.
    """
    folder = (run_dir / "wandb").resolve()
    return {
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_DATA_DIR": str(folder / "data"),
        "WANDB_ARTIFACT_DIR": str(folder / "artifacts"),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_CONSOLE": "off",
    }


def settings(run_dir: Path, *, system_metrics: bool = False) -> dict[str, Any]:
    """Arguments of ``wandb.Settings``: quiet, with time limits, nothing collected that we did not log.

    system_metrics: the user asked for those that wandb samples.
    """
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
        "program": "acmix_exp",  # the default is an absolute path of this machine
        "x_disable_meta": True,
        "x_disable_stats": not system_metrics,
        "x_disable_machine_info": not system_metrics,  # without it wandb takes no samples
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 0.2,  # seconds that a killed run loses at most; the default is 15
    }
