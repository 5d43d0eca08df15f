"""The command for a GPU: refused without one; stages that fail; a dry run of all stages."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, tune
from benchmarks.stages import PARITY, REPO, Stage, planned, python, run_all
from benchmarks.targets import TARGETS

GOALS = [target for target in TARGETS if target.device == "cuda" and target.theme in gpu.THEMES]


def test_without_cuda_it_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == ("", "benchmarks.gpu: no CUDA device; --dry-run runs on a CPU\n")
    assert not (tmp_path / "out").exists()


def script(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


@pytest.mark.slow
def test_a_stage_that_fails_or_hangs_does_not_affect_the_others(tmp_path: Path) -> None:
    hangs = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    stages = [
        Stage("fails", script("print('before', flush=True); raise SystemExit(3)")),
        Stage("works", script("print('works')")),
        Stage("hangs", script(hangs)),
        Stage("late", script("print('late')")),
    ]
    lines: list[str] = []
    began = time.monotonic()
    results = run_all(stages, tmp_path, minutes=0.1, say=lines.append)
    assert time.monotonic() - began < 30
    assert {name: stage["status"] for name, stage in results.items()} == {
        "fails": 3,
        "works": 0,
        "hangs": 124,
        "late": 124,
    }
    assert (tmp_path / "fails.log").read_text() == "before\n"
    assert (tmp_path / "works.log").read_text() == "works\n"
    assert lines[1].startswith("fails: exit code 3, see fails.log, after")
    assert lines[5].startswith("hangs: out of time after")
    assert lines[6] == "late: not started, out of time"


def test_the_table_has_every_target_measured_or_not() -> None:
    index = next(i for i, target in enumerate(TARGETS) if target is GOALS[0])
    measured = {"target": index, "case": "a case", "met": False, "share": 0.5, "measured": 5.0}
    rows = gpu.figures([{"targets": [measured]}])
    assert len(rows) == len(GOALS)
    assert rows[0][1:] == [
        "a case",
        "forward + backward speed, against published",
        "at least 10",
        "5.00",
        "no, 50% of it",
    ]
    assert {row[-1] for row in rows[1:]} == {"not measured"}


def test_weights_and_logs_of_the_training_runs_are_removed(tmp_path: Path) -> None:
    runs = tmp_path / "training" / "gpu"
    for name in (
        "mixed-s0/config.yaml",
        "mixed-s0/weights/last.pt",
        "mixed-s0/result.json",
        "mixed-s0/train.log",
        "wandb/run/files.json",
        "summary.md",
    ):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text(f"at {tmp_path}/data")
    gpu._keep_training(tmp_path)
    gpu._hide_paths(tmp_path, {tmp_path: "OUT"})
    left = {str(path.relative_to(runs)): path.read_text() for path in runs.rglob("*") if path.is_file()}
    assert sorted(left) == ["mixed-s0/config.yaml", "mixed-s0/result.json", "summary.md"]
    assert set(left.values()) == {"at OUT/data"}


def test_every_command_is_one_of_this_repository() -> None:
    for stage in planned(Path("out"), "data.yaml", dry=False):
        assert stage.command[:2] == python()[:2]
        name = stage.command[2].replace(".", "/")
        assert stage.command[2] == "pytest" or (REPO / f"{name}.py").exists() or (REPO / name / "__main__.py").exists()
        assert all((REPO / word.split("::")[0]).exists() for word in stage.command if word.startswith("tests/"))


@pytest.mark.slow
@pytest.mark.parametrize(("dry", "tests"), [(False, PARITY), (True, PARITY[:1])])
def test_the_parity_tests_exist_and_need_no_settings(dry: bool, tests: tuple[str, ...]) -> None:
    parity = planned(Path("out"), None, dry)[0]
    command = [*parity.command, "--collect-only"]
    collected = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=True).stdout
    assert all(name in collected for name in tests)


@pytest.mark.slow
def test_tuning_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    output = tmp_path / "tune.json"
    command = python("benchmarks.tune", "--dry-run", "--output", output)
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    rows = json.loads(output.read_text())["rows"]
    assert [row["part"] for row in rows] == ["forward", "query", "key_value"]
    assert all(row["in_place"] in row["us"] and len(row["us"]) > 1 and not row["refused"] for row in rows)
    assert tune.table(rows).rows[0][0] in done.stdout


@pytest.mark.slow
def test_dry_run(tmp_path: Path) -> None:
    """Every stage runs with tiny shapes; the folder is ready to be committed."""
    out = tmp_path / "out"
    command = python("benchmarks.gpu", "--dry-run", "--out", out, "--minutes", 60)
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    logs = {path.name: path.read_text()[-2000:] for path in out.glob("*.log")}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    stages = json.loads((out / "provenance.json").read_text())["stages"]
    assert stages.keys() == {"parity", *gpu.THEMES, "training", "packing", "tune"}
    for name in gpu.THEMES:
        assert len(list(out.glob(f"{name}_cpu_*"))) == 2
    assert (out / "training" / "gpu" / "summary.md").exists()
    assert not list(out.rglob("*.pt"))
    assert done.stdout.count("not measured") == len(GOALS)
    texts = [path.read_text() for path in out.rglob("*") if path.is_file()]
    assert not any(str(tmp_path) in text or str(REPO) in text for text in texts)
