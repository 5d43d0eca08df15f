from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from acmix_exp.tasks.profile import cost_tables

COMMAND = [sys.executable, "-m", "acmix_exp", "+experiment=demo", "task=profile", "train.imgsz=64", "profile.seconds=1"]


@pytest.mark.slow
def test_the_cost_table_of_all_arms_without_training(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "runs" / "demo").iterdir()) == ["profile.json"]
    profile = json.loads((tmp_path / "runs/demo/profile.json").read_text())
    rows = {row["arm"]: row for row in profile["rows"]}
    assert list(rows) == ["baseline", "conv", "attention", "mixed"]
    assert rows["baseline"]["sites"] == []
    assert [site["name"] for site in rows["mixed"]["sites"]] == ["backbone_p4", "backbone_p5"]
    for row in rows.values():
        cost = row["cost"]
        assert 0 < cost["latency_ms_b1"] <= cost["latency_ms_b1_p95"]
        assert f"{cost['parameters'] / 1e6:.3f}" in done.stdout
        assert cost["gflops_block"] * 1e9 == pytest.approx(sum(site["flops"] for site in row["sites"]))
    mixed = rows["mixed"]["cost"]
    assert mixed["gflops_stage1"] + mixed["gflops_stage2"] == pytest.approx(mixed["gflops_block"])
    for text in ("Stage I", "Stage II", "ultralytics", "runs/demo/profile.json"):
        assert text in done.stdout


@pytest.mark.slow
def test_ctrl_c_leaves_no_files_and_processes(tmp_path: Path) -> None:
    command = subprocess.Popen(
        [*COMMAND, "profile.seconds=600"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = tmp_path / "runs" / "demo"
    deadline = time.monotonic() + 120
    while not _children(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    said = command.communicate(timeout=30)[1]
    assert command.returncode == 130
    assert "Traceback" not in said
    assert not folder.exists()
    assert not _children(folder)


def _children(folder: Path) -> list[str]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if f"acmix_exp.worker profile {folder} " in line:
                found.append(line)
    return found


@pytest.mark.parametrize("seconds", ["0", "1e9"])
def test_an_invalid_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Any, seconds: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = program(*COMMAND[3:], f"profile.seconds={seconds}")
    assert code == 2
    assert "profile.seconds=" in err
    assert "must be from 1 to 3600" in err


def test_missing_values_are_dashes() -> None:
    cost = {"parameters": 5, "parameters_block": 0, "gflops": 1.0, "gflops_block": 0.0, "latency_ms_b1": 2.0}
    profile = {
        "rows": [{"arm": "[b]", "swept": {"block.head": None}, "cost": cost, "sites": [], "imgsz": 64}],
        "device": "cpu",
        "threads": 2,
    }
    console = Console(width=160, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(cost_tables(profile))
    text = console.export_text()
    assert "[b]" in text
    assert "–" in text
    assert "2 threads" in text
    assert "Batch 32 was not timed" in text
