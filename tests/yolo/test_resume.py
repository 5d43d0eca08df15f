import errno
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from acmix_exp.data import Dataset
from acmix_exp.errors import CheckpointError
from acmix_exp.yolo import training_state
from acmix_exp.yolo.resume import Progress, load
from acmix_exp.yolo.run import Outcome, train
from tests.yolo.builders import make_config

Trained = tuple[Outcome, list[dict[str, float]], Path]


class Killed(Exception):
    pass


def resume(run_dir: Path, dataset: Dataset, **changes: object) -> tuple[Outcome, list[dict[str, float]]]:
    rows: list[dict[str, float]] = []
    outcome = train(make_config(**changes), dataset, run_dir, device="cpu", resume=True, on_epoch=rows.append)
    return outcome, rows


def test_resumes_after_the_last_saved_epoch(
    trained: Trained, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, whole_rows, _ = trained

    def stop(row: dict[str, float]) -> None:
        assert Progress.load(tmp_path / "weights").epochs == row["epoch"], "its checkpoint is on disk by then"
        raise Killed

    with pytest.raises(Killed):
        train(make_config(), dataset, tmp_path, device="cpu", resume=False, on_epoch=stop)
    assert Progress.load(tmp_path / "weights").epochs == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("weights:", "epoch "))]
    assert said[0] == f"weights: from scratch, {len(whole.audit['new'])} new"
    number = r"\d+\.\d{3}"
    losses = f"box {number}, cls {number}, dfl {number}"
    assert re.fullmatch(
        rf"epoch 1/2: train loss {losses}; val loss {losses}; "
        rf"mAP50 {number}, mAP50-95 {number}; \d+\.\d s",
        said[1],
    )
    outcome, rows = resume(tmp_path, dataset)
    out = capsys.readouterr().out
    assert out.index("resumed after epoch 1\n") < out.index("epoch 2/2: ")
    assert "epoch 1/2: " not in out
    assert "weights:" not in out
    assert [row["epoch"] for row in rows] == [2]
    assert outcome.val_last["epoch"] == 2
    assert outcome.seed_proof == whole.seed_proof
    assert outcome.audit == whole.audit
    assert outcome.train_seconds > rows[0]["seconds"]
    assert {**rows[0], "seconds": 0} == {**whole_rows[1], "seconds": 0}
    assert outcome.metrics == whole.metrics
    weights, expected = outcome.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_a_finished_run_is_only_evaluated(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(trained[2], tmp_path, dirs_exist_ok=True)
    outcome, rows = resume(tmp_path, dataset)
    assert rows == []
    assert outcome.metrics == trained[0].metrics
    assert outcome.val_best == trained[0].val_best
    new, old = outcome.model.state_dict(), trained[0].model.state_dict()
    assert all(torch.equal(new[key].half(), old[key].half()) for key in old)


def test_damaged_files_cannot_be_resumed_from(trained: Trained, dataset: Dataset, tmp_path: Path) -> None:
    def damage(name: str, content: bytes | None) -> Path:
        folder = tmp_path / f"{name}-{content is None}-{len(content or b'')}"
        shutil.copytree(trained[2], folder)
        path = folder / "weights" / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return folder

    last = (trained[2] / "weights" / "last.pt").read_bytes()
    state = json.loads((trained[2] / "weights" / "progress.json").read_text())
    state["rows"], state["fitness"] = state["rows"][:1], state["fitness"][:1]
    for name, content in (
        ("last.pt", None),
        ("last.pt", b""),
        ("last.pt", last[: len(last) // 2]),
        ("last.pt", last.replace(b"PK\x03\x04", b"XXXX", 40)),
        ("progress.json", None),
        ("progress.json", b"{"),
        ("progress.json", b"[]"),
    ):
        with pytest.raises(CheckpointError, match=name):
            resume(damage(name, content), dataset)
    with pytest.raises(CheckpointError, match=r"training\.state: none was saved yet"):
        resume(damage("progress.json", json.dumps(state).encode()), dataset)


def test_a_file_that_the_machine_cannot_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network disk that is away for a moment: a damaged file would have the run begin anew."""

    def fails(path: object, *_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    trained_file = tmp_path / "last.pt"
    trained_file.write_bytes(b"PK")
    monkeypatch.setattr("io.open", fails)
    monkeypatch.setattr("builtins.open", fails)
    for read, path in ((Progress.load, tmp_path), (training_state.read, trained_file), (load, trained_file)):
        with pytest.raises(OSError, match="Stale file handle"):
            read(path)


def test_best_epoch(tmp_path: Path) -> None:
    progress = Progress(rows=[{"epoch": i} for i in (1, 2, 3, 4)], fitness=[0.1, 0.3, 0.3, 0.4])
    assert progress.best_epoch == 4
    del progress.rows[3:], progress.fitness[3:]
    assert progress.best_epoch == 3
    assert progress.epochs == 3
    progress.save(tmp_path)
    assert Progress.load(tmp_path) == progress
