"""W&B mode and settings: write only to the run directory, and collect nothing but what is logged explicitly."""

from __future__ import annotations

import configparser
import netrc
import os
import socket
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# Two names of the public server: a login stored for one is valid for the other.
DEFAULT_URL = "https://api.forge.coreweave.com"
PUBLIC_HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")

WANDB_MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


class Mode(NamedTuple):
    """mode: online | offline | disabled; warning: why it is not the configured mode, or None."""

    mode: str
    warning: str | None = None


def choose_mode(configured: str, environ: Mapping[str, str]) -> Mode:
    """The mode for ``logger.mode`` = auto | online | offline | disabled.

    auto: WANDB_MODE if it is set, else what ``wandb offline`` or ``wandb disabled`` wrote to the settings files,
    else online if credentials are configured for the server, else offline. Explicit values of ``logger.mode`` take
    precedence. Online without credentials becomes offline with a warning, because wandb would ask for a key or raise.
    """
    if configured in ("offline", "disabled"):
        return Mode(configured)
    requested = "online" if configured == "online" else ""
    source = "logger.mode=online"
    if not requested and (value := environ.get("WANDB_MODE", "").strip()):
        source = f"WANDB_MODE={value}"
        requested = WANDB_MODES.get(value.lower(), "")
        if not requested:
            return Mode("offline", f"{source}: must be one of {', '.join(WANDB_MODES)}; W&B stays offline")
    if not requested:
        requested = WANDB_MODES.get(_settings(environ).get("mode", ""), "")
        if requested == "online":  # "online" in the settings file permits online mode, it does not request it
            requested = ""
    if requested in ("offline", "disabled"):
        return Mode(requested)
    if has_credentials(environ):
        return Mode("online")
    if requested == "online":
        return Mode("offline", f"{source}, but no W&B key is configured (wandb login): W&B stays offline")
    return Mode("offline")


def base_url(environ: Mapping[str, str]) -> str:
    """URL of the W&B server: WANDB_BASE_URL, else the host stored by ``wandb login --host``, else the public server."""
    url = environ.get("WANDB_BASE_URL") or _settings(environ).get("base_url") or DEFAULT_URL
    return url.rstrip("/")


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Whether a key or an identity token is configured for the server, in any place that wandb reads."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if _settings(environ).get("api_key"):
        return True
    host = urlsplit(base_url(environ)).netloc
    hosts = PUBLIC_HOSTS if host in PUBLIC_HOSTS else (host,)
    try:
        entries = netrc.netrc(_netrc_path(environ))
        logins = [entries.authenticators(name) for name in hosts]
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return any(login is not None and bool(login[2]) for login in logins)


def _netrc_path(environ: Mapping[str, str]) -> Path:
    if named := environ.get("NETRC"):
        return Path(named).expanduser()
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    usual, windows = home / ".netrc", home / "_netrc"
    return windows if windows.exists() and not usual.exists() else usual


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Values of wandb's settings files: that of the user, then that of the working directory."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    user = Path(environ.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb").expanduser() / "settings"
    parser = configparser.ConfigParser(interpolation=None)
    for path in (user, Path("wandb") / "settings"):
        try:
            parser.read(path)
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue  # as wandb does
    return dict(parser["default"]) if parser.has_section("default") else {}


PROBE_SECONDS = 3.0


def reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection to ``url`` (http or https) opens within ``seconds``.

    True without a test if a proxy is configured, because a direct connection would prove nothing. The connection is
    opened in a separate thread, because resolving a name can take far longer than any socket timeout.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        return False
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return True
    answer = threading.Event()

    def connect() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            with socket.create_connection((host, port), timeout=seconds):
                answer.set()
        except (OSError, ValueError):
            pass

    thread = threading.Thread(target=connect, name="wandb-probe", daemon=True)
    thread.start()
    thread.join(seconds)
    return answer.is_set()


def available(chosen: Mode) -> Mode:
    """``chosen``, or offline with a warning if the server cannot be reached."""
    if chosen.mode == "online" and not reachable(url := base_url(os.environ)):
        return Mode("offline", f"{url} cannot be reached: W&B stays offline")
    return chosen


# Together with the probe (3 s) these stay below 30 s, the most that tracking may cost a run.
INIT_SECONDS = 9.0
TABLE_SECONDS = 6.0
FINISH_SECONDS = 9.0


def environment(run_dir: Path) -> dict[str, str]:
    """Environment variables for the training process: settings that wandb-core reads only from there.

    WANDB_CONFIG_DIR is not changed: nothing is written there, and the user's server is read from it.
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
    """Arguments of ``wandb.Settings``: quiet, with time limits, and collecting only what is logged explicitly."""
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
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
        "x_transaction_log_flush_interval": 0.2,  # seconds of rows that a killed run can lose; the default is 15
    }
