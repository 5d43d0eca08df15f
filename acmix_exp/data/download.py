"""Fetching a data set: a plain zip by urllib, anything else by ultralytics' own script in a child process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path

from acmix_exp.data.folders import appearing

_TIMEOUT = 20.0  # seconds without a byte
_SCRIPT = """
import sys
from ultralytics.data.utils import check_det_dataset
check_det_dataset(sys.argv[1])
"""


class DownloadError(RuntimeError):
    """Why a download failed, in one line."""


def download_zip(url: str, folder: Path) -> None:
    """Download a zip and make ``folder`` of the one folder in it. Raises DownloadError, OSError."""
    _refuse_offline()
    with appearing(folder) as made, tempfile.TemporaryFile() as file:
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
                shutil.copyfileobj(response, file)
        except (OSError, ValueError) as error:
            raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from None
        try:
            with zipfile.ZipFile(file) as archive:
                for member in archive.namelist():
                    inside = Path(*Path(member).parts[1:])  # without the top folder
                    if member.endswith("/") or not Path(member).parts[1:] or ".." in inside.parts:
                        continue
                    place = made / inside
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(archive.read(member))
        except zipfile.BadZipFile:
            raise DownloadError(f"{url}: not a zip file") from None


def download_by_script(definition: Path, folder: Path) -> None:
    """Let ultralytics run the download of a data.yaml, and make ``folder`` of what it brings.

    It runs as a child with settings of its own, whose datasets folder lies beside ``folder``: the user's
    settings stay untouched and nobody sees a half downloaded set. Raises DownloadError, OSError.
    """
    _refuse_offline()
    with appearing(folder) as made, tempfile.TemporaryDirectory() as scratch:
        datasets = made / "datasets"
        datasets.mkdir()
        settings = Path(scratch, "Ultralytics", "settings.json")
        settings.parent.mkdir()
        settings.write_text(json.dumps({"datasets_dir": str(datasets), "sync": False}))
        environment = {**os.environ, "YOLO_CONFIG_DIR": scratch, "YOLO_AUTOINSTALL": "false"}
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(definition)],
            env=environment,
            cwd=scratch,
            stdout=sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            raise DownloadError(lines[-1] if lines else f"ultralytics ended with exit code {done.returncode}")
        for item in sorted((datasets / folder.name).iterdir()):
            shutil.move(item, made / item.name)
        shutil.rmtree(datasets)


def _refuse_offline() -> None:
    if os.environ.get("YOLO_OFFLINE", "").lower() == "true":
        raise DownloadError("YOLO_OFFLINE is set")
