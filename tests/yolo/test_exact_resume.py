"""A run that was stopped ends as if it had never been: every number and every tensor, bit for bit on a CPU."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acmix_exp.block_rules import RULES
from acmix_exp.config import Config, PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.errors import CheckpointError, ConfigError
from acmix_exp.yolo import trainer, training_state
from acmix_exp.yolo.resume import STATE, Progress
from acmix_exp.yolo.run import Outcome, train
from acmix_exp.yolo.trainer import BlockTrainer
from tests.yolo.builders import bare, make_config, make_dataset

EPOCHS = 4


class Killed(BaseException):
    """Ends a training anywhere, as a signal does."""


class Recorded:
    """A run directory with what its trainings reported: the rows as in history.csv, and the outcome."""

    def __init__(self, run_dir: Path, config: Config, dataset: Dataset) -> None:
        self.run_dir, self.config, self.dataset = run_dir, config, dataset
        self.rows: dict[int, dict[str, float]] = {}
        self.outcome: Outcome | None = None

    def go_on(self, *, kill: Callable[[dict[str, float]], bool] = lambda row: False, **options: Any) -> None:
        """One attempt, up to the end or to ``kill``, which is asked after each epoch."""

        def on_epoch(row: dict[str, float]) -> None:
            self.rows[int(row["epoch"])] = row
            if kill(row):
                raise Killed

        started = (self.run_dir / "weights" / STATE).exists() or bool(self.rows)
        self.outcome = train(
            self.config, self.dataset, self.run_dir, device="cpu", resume=started, on_epoch=on_epoch, **options
        )

    def numbers(self) -> dict[str, Any]:
        assert self.outcome is not None
        rows = [{**self.rows[epoch], "seconds": 0} for epoch in sorted(self.rows)]
        outcome = self.outcome
        facts = (outcome.metrics, outcome.val_best, outcome.val_last, outcome.audit, outcome.seed_proof)
        return {"rows": rows, "outcome": facts}

    def tensors(self) -> dict[str, torch.Tensor]:
        networks = {name: load(self.run_dir / "weights" / name) for name in ("best.pt", "last.pt")}
        return {f"{name} {key}": value for name, state in networks.items() for key, value in state.items()}


def load(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=False)["model"].state_dict()
    return state


def assert_same(one: Recorded, other: Recorded) -> None:
    assert one.numbers() == other.numbers()
    pairs = one.tensors(), other.tensors()
    assert pairs[0].keys() == pairs[1].keys()
    different = [key for key in pairs[0] if not torch.equal(pairs[0][key], pairs[1][key])]
    assert not different
    assert not (one.run_dir / "weights" / STATE).exists()
    assert not (other.run_dir / "weights" / STATE).exists()


AUGMENTED = {"close_mosaic": 2, "mixup": 0.3, "multi_scale": 0.5}
SEA = {name: option.default for name, option in RULES["sea_attention"].options.items()}
WIOU = {
    "block": {"name": "wiou", **{name: option.default for name, option in RULES["wiou"].options.items()}},
    "model__placement": PlacementConfig(name="loss", mode="loss", sites=["head"]),
}
TRAININGS: dict[str, Callable[[Path], Config]] = {
    # warm-up lasts for 3 of the 4 epochs, and mosaic is closed for the last 2
    "AdamW with ACmix": lambda pretrained: make_config(train__extra=AUGMENTED),
    "SGD, the stock network": lambda pretrained: bare(
        make_config(train__optimizer="SGD", train__lr0=0.01, train__extra={"warmup_epochs": 1.5, "cos_lr": True})
    ),
    "MuSGD": lambda pretrained: make_config(train__optimizer="MuSGD", train__lr0=0.01, train__extra=AUGMENTED),
    "drop path, which draws in each forward pass": lambda pretrained: make_config(
        block={"name": "sea_attention", **SEA, "form": "block", "drop_path": 0.5}
    ),
    "YOLO26, whose losses are weighted by the epoch": lambda pretrained: make_config(
        model__family="yolo26", train__extra={"warmup_epochs": 1}
    ),
    "auto": lambda pretrained: make_config(train__optimizer="auto", train__extra={"warmup_epochs": 0}),
    "WIoU, whose running mean is a buffer": lambda pretrained: make_config(train__extra=AUGMENTED, **WIOU),
    "YOLO26 with WIoU, a mean for each of its heads": lambda pretrained: make_config(
        model__family="yolo26", train__extra={"warmup_epochs": 1}, **WIOU
    ),
    "RMSProp, in place of a convolution": lambda pretrained: make_config(
        train__optimizer="RMSProp",
        train__lr0=0.001,
        block__path="conv",
        model__placement=PlacementConfig(name="test", mode="replace", sites=["backbone_p4"]),
    ),
    "pretrained, two workers": lambda pretrained: make_config(
        model__pretrained=str(pretrained), hardware__workers=2, train__extra=AUGMENTED
    ),
}


@pytest.fixture(scope="module")
def pretrained(trained: Any) -> Path:
    path: Path = trained[2] / "weights" / "best.pt"
    return path


@pytest.fixture
def record(tmp_path: Path, dataset: Dataset) -> Callable[..., Recorded]:
    def make(name: str, config: Config) -> Recorded:
        return Recorded(tmp_path / name, replace(config, train=replace(config.train, epochs=EPOCHS)), dataset)

    return make


def stopped_after_each_epoch(stopped: Recorded) -> Recorded:
    for epoch in range(1, EPOCHS):
        with pytest.raises(Killed):
            stopped.go_on(kill=lambda row: True)
        assert max(stopped.rows) == epoch
    stopped.go_on()
    return stopped


@pytest.mark.slow
def test_without_last_pt(record: Callable[..., Recorded]) -> None:
    whole, stopped = record("whole", make_config()), record("stopped", make_config())
    whole.go_on()
    with pytest.raises(Killed):
        stopped.go_on(kill=lambda row: row["epoch"] == 2)
    (stopped.run_dir / "weights" / "last.pt").unlink()
    stopped.go_on()
    assert_same(stopped, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_stopped_after_each_epoch(
    record: Callable[..., Recorded], pretrained: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "MuSGD":  # which the config does not offer: its groups are of ultralytics
        monkeypatch.setattr(trainer, "regroup", lambda *args: None)
    config = TRAININGS[name](pretrained)
    whole = record("whole", config)
    whole.go_on()
    assert_same(stopped_after_each_epoch(record("stopped", config)), whole)


POINTS = ["preprocess_batch", "optimizer_step", "validate", "save_metrics", "save_model", "run_callbacks"]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_stopped_in_the_middle(
    record: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch, whole: Recorded, point: str
) -> None:
    """In the third epoch: in its second batch, before or in its validation, while it is saved."""
    stopped = record("stopped", make_config())
    method, calls = getattr(BlockTrainer, point), [0]

    def dies(self: BlockTrainer, *args: Any, **options: Any) -> Any:
        calls[0] += getattr(self, "epoch", 0) == 2
        if calls[0] == 2 or (calls[0] and point in ("validate", "save_metrics", "save_model")):
            raise Killed
        return method(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(BlockTrainer, point, dies)
        with pytest.raises(Killed):
            stopped.go_on()
    assert max(stopped.rows) == 2
    stopped.go_on()
    assert_same(stopped, whole)


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    recorded = Recorded(tmp_path_factory.mktemp("whole"), make_config(train__epochs=EPOCHS), dataset)
    recorded.go_on()
    return recorded


FILES = ["progress.json", "last.pt", "best.pt", STATE]


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_stopped_while_a_file_is_written(
    record: Callable[..., Recorded], monkeypatch: pytest.MonkeyPatch, whole: Recorded, name: str, epoch: int
) -> None:
    """At the first, a middle and the last epoch, before the file is replaced; best.pt is not written at each."""
    stopped = record("stopped", make_config())
    move, written = os.replace, [0]

    def dies(source: Any, target: Any) -> None:
        if Path(target).name == name and len(stopped.rows) == epoch - 1:
            written[0] += 1
            raise Killed
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dies)
        try:
            stopped.go_on()
        except Killed:
            assert max(stopped.rows, default=0) == epoch - 1
    if not written[0]:
        assert (name, epoch) in [(STATE, 4), ("best.pt", epoch)]
    elif epoch == 1:
        with pytest.raises(CheckpointError):
            train(stopped.config, stopped.dataset, stopped.run_dir, device="cpu", resume=True, on_epoch=print)
        stopped.go_on()
    else:
        stopped.go_on()
    assert_same(stopped, whole)


@pytest.mark.slow
@pytest.mark.parametrize("every", [2, 3, 9])
def test_save_every_bounds_what_is_lost(record: Callable[..., Recorded], whole: Recorded, every: int) -> None:
    stopped = record("stopped", make_config(train__save_every=every))
    with pytest.raises(Killed):
        stopped.go_on(kill=lambda row: row["epoch"] == 3)
    saved = 3 // every * every
    state = stopped.run_dir / "weights" / STATE
    assert state.exists() == bool(saved)
    if not saved:
        with pytest.raises(CheckpointError, match=r"training\.state: none was saved yet"):
            stopped.go_on()
        return
    assert training_state.read(state)["epoch"] == saved
    restored: list[Any] = []
    stopped.go_on(on_resume=restored.extend)
    assert [row["epoch"] for row in restored] == list(range(1, saved + 1))
    assert_same(stopped, whole)


@pytest.mark.slow
def test_stopped_in_its_evaluation(record: Callable[..., Recorded], whole: Recorded) -> None:
    stopped = record("stopped", make_config())

    def dies() -> None:
        raise Killed

    with pytest.raises(Killed):
        stopped.go_on(before_evaluation=dies)
    assert not (stopped.run_dir / "weights" / STATE).exists()
    stopped.go_on()
    assert_same(stopped, whole)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle_of_an_epoch(tmp_path: Path, workers: int) -> None:
    """kill -9, four times, at moments after an epoch began."""
    code = f"""
import sys
from pathlib import Path
from acmix_exp.yolo.run import train
from tests.yolo.builders import make_config, make_dataset
here = Path({str(tmp_path)!r})
dataset = make_dataset(here / "data", {{"train": 12, "val": 4}})
config = make_config(train__epochs=4, hardware__workers={workers}, train__extra={AUGMENTED!r})
resume = (here / "run" / "weights" / {STATE!r}).exists()
train(config, dataset, here / "run", device="cpu", resume=resume, on_epoch=lambda row: print("EPOCH", flush=True))
"""
    config = make_config(train__epochs=EPOCHS, hardware__workers=workers, train__extra=AUGMENTED)
    dataset = replace(make_dataset(tmp_path / "data", {"train": 12, "val": 4}), splits={})
    splits = {s: tuple(sorted((tmp_path / "data" / "images" / s).iterdir())) for s in ("train", "val")}
    dataset = replace(dataset, splits=splits)
    for wait in (0.2, 0.5, 0.8):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert child.stdout is not None
        for line in child.stdout:
            if "EPOCH" in line:
                break
        time.sleep(wait)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    stopped = Recorded(tmp_path / "run", config, dataset)
    assert (stopped.run_dir / "weights" / "last.pt").exists()
    stopped.rows = {0: {}}
    stopped.go_on(on_resume=lambda rows: stopped.rows.update({int(row["epoch"]): row for row in rows}))
    del stopped.rows[0]
    alone = Recorded(tmp_path / "whole", config, dataset)
    alone.go_on()
    assert_same(stopped, alone)


def one_epoch(trained_in: Path, dataset: Dataset) -> Recorded:
    stopped = Recorded(trained_in, make_config(), dataset)
    with pytest.raises(Killed):
        stopped.go_on(kill=lambda row: True)
    return stopped


def test_the_state_is_whole_and_read_without_running_code(dataset: Dataset, tmp_path: Path) -> None:
    """Weights and averages in float32; a damaged state, or one with code in it, is refused."""
    stopped = one_epoch(tmp_path, dataset)
    path = tmp_path / "weights" / STATE
    state = training_state.read(path)
    assert state["epoch"] == 1
    for name in ("model", "ema"):
        assert {tensor.dtype for tensor in state[name].values()} == {torch.float32, torch.int64}
    moments = [tensor for entry in state["optimizer"]["state"].values() for tensor in entry.values()]
    assert {tensor.dtype for tensor in moments} == {torch.float32}
    whole = path.read_bytes()
    for content in (whole[:-1000], b"", whole.replace(b"PK\x03\x04", b"XXXX", 4)):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"training\.state: cannot be loaded"):
            stopped.go_on()
    torch.save({**state, "format": 99}, path)
    with pytest.raises(CheckpointError, match="of another format"):
        stopped.go_on()
    torch.save({**state, "model": {}}, path)
    with pytest.raises(CheckpointError, match="does not fit the network"):
        stopped.go_on()
    torch.save({**state, "random": Dangerous()}, path)
    with pytest.raises(ConfigError, match="may run code"):
        stopped.go_on()


class Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.slow
def test_a_disk_that_fills_up_is_an_error_of_the_disk(dataset: Dataset, tmp_path: Path) -> None:
    """``ulimit -f`` of 30 MB: last.pt fits, the state does not. What was there stays, and the run goes on later."""
    stopped = Recorded(tmp_path, make_config(), dataset)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30 << 20, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large.*training\.state"):
            stopped.go_on()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"best.pt", "last.pt", "progress.json"}


@pytest.mark.slow
def test_changed_conditions_are_recorded(dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = Recorded(tmp_path, make_config(train__epochs=3), dataset)
    for torch_version, epoch in (("2.14", 1), ("2.15", 2)):
        with pytest.raises(Killed):
            stopped.go_on(kill=lambda row: True, conditions={"torch": torch_version, "cpu": "a"})
        assert max(stopped.rows) == epoch
    stopped.go_on(conditions={"torch": "2.15", "cpu": "a"})
    assert stopped.outcome is not None
    assert stopped.outcome.changes == ["torch 2.14, then 2.15"]
    assert "not as before the interruption: torch 2.14, then 2.15" in capsys.readouterr().out
    assert Progress.load(tmp_path / "weights").changes == ["torch 2.14, then 2.15"]
