"""The command for a GPU: refused without one; a stage that fails loses nothing of the others; a dry run of all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, tune
from benchmarks.stages import REPO, Stage, planned, python, run_all
from benchmarks.targets import TARGETS

GOALS = [target for target in TARGETS if target.device == "cuda" and target.theme in gpu.THEMES]


def test_without_cuda_it_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "benchmarks.gpu: needs a CUDA device and found none; --dry-run does without\n"
    assert not (tmp_path / "out").exists()


def script(code: str) -> tuple[str, ...]:
    return sys.executable, "-c", code


def test_a_stage_that_fails_or_hangs_loses_nothing_of_the_others(tmp_path: Path) -> None:
    hangs = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    stages = [
        Stage("fails", 0.3, (script("print('before', flush=True); raise SystemExit(3)"), script("print('beside')"))),
        Stage("hangs", 0.01, (script(hangs),)),
        Stage("works", 0.69, (script("print('budget', {budget})"),)),
    ]
    said: list[str] = []
    began = time.monotonic()
    ended = run_all(stages, tmp_path, minutes=1.0, say=said.append)
    assert time.monotonic() - began < 30
    assert {name: stage["status"] for name, stage in ended.items()} == {"fails": 3, "hangs": 124, "works": 0}
    assert sorted((tmp_path / "fails.log").read_text().split()) == ["before", "beside"]
    assert 20 < int((tmp_path / "works.log").read_text().split()[1]) < 40  # what was left, less the grace
    assert said[1].startswith("fails: failed with status 3, see fails.log after")
    assert said[3].startswith("hangs: out of time after")


def test_the_table_has_every_figure_measured_or_not() -> None:
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


def test_of_a_training_run_only_its_story_is_kept(tmp_path: Path) -> None:
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
    gpu._forget(tmp_path, {tmp_path: "OUT"})
    left = {str(path.relative_to(runs)): path.read_text() for path in runs.rglob("*") if path.is_file()}
    assert sorted(left) == ["mixed-s0/config.yaml", "mixed-s0/result.json", "summary.md"]
    assert set(left.values()) == {"at OUT/data"}


def test_every_command_is_one_of_this_repository() -> None:
    for stage in planned(Path("out"), "data.yaml", dry=False):
        for command in stage.commands:
            assert command[:2] == python()[:2]
            name = command[2].replace(".", "/")
            assert command[2] == "pytest" or (REPO / f"{name}.py").exists() or (REPO / name / "__main__.py").exists()
            assert all((REPO / word.split("::")[0]).exists() for word in command if word.startswith("tests/"))
    assert sum(stage.share for stage in planned(Path("out"), None, dry=True)) == pytest.approx(1.0)


def test_parts_of_the_tests_are_all_of_them(tmp_path: Path) -> None:
    quick = "@pytest.mark.parametrize('n', range(5))\ndef test_n(n): pass\n"
    slow = "@pytest.mark.slow\ndef test_s(): 1/0\n"
    (tmp_path / "test_some.py").write_text(f"import pytest\n{quick}{slow}")
    found = []
    for part in range(2):
        words = python("pytest", "-c", "/dev/null", "-q", "--collect-only", "-p", "benchmarks.part_of_tests")
        done = subprocess.run(
            [*words, "-p", "no:cacheprovider", f"--part={part}/2", str(tmp_path)],
            capture_output=True,
            text=True,
            cwd=REPO,
            check=True,
        )
        found += [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]
    assert sorted(found) == [f"test_n[{n}]" for n in range(5)]


@pytest.mark.slow
def test_tuning_in_the_interpreter(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    output = tmp_path / "tune.json"
    command = python("benchmarks.tune", "--dry-run", "--budget", 60, "--output", output)
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    rows = json.loads(output.read_text())["rows"]
    assert [row["part"] for row in rows] == ["forward", "query", "key_value"]
    assert all(row["in_place"] in row["us"] and len(row["us"]) > 1 and not row["refused"] for row in rows)
    assert tune.table(rows).rows[0][0] in done.stdout


@pytest.mark.slow
def test_dry_run(tmp_path: Path) -> None:
    """Every stage runs, on tiny shapes; the folder has what is to be committed."""
    out = tmp_path / "out"
    command = python("benchmarks.gpu", "--dry-run", "--out", out, "--minutes", 60)
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    logs = {path.name: path.read_text()[-2000:] for path in out.glob("*.log")}
    assert done.returncode == 0, (done.stdout, done.stderr, logs)
    ended = json.loads((out / "provenance.json").read_text())["stages"]
    assert ended.keys() == {"parity", *gpu.THEMES, "training", "tune"}
    for name in gpu.THEMES:
        assert len(list(out.glob(f"{name}_cpu_*"))) == 2
    assert (out / "training" / "gpu" / "summary.md").exists()
    assert not list(out.rglob("*.pt"))
    assert done.stdout.count("not measured") == len(GOALS)
    texts = [path.read_text() for path in out.rglob("*") if path.is_file()]
    assert not any(str(tmp_path) in text or str(REPO) in text for text in texts)
