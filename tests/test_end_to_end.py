"""The program as users run it: real processes, real (tiny) trainings, and every way to stop them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from acmix_exp.run.directory import Run, runs_in
from tests.tracking.wandb_file import read

COMMON = ("dataset=yolo", "train.imgsz=64", "train.batch=4", "hardware=cpu", "hardware.workers=0", "report.auto=false")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Eight training and four validation images of bright discs and squares."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True)
        for number in range(count):
            image = random.integers(0, 60, (64, 64, 3), np.uint8)
            x, y = (int(value) for value in random.integers(16, 48, 2))
            kind = number % 2
            if kind:
                cv2.circle(image, (x, y), 12, (255, 255, 255), -1)
            else:
                cv2.rectangle(image, (x - 12, y - 12), (x + 12, y + 12), (0, 255, 255), -1)
            cv2.imwrite(str(root / "images" / split / f"{number}.png"), image)
            (root / "labels" / split / f"{number}.txt").write_text(f"{kind} {x / 64} {y / 64} 0.375 0.375\n")
    path = root / "data.yaml"
    path.write_text("path: .\ntrain: images/train\nval: images/val\nnames: [square, disc]\n")
    return path


def start(folder: Path, data: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "acmix_exp", *COMMON, f"dataset.path={data}", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(folder: Path, data: Path, *arguments: str) -> tuple[int, str, str]:
    process = start(folder, data, *arguments)
    out, err = process.communicate(timeout=400)
    return process.returncode, out, err


def leftovers(folder: Path) -> list[psutil.Process]:
    """Processes that work on the folder's runs."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        about = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        if any(str(folder) in text for text in about) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def gone(folder: Path, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while leftovers(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not leftovers(folder)


def wait_for_epoch(process: subprocess.Popen[str], folder: Path, epoch: int, name: str = "ablation") -> None:
    """Until some run of the command has finished that epoch and written its checkpoint."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        for run in runs_in(folder / "runs" / name):
            if len(run.history()) >= epoch and run.last.exists() and (run.status() or {}).get("status") == "running":
                return
        time.sleep(0.1)
    raise AssertionError("no run came that far")


@pytest.fixture(scope="module")
def ablation(tmp_path_factory, data):
    """Two arms, one seed, done: folder, output."""
    folder = tmp_path_factory.mktemp("ablation")
    code, out, err = finish(folder, data, "+experiment=ablation", "arm=baseline,mixed", "seed=0", "train.epochs=2")
    assert code == 0, err
    return folder, out, err


def runs(folder: Path, name: str = "ablation") -> dict[str, Run]:
    return {run.name.rsplit("-s", 1)[0]: run for run in runs_in(folder / "runs" / name)}


def test_every_run_has_its_files_and_a_true_status(ablation):
    folder, _, _ = ablation
    assert set(runs(folder)) == {"baseline", "mixed"}
    for run in runs(folder).values():
        assert run.is_done()
        for name in (
            "config.yaml",
            "history.csv",
            "provenance.json",
            "train.log",
            "weights/best.pt",
            "weights/last.pt",
        ):
            assert (run.path / name).is_file(), name
        status = run.status()
        assert (status["attempt"], status["resumed"], status["pid"], status["error"]) == (1, False, None, None)
        result = run.result()
        assert (result["epochs"], result["imgsz"], result["batch"], result["swept"]) == (2, 64, 4, {})
        assert (result["metrics"]["split"], result["metrics"]["checkpoint"]) == ("val", "last.pt")
        assert set(result["metrics"]["per_class"]) == {"square", "disc"}
        assert [row["epoch"] for row in run.history()] == ["1", "2"]
    results = {arm: run.result() for arm, run in runs(folder).items()}
    assert results["mixed"]["arm"] == "mixed"
    assert results["mixed"]["cost"]["parameters"] > results["baseline"]["cost"]["parameters"]
    assert results["mixed"]["cost"]["gflops_block"] > results["baseline"]["cost"]["gflops_block"] == 0


def test_the_headline_is_the_last_epochs_figure(ablation):
    folder, _, _ = ablation
    for run in runs(folder).values():
        result = run.result()
        assert result["val_last"]["map50_95"] == pytest.approx(float(run.history()[-1]["map50_95"]), abs=1e-6)


def test_seeds_are_paired_over_the_arms(ablation):
    folder, _, _ = ablation
    proofs = {run.provenance()["seed_proof"] for run in runs(folder).values()}
    assert len(proofs) == 1


def test_the_table_is_printed_and_written(ablation):
    folder, out, _ = ablation
    assert "baseline" in out
    assert "too few seeds (6 needed)" in out
    for name in ("summary.md", "summary.csv", "summary.json"):
        assert (folder / "runs" / "ablation" / name).is_file()
    assert sorted(entry.name for entry in folder.iterdir()) == ["runs"]
    assert not (folder / "outputs").exists()


def test_wandb_holds_what_history_holds(ablation):
    folder, _, _ = ablation
    run = runs(folder)["mixed"]
    (path,) = (run.path / "wandb").glob("offline-run-*/run-*.wandb")
    logged = read(path)
    assert logged.group == "ablation"
    assert logged.job_type == "mixed"
    with open(run.path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(logged.rows) == len(rows)
    for row, record in zip(rows, logged.rows, strict=True):
        for key, value in row.items():
            assert record[key] == pytest.approx(float(value)), key
    assert any(key.startswith("rates/") for key in rows[0])


def test_the_same_command_again_trains_nothing(ablation, data):
    folder, _, _ = ablation
    before = {run.path: (run.path / "result.json").stat().st_mtime_ns for run in runs(folder).values()}
    code, out, _ = finish(folder, data, "experiment=ablation", "arm=baseline,mixed", "seed=0", "train.epochs=2")
    assert code == 0
    assert "baseline" in out
    assert before == {run.path: (run.path / "result.json").stat().st_mtime_ns for run in runs(folder).values()}


@pytest.mark.slow
def test_a_finished_run_is_scored_on_another_split(ablation, data):
    folder, _, _ = ablation
    run = runs(folder)["mixed"]
    command = [sys.executable, "-m", "acmix_exp", "task=evaluate", f"run={run.path}", "split=train", "hardware=cpu"]
    result = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=200, check=False)
    assert result.returncode == 0, result.stderr
    (written,) = (run.path / "evaluations").glob("*-train-*.json")
    scores = json.loads(written.read_text())
    assert scores["split"] == "train"
    names = ("precision", "recall", "map50", "map50_95")
    assert all(0 <= part[name] <= 1 for part in (scores, *scores["per_class"].values()) for name in names)
    assert all(word in result.stdout for word in ("boxes", "precision", "recall", "mAP50", "images"))


def about(folder: Path, run: Run, *arguments: str) -> subprocess.Popen[str]:
    """A command about a finished run, in the folder that it was trained from."""
    command = [sys.executable, "-m", "acmix_exp", f"run={run.path}", "hardware=cpu", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torchscript", "onnx"])
def test_a_finished_run_is_exported_and_compared_with_torch(ablation, format):
    folder, _, _ = ablation
    run = runs(folder)["mixed"]
    process = about(folder, run, "task=export", f"format={format}")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert {f"last.{format}", f"last.{format}.json"} <= {entry.name for entry in (run.path / "export").iterdir()}
    assert not [entry for entry in run.path.rglob(".*") if entry.name != ".lock"]
    facts = json.loads((run.path / "export" / f"last.{format}.json").read_text())
    assert [(size["height"], size["width"], size["images"]) for size in facts["sizes"]] == [(64, 64, 4), (32, 96, 4)]
    assert all(0 < size[key] < 1e-4 for size in facts["sizes"] for key in ("boxes", "scores"))
    assert f"{facts['sizes'][0]['boxes']:.1e}" in out
    assert min(facts["latency_ms"].values()) > 0
    assert "last.pt, the last epoch" in out
    assert "traced at 64x64" in err


@pytest.mark.slow
def test_a_run_repeats_bit_for_bit_from_its_directory_alone(ablation):
    folder, _, _ = ablation
    run = runs(folder)["baseline"]
    summary = (folder / "runs" / "ablation" / "summary.json").read_bytes()
    process = about(folder, run, "task=repeat")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "nothing differs" in err
    assert "the same, bit for bit" in out
    (again,) = (run.path / "repeat").iterdir()
    assert again.name == f"{run.name}-repeat1"
    report = json.loads((again / "repeat.json").read_text())
    judged = {finding["what"]: finding["same"] for finding in report["findings"]}
    assert judged == dict.fromkeys(("seed proof", "history.csv", "metrics", "best.pt", "last.pt"), True)
    assert Run(again).provenance()["repeat_of"] == run.name
    assert not (again / "wandb").exists()
    assert set(runs(folder)) == {"baseline", "mixed"}
    assert summary == (folder / "runs" / "ablation" / "summary.json").read_bytes()


@pytest.mark.slow
def test_a_repeat_on_other_data_is_refused(ablation):
    folder, _, _ = ablation
    run = runs(folder)["mixed"]
    process = about(folder, run, "task=repeat", "dataset=shapes")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2
    assert len(err.splitlines()) == 1
    assert "fingerprint" in err
    assert not (run.path / "repeat").exists()


def worker(process: subprocess.Popen[str], task: str) -> psutil.Process:
    """The child of a command that is at work on a task."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children():
            if f"acmix_exp.worker {task} " in " ".join(child.cmdline()):
                return child
        time.sleep(0.05)
    raise AssertionError(f"no child for {task}")


@pytest.mark.parametrize(
    ("target", "number", "code"),
    [
        ("child", signal.SIGKILL, 1),
        pytest.param("command", signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param("command", signal.SIGTERM, 143, marks=pytest.mark.slow),
    ],
)
def test_an_evaluation_that_does_not_finish_leaves_nothing(ablation, target, number, code):
    folder, _, _ = ablation
    run = runs(folder)["baseline"]
    process = about(folder, run, "task=evaluate", "split=train")
    child = worker(process, "evaluate")
    assert child.cmdline()[-1] == str(run.path.resolve())
    time.sleep(1)
    child.send_signal(number) if target == "child" else process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert (out, "Traceback" in err) == ("", False)
    if target == "child":
        assert err.splitlines()[-1] == "acmix_exp: the evaluation failed: was killed by SIGKILL (out of memory?)"
    assert gone(folder)
    assert not (run.path / "evaluations").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_repeat_leaves_no_process(ablation, number, code):
    folder, _, _ = ablation
    run = runs(folder)["mixed"]
    process = about(folder, run, "task=repeat")
    assert any("running" in line for line in process.stderr)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "a repeat that was interrupted is not resumed" in err
    assert gone(folder)
    assert {Run(path).state() for path in (run.path / "repeat").iterdir()} == {"interrupted"}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_no_files(ablation, number, code):
    folder, _, _ = ablation
    run = runs(folder)["baseline"]
    process = about(folder, run, "task=export")
    assert "traced" in process.stderr.readline()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert gone(folder)
    assert not (run.path / "export").exists()


@pytest.mark.slow
def test_same_seed_twice_is_bit_identical_and_another_seed_is_not(tmp_path, data, ablation):
    import torch

    folder, _, _ = ablation
    code, _, err = finish(tmp_path, data, "+experiment=ablation", "arm=mixed", "seed=0,1", "train.epochs=2")
    assert code == 0, err

    def weights(run: Run) -> dict[str, torch.Tensor]:
        return torch.load(run.last, map_location="cpu", weights_only=False)["model"].state_dict()

    first = weights(runs(folder)["mixed"])
    again = {run.name.split("-")[1]: run for run in runs_in(tmp_path / "runs" / "ablation")}
    second = weights(again["s0"])
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], value) for key, value in weights(again["s1"]).items())
    assert again["s0"].provenance()["seed_proof"] != again["s1"].provenance()["seed_proof"]
    latencies = [run.result()["cost"]["latency_ms_b1"] for run in again.values()]
    assert latencies[0] == latencies[1] > 0, "seeds share a network, which is timed once"
    assert {run.provenance()["latency_of"] for run in again.values()} == {again["s0"].name}


@pytest.mark.slow
@pytest.mark.parametrize("hardware", ["cpu", "pool"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_sweep_leaves_no_process_and_resumes(tmp_path, data, hardware, number, code):
    line = ["+experiment=ablation", "arm=baseline,mixed", "seed=0", "train.epochs=60"]
    if hardware == "pool":
        line += ["hardware=pool", "hardware.runs_at_once=2", "hardware.device=cpu", "hardware.workers=1"]
    process = start(tmp_path, data, *line)
    wait_for_epoch(process, tmp_path, 2)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == code
    assert gone(tmp_path), leftovers(tmp_path)
    statuses = {run.status()["status"] for run in runs(tmp_path).values()}
    if number != signal.SIGKILL:
        assert "running" not in statuses
        assert "interrupted" in statuses
    process = start(tmp_path, data, *line)
    wait_for_epoch(process, tmp_path, 4)
    assert any(run.status()["resumed"] for run in runs(tmp_path).values())
    epochs = [[int(row["epoch"]) for row in run.history()] for run in runs(tmp_path).values()]
    assert all(seen == list(range(1, len(seen) + 1)) for seen in epochs)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert gone(tmp_path)


@pytest.mark.slow
def test_a_killed_run_is_one_failed_row_and_the_rest_continues(tmp_path, data):
    line = ["+experiment=ablation", "arm=baseline,mixed", "seed=0", "train.epochs=8"]
    process = start(tmp_path, data, *line)
    wait_for_epoch(process, tmp_path, 1)
    os.kill(runs(tmp_path)["baseline"].status()["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert runs(tmp_path)["baseline"].status()["status"] == "failed"
    assert "SIGKILL" in runs(tmp_path)["baseline"].status()["error"]
    assert runs(tmp_path)["mixed"].is_done()
    assert "baseline seed 0 is failed" in out
    assert "failed" in err
    code, _, _ = finish(tmp_path, data, *line)
    assert code == 0
    assert runs(tmp_path)["baseline"].status()["attempt"] == 2


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path, data):
    line = ["+experiment=ablation", "arm=baseline,mixed", "seed=0,1", "train.epochs=2"]
    both = [start(tmp_path, data, *line) for _ in range(2)]
    ends = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert len(runs_in(tmp_path / "runs" / "ablation")) == 4
    assert all(run.status()["attempt"] == 1 for run in runs_in(tmp_path / "runs" / "ablation"))
    tables = [out[out.index("yolov8n from scratch") :] for out, _ in ends]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_the_report_comes_at_the_end_and_every_run_can_be_plotted_by_arm(tmp_path, data):
    words = ("+experiment=ablation", "arm=baseline,mixed", "seed=0", "train.epochs=1", "report.auto=true")
    code, out, err = finish(tmp_path, data, *words, "logger=offline")
    assert code == 0, err
    folder = tmp_path / "runs" / "ablation"
    assert "Too few seeds (6 needed): mixed." in out
    assert "W&B is offline; to upload: wandb sync runs/ablation/wandb/offline-run-*" in " ".join(out.split())
    assert (folder / "report.html").read_text().count("<img ") == 3
    drawn = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {"forest", "learning_curves", "latency", "rates", "rate_ratio", "predictions", "windows-mixed"} <= drawn
    for label, run in runs(tmp_path).items():
        (path,) = run.path.glob("wandb/offline-run-*/*.wandb")
        file = read(path)
        assert (file.config["arm"]["name"], file.config["seed"], file.job_type) == (label, 0, label)
        images = json.loads((run.path / "images" / "images.json").read_text())
        assert len(images["images"]) == 4
        assert (run.path / "images" / "windows.json").is_file() == (label == "mixed")
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert (read(path).group, read(path).job_type) == ("ablation", "report")
    made = (folder / "report.html").stat().st_mtime_ns
    assert finish(tmp_path, data, *words, "logger=offline")[0] == 0
    assert (folder / "report.html").stat().st_mtime_ns == made, "nothing is new, so the report stands"
