"""A quick look whether the W&B server can be reached at all."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

from acmix_exp.tracking.mode import Mode, base_url

PROBE_SECONDS = 3.0


def reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a TCP connection to ``url`` (http or https) opens within ``seconds``.

    True without a look where a proxy stands between: a direct connection would prove nothing. Runs in a
    thread of its own, for a name that does not resolve can block the resolver far longer than any socket timeout.
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
    """The mode that can be had: offline, with a warning, where the server can't be reached."""
    if chosen.mode == "online" and not reachable(url := base_url(os.environ)):
        return Mode("offline", f"{url} cannot be reached: W&B stays offline")
    return chosen
