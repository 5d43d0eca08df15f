"""The mode of a run, and the places where credentials are found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_exp.tracking import choose_mode, is_disabled, settings
from tests.tracking.conftest import FAKE_KEY

KEY = {"WANDB_API_KEY": FAKE_KEY}


@pytest.fixture(autouse=True)
def urls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The servers that are asked for a connection; all can be reached."""
    urls: list[str] = []
    monkeypatch.setattr(settings, "reachable", lambda url: not urls.append(url))
    return urls


def chosen(configured: str) -> settings.Mode:
    """As a tracker chooses."""
    before = dict(os.environ)
    os.environ.pop("WANDB_MODE", None)  # wandb fails on one that it does not know
    return choose_mode(configured, before)


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
        *(
            pytest.param("auto", {**KEY, "WANDB_DISABLED": value}, "disabled", id=f"auto-WANDB_DISABLED={value}")
            for value in ("true", "True", "1", "yes", "on", " TRUE ", "disabled")
        ),
        *(
            pytest.param("auto", {**KEY, "WANDB_DISABLED": value}, "online", id=f"auto-WANDB_DISABLED={value}")
            for value in ("", " ", "false", "False", "0", "no", "off")
        ),
        pytest.param("auto", {"WANDB_DISABLED": "true", "WANDB_MODE": "online"}, "disabled", id="disabled-first"),
        pytest.param("auto", {"WANDB_DISABLED": "false", "WANDB_MODE": "offline"}, "offline", id="not-disabled"),
        pytest.param("offline", {**KEY, "WANDB_DISABLED": "true"}, "offline", id="offline-beats-WANDB_DISABLED"),
        pytest.param("online", {**KEY, "WANDB_DISABLED": "true"}, "online", id="online-beats-WANDB_DISABLED"),
        pytest.param("online", KEY, "online", id="online-key"),
        pytest.param("online", {**KEY, "WANDB_MODE": "disabled"}, "online", id="online-beats-variable"),
        pytest.param("offline", KEY, "offline", id="offline-key"),
        pytest.param("disabled", KEY, "disabled", id="disabled-key"),
        pytest.param("disabled", {"WANDB_MODE": "online"}, "disabled", id="disabled-beats-variable"),
    ],
)
def test_mode(configured: str, environ: dict[str, str], mode: str, urls: list[str]) -> None:
    os.environ.update(environ)
    assert is_disabled(configured) == (mode == "disabled")
    assert chosen(configured) == (mode, None)
    assert urls == (["https://api.forge.coreweave.com"] if mode == "online" else []), "nobody else is contacted"


@pytest.mark.parametrize(
    ("configured", "environ"),
    [("online", {}), ("auto", {"WANDB_MODE": "online"}), ("auto", {"WANDB_MODE": "sometimes", **KEY})],
)
def test_online_without_credentials_is_offline_with_a_warning(configured: str, environ: dict[str, str]) -> None:
    os.environ.update(environ)
    mode, warning = chosen(configured)
    assert mode == "offline"
    assert warning
    assert "\n" not in warning


@pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
def test_netrc_of_the_public_server(host: str, home: Path) -> None:
    if host != "api.wandb.ai":
        (home / ".netrc").write_text(f"machine example.org\n  login user\n  password {FAKE_KEY}\n")
        assert chosen("auto").mode == "offline"
    (home / ".netrc").write_text(f"machine {host}\n  login user\n  password {FAKE_KEY}\n")
    assert chosen("auto").mode == "online"


def test_netrc_of_another_server(home: Path, urls: list[str]) -> None:
    os.environ["WANDB_BASE_URL"] = "https://example.org/"
    (home / ".netrc").write_text(f"machine example.org\n  login user\n  password {FAKE_KEY}\n")
    assert chosen("auto").mode == "online"
    assert urls == ["https://example.org"]


def test_netrc_by_variable(home: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text(f"machine api.wandb.ai\n  login user\n  password {FAKE_KEY}\n")
    os.environ["NETRC"] = str(tmp_path / "other")
    assert chosen("auto").mode == "online"


def test_damaged_netrc(home: Path) -> None:
    (home / ".netrc").write_text("machine\n  nonsense here\n")
    assert chosen("auto") == ("offline", None)


@pytest.mark.parametrize(
    ("text", "variable", "mode"),
    [
        ("[default]\nmode = offline\n", "", "offline"),
        ("[default]\nmode = disabled\n", "", "disabled"),
        ("[default]\nmode = online\n", "", "online"),
        ("[default]\nmode = offline\n", "online", "online"),
        ("no section at all", "", "online"),
        ("[default]\ndisabled = true\n", "", "disabled"),
        ("[default]\ndisabled = false\n", "", "online"),
    ],
)
def test_mode_that_wandb_offline_stored(text: str, variable: str, mode: str, home: Path) -> None:
    os.environ.update({**KEY, "WANDB_MODE": variable})
    file = home / "wandb" / "settings"  # in the working folder
    file.parent.mkdir()
    file.write_text(text)
    assert chosen("auto").mode == mode
    assert file.read_text() == text


def test_server_that_wandb_login_stored(home: Path, urls: list[str]) -> None:
    os.environ.update(KEY)
    file = home / ".config" / "wandb" / "settings"
    file.parent.mkdir(parents=True)
    file.write_text("[default]\nbase_url = https://wandb.example.org\n")
    assert chosen("auto").mode == "online"
    assert urls == ["https://wandb.example.org"]
    assert file.read_text() == "[default]\nbase_url = https://wandb.example.org\n"


def test_the_parent_imports_no_wandb() -> None:
    code = (
        "import sys; from acmix_exp.tracking import choose_mode, is_disabled; is_disabled('auto');"
        "choose_mode('offline', {}); choose_mode('auto', {'WANDB_DISABLED': 'true'});"
        "sys.exit(any(name in sys.modules for name in ('wandb', 'torch', 'hydra')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
