"""Provenance of a run: enough to reproduce it, and no secrets."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from acmix_exp.run import provenance
from acmix_exp.run.directory import Run
from acmix_exp.run.provenance import redact
from acmix_exp.sweep import planning

KEY = "0123456789abcdef0123456789abcdef01234567"  # of the form that W&B's have, and none
SECRETS = {
    "WANDB_API_KEY": KEY,
    "WANDB_TOKEN": "fake-token-of-wandb",
    "YOLO_API_KEY": "fake-key-of-ultralytics",
    "ACMIX_EXP_PASSWORD": "fake-password",
    "HYDRA_REMOTE": "https://someone:fake-url-password@example.org/conf",
    "OMP_NOTE": f"mentions {KEY}",
}
VALUES = [KEY, "fake-token-of-wandb", "fake-key-of-ultralytics", "fake-password", "fake-url-password"]


def test_relevant_variables_are_recorded_and_secrets_are_not():
    plain = {"OMP_NUM_THREADS": "1", "NCCL_DEBUG": "WARN", "WANDB_MODE": "offline", "CUDA_VISIBLE_DEVICES": "-1"}
    noted = provenance.environment({**plain, **SECRETS, "HOME": "/home/someone", "YOLO_CONFIG_DIR": "/somewhere"})
    assert {name: noted.pop(name) for name in plain} == plain
    assert noted == {"HYDRA_REMOTE": "https://***@example.org/conf", "OMP_NOTE": "mentions ***"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"key is {KEY}!", "key is ***!"),
        ("git clone https://someone:fake@example.org/x", "git clone https://***@example.org/x"),
        ('api_key = "something long"', 'api_key = "***"'),
        ("+WANDB_API_KEY=abc123 make", "+WANDB_API_KEY=*** make"),
        ("'secret': 'something long'", "'secret': '***'"),
        ("+api_key: abc123def456", "+api_key: ***"),
        ("-  x-api-key: abcdefgh  # of mine\n y: 1", "-  x-api-key: ***  # of mine\n y: 1"),
        ("run logger.api_key=abc123de seed=1", "run logger.api_key=*** seed=1"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPx", "aws_secret_access_key = ***"),
        ("token: hf_abcdefghijklmnop123", "token: ***"),
        ("db_password: 12345678", "db_password: ***"),
        ("Authorization: Bearer abcdefghijklmnop", "Authorization: Bearer ***"),
    ],
)
def test_secrets_are_masked(text, expected):
    assert redact(text, SECRETS) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("token = tokens[0]", "block.head=2 seed=1", "git@example.org:a/b.git", "key=sort_key", "https://a.org/@b"),
        *("block.tokens=0.12345678", "token_mixer: nn.Conv2d", "class_token = tokens_2d,", "secret: SecretString"),
        *("num_tokens = height // 2", "api_key: str = None", "password = getpass.getpass()", "tokens: Tensor"),
        *("api_key = first_of_2(keys)", "api_key=api_key)"),
    ],
)
def test_text_without_secrets_is_not_changed(text):
    assert redact(text, {}) == text


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A committed package in a separate checkout."""
    folder = tmp_path / "project" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("VALUE = 1\n")
    who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
    for line in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(folder.parent), *line], check=True)
    return folder


def test_a_clean_checkout_has_no_diff(package, tmp_path):
    (tmp_path / "provenance.diff").write_text("of an earlier attempt")
    found = provenance.record(tmp_path, package)
    assert found == provenance.commit(package)
    assert (len(found["commit"]), found["dirty"]) == (40, False)
    assert not (tmp_path / "provenance.diff").exists()


def test_the_diff_reproduces_the_code(package, tmp_path):
    (package / "__init__.py").write_text("VALUE = 2\n")
    (package / "new.py").write_text("OTHER = 3\n")
    found = provenance.record(tmp_path, package)
    assert (found["dirty"], found["diff"], found["diff_complete"]) == (True, "provenance.diff", True)
    subprocess.run(["git", "-C", str(package.parent), "checkout", "-q", "."], check=True)
    (package / "new.py").unlink()
    subprocess.run(["git", "-C", str(package.parent), "apply", str(tmp_path / "provenance.diff")], check=True)
    assert (package / "__init__.py").read_text() == "VALUE = 2\n"
    assert (package / "new.py").read_text() == "OTHER = 3\n"
    assert provenance.commit(package)["diff_sha256"] == found["diff_sha256"]


def test_no_secret_reaches_the_diff_or_the_command(package, tmp_path, monkeypatch, make_config):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    lines = [f"x{number} = {value!r}" for number, value in enumerate(SECRETS.values())]
    (package / "settings.py").write_text("\n".join([*lines, 'token = "one that no variable holds"', ""]))
    provenance.record(tmp_path, package)
    diff = (tmp_path / "provenance.diff").read_text()
    assert "settings.py" in diff
    assert [value for value in [*VALUES, "one that no variable holds"] if value in diff] == []
    monkeypatch.setattr(
        planning.sys, "argv", ["acmix_exp", f"tags=[{KEY}]", "dataset.path=https://me:fake-url-password@x"]
    )
    made = planning.Plan("test", tmp_path / "runs", [_cell(tmp_path, make_config())], [])
    planning.prepare(made)
    text = (tmp_path / "runs" / "a-s0-0" / "provenance.json").read_text()
    assert "***" in text
    assert [value for value in VALUES if value in text] == []


def _cell(folder: Path, config) -> planning.Cell:
    run = Run(folder / "runs" / "a-s0-0")
    return planning.Cell(config, "a", {"data": "f"}, "shapes", {}, run)


def test_a_long_diff_is_truncated_and_marked(package, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "LIMIT", 100)
    (package / "long.py").write_text("x = 1\n" * 100)
    found = provenance.record(tmp_path, package)
    assert found["diff_complete"] is False
    assert len((tmp_path / "provenance.diff").read_text()) == 100


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert provenance.record(tmp_path, tmp_path) is None
