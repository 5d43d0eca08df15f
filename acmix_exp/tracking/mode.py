"""Which W&B mode a run gets, decided without importing wandb."""

from __future__ import annotations

import configparser
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

# The public server goes by either name: a login stored for one serves the other.
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
    """mode: online | offline | disabled; warning: why it is not the one asked for, or None."""

    mode: str
    warning: str | None = None


def choose_mode(configured: str, environ: Mapping[str, str]) -> Mode:
    """The mode for ``logger.mode`` = auto | online | offline | disabled.

    auto: WANDB_MODE where it is set, else what ``wandb offline`` or ``wandb disabled`` left in the settings
    files, else online where credentials are configured for the server, else offline. Explicit values beat
    WANDB_MODE. Online without credentials becomes offline with a warning: wandb would ask for a key or raise.
    """
    if configured in ("offline", "disabled"):
        return Mode(configured)
    asked = "online" if configured == "online" else ""
    source = "logger.mode=online"
    if not asked and (value := environ.get("WANDB_MODE", "").strip()):
        source = f"WANDB_MODE={value}"
        asked = WANDB_MODES.get(value.lower(), "")
        if not asked:
            return Mode("offline", f"{source} is none of {', '.join(WANDB_MODES)}: W&B stays offline")
    stored = _settings(environ)
    if not asked:
        asked = WANDB_MODES.get(stored.get("mode", ""), "")
        if asked == "online":  # what `wandb online` writes is permission, not a wish
            asked = ""
    if asked in ("offline", "disabled"):
        return Mode(asked)
    if has_credentials(environ):
        return Mode("online")
    if asked == "online":
        return Mode("offline", f"{source}, but no W&B key is configured (wandb login): W&B stays offline")
    return Mode("offline")


def base_url(environ: Mapping[str, str]) -> str:
    """The W&B server: WANDB_BASE_URL, else what ``wandb login --host`` stored, else the public one."""
    url = environ.get("WANDB_BASE_URL") or _settings(environ).get("base_url") or DEFAULT_URL
    return url.rstrip("/")


def has_credentials(environ: Mapping[str, str]) -> bool:
    """Whether a key or an identity token is configured for the server, by any of the ways wandb looks."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if _settings(environ).get("api_key"):
        return True
    host = urlsplit(base_url(environ)).netloc
    hosts = PUBLIC_HOSTS if host in PUBLIC_HOSTS else (host,)
    try:
        entries = netrc.netrc(_netrc_path(environ))
        found = [entries.authenticators(name) for name in hosts]
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    return any(entry is not None and bool(entry[2]) for entry in found)


def _netrc_path(environ: Mapping[str, str]) -> Path:
    if named := environ.get("NETRC"):
        return Path(named).expanduser()
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    usual, windows = home / ".netrc", home / "_netrc"
    return windows if windows.exists() and not usual.exists() else usual


def _settings(environ: Mapping[str, str]) -> dict[str, str]:
    """What wandb's own settings files hold: the user's, then the working directory's."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))
    user = Path(environ.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb").expanduser() / "settings"
    parser = configparser.ConfigParser(interpolation=None)
    for path in (user, Path("wandb") / "settings"):
        try:
            parser.read(path)
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue  # wandb, too, takes a broken file for an empty one
    return dict(parser["default"]) if parser.has_section("default") else {}
