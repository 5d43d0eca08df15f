"""The mode of a run, and the places where credentials are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp.tracking.settings import DEFAULT_URL, base_url, choose_mode, has_credentials

KEY = {"WANDB_API_KEY": "k" * 40}


@pytest.mark.parametrize(
    ("configured", "environ", "mode"),
    [
        pytest.param("auto", {}, "offline", id="auto-no-key"),
        pytest.param("auto", KEY, "online", id="auto-key"),
        pytest.param("auto", {**KEY, "WANDB_MODE": "offline"}, "offline", id="auto-variable-offline"),
        pytest.param("auto", {**KEY, "WANDB_MODE": "dryrun"}, "offline", id="auto-variable-dryrun"),
        pytest.param("auto", {**KEY, "WANDB_MODE": "disabled"}, "disabled", id="auto-variable-disabled"),
        pytest.param("auto", {**KEY, "WANDB_MODE": "run"}, "online", id="auto-variable-run"),
        pytest.param("auto", {**KEY, "WANDB_MODE": ""}, "online", id="auto-variable-empty"),
        pytest.param("online", KEY, "online", id="online-key"),
        pytest.param("online", {**KEY, "WANDB_MODE": "disabled"}, "online", id="online-beats-variable"),
        pytest.param("offline", KEY, "offline", id="offline-key"),
        pytest.param("disabled", KEY, "disabled", id="disabled-key"),
        pytest.param("disabled", {"WANDB_MODE": "online"}, "disabled", id="disabled-beats-variable"),
    ],
)
def test_mode(configured: str, environ: dict[str, str], mode: str, home: Path) -> None:
    chosen = choose_mode(configured, {"HOME": str(home), **environ})
    assert chosen.mode == mode
    assert chosen.warning is None


@pytest.mark.parametrize(
    ("configured", "environ"),
    [("online", {}), ("auto", {"WANDB_MODE": "online"}), ("auto", {"WANDB_MODE": "sometimes", **KEY})],
)
def test_online_without_credentials_is_offline_with_a_warning(
    configured: str, environ: dict[str, str], home: Path
) -> None:
    chosen = choose_mode(configured, {"HOME": str(home), **environ})
    assert chosen.mode == "offline"
    assert chosen.warning
    assert "\n" not in chosen.warning


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
def test_netrc_of_the_public_server(host: str, home: Path) -> None:
    (home / ".netrc").write_text(f"machine {host}\n  login user\n  password {'k' * 40}\n")
    assert has_credentials({"HOME": str(home)})


def test_netrc_of_another_server_does_not_count(home: Path) -> None:
    (home / ".netrc").write_text("machine example.org\n  login user\n  password secret\n")
    environ = {"HOME": str(home)}
    assert not has_credentials(environ)
    assert has_credentials({**environ, "WANDB_BASE_URL": "https://example.org/"})


def test_netrc_by_variable_and_broken_netrc(home: Path, tmp_path: Path) -> None:
    (home / ".netrc").write_text("machine\n  nonsense here\n")
    assert not has_credentials({"HOME": str(home)})
    other = tmp_path / "other"
    other.write_text(f"machine api.wandb.ai\n  login user\n  password {'k' * 40}\n")
    assert has_credentials({"HOME": str(home), "NETRC": str(other)})


def test_server_and_mode_of_the_settings_files(home: Path) -> None:
    environ = {"HOME": str(home), **KEY}
    user = home / ".config" / "wandb" / "settings"
    user.parent.mkdir(parents=True)
    user.write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert base_url(environ) == "https://wandb.example.org"
    assert base_url({**environ, "WANDB_BASE_URL": "http://127.0.0.1:9/"}) == "http://127.0.0.1:9"
    assert choose_mode("auto", environ).mode == "online"
    workspace = home / "wandb" / "settings"  # the working directory's, where `wandb offline` writes
    workspace.parent.mkdir()
    workspace.write_text("[default]\nmode = offline\n")
    assert choose_mode("auto", environ).mode == "offline"
    assert choose_mode("auto", {**environ, "WANDB_MODE": "online"}).mode == "online"
    workspace.write_text("no section at all")
    assert choose_mode("auto", environ).mode == "online"


def test_the_public_server_is_the_default_of_wandb() -> None:
    from wandb.sdk.lib.urls import DEFAULT_BASE_URL

    assert DEFAULT_BASE_URL == DEFAULT_URL, "change DEFAULT_URL in tracking/settings.py"


def test_choosing_the_mode_imports_no_wandb() -> None:
    code = (
        "import os, sys; from acmix_exp.tracking import choose_mode; choose_mode('auto', os.environ);"
        "sys.exit(any(name in sys.modules for name in ('wandb', 'torch', 'hydra')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
