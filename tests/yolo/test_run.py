"""The one tiny training, and a few variations of it."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acmix_exp.config import PlacementConfig
from acmix_exp.data import Dataset
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.evaluation import evaluate_checkpoint
from acmix_exp.yolo.model import BlockDetectionModel
from acmix_exp.yolo.run import Outcome, train
from tests.yolo.builders import bare, make_config

Trained = tuple[Outcome, list[dict[str, float]], Path]
COLUMNS = {
    *("epoch", "precision", "recall", "map50", "map50_95", "lr", "seconds"),
    *(f"{split}/{loss}_loss" for split in ("train", "val") for loss in ("box", "cls", "dfl")),
}


def same_weights(a: Outcome, b: Outcome) -> bool:
    pairs = zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_rows(trained: Trained) -> None:
    _, rows, _ = trained
    assert [row["epoch"] for row in rows] == [1, 2]
    rates = {f"rates/backbone_p5/{name}" for name in ("rate1", "rate2")}
    assert all(set(row) == COLUMNS | rates for row in rows)
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert all(row["seconds"] > 0 and 0 < row["lr"] <= 0.002 for row in rows)


def test_outcome(trained: Trained) -> None:
    outcome, rows, _ = trained
    assert outcome.val_last == {key: rows[-1][key] for key in ("epoch", "map50", "map50_95")}
    best = max(rows, key=lambda row: (row["map50_95"], row["epoch"]))
    assert outcome.val_best["epoch"] == best["epoch"]
    assert outcome.metrics["split"] == "test"
    assert outcome.metrics["checkpoint"] == "best.pt"
    assert set(outcome.metrics["per_class"]) == {"square", "disc"}
    assert len(outcome.seed_proof) == 64
    assert outcome.batch == 4
    assert outcome.peak_memory_mb > 50
    assert outcome.train_seconds == pytest.approx(sum(row["seconds"] for row in rows))
    assert outcome.audit["transferred"] == []
    assert len(outcome.audit["new"]) == len(outcome.model.new_keys())
    model = outcome.model
    assert isinstance(model, BlockDetectionModel)
    assert not model.training
    assert not model.is_fused()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    rate = model.blocks()["backbone_p5"].rate1
    assert float(rate) == pytest.approx(rows[-1]["rates/backbone_p5/rate1"])
    assert float(rate) != 0.5
    json.dumps([outcome.metrics, outcome.val_best, outcome.val_last, outcome.audit])


def test_files(trained: Trained) -> None:
    _, _, run_dir = trained
    found = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    assert found == {"args.yaml", "outcomes.npz", "weights/best.pt", "weights/last.pt", "weights/progress.json"}
    for name in ("best", "last"):
        checkpoint = torch.load(run_dir / "weights" / f"{name}.pt", weights_only=False)
        assert checkpoint["optimizer"] is None
        assert checkpoint["train_args"]["nbs"] == 4
        assert checkpoint["train_results"]["epoch"]


def test_evaluate_repeats_the_headline(trained: Trained, dataset: Dataset) -> None:
    outcome, _, run_dir = trained
    again = evaluate_checkpoint(run_dir / "weights" / "best.pt", dataset, "test", make_config(), "cpu")
    assert again == outcome.metrics
    other = replace(dataset, names={0: "cell", 1: "disc"})
    with pytest.raises(ConfigError, match=r"its classes are cell, disc; must be those of the checkpoint, square, disc"):
        evaluate_checkpoint(run_dir / "weights" / "best.pt", other, "val", make_config(), "cpu")


def test_same_seed_same_bits(trained: Trained, run_once: Callable[..., Trained]) -> None:
    again, rows, _ = run_once(make_config())
    assert same_weights(again, trained[0])
    assert again.seed_proof == trained[0].seed_proof
    assert again.metrics == trained[0].metrics
    drop = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in drop} for row in rows] == [
        {k: v for k, v in row.items() if k not in drop} for row in trained[1]
    ]


def test_a_baseline_is_stock_and_paired(
    trained: Trained, run_once: Callable[..., Trained], dataset_without_test: Dataset
) -> None:
    outcome, rows, run_dir = run_once(bare(make_config()), dataset_without_test)
    assert outcome.seed_proof == trained[0].seed_proof
    assert outcome.metrics["split"] == "val"
    assert outcome.metrics["checkpoint"] == "last.pt"
    assert all(set(row) == COLUMNS for row in rows)
    checkpoint = torch.load(run_dir / "weights" / "last.pt", weights_only=False)
    assert type(checkpoint["model"]).__module__ == "ultralytics.nn.tasks"
    assert "acmix" not in str(checkpoint["model"].yaml)


def test_the_last_checkpoint_on_val_is_the_last_row(trained: Trained, dataset: Dataset) -> None:
    """But for float16 weights: same images, batches and shapes."""
    _, rows, run_dir = trained
    metrics = evaluate_checkpoint(run_dir / "weights" / "last.pt", dataset, "val", make_config(), "cpu")
    assert metrics["map50_95"] == pytest.approx(rows[-1]["map50_95"], abs=0.02)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"train__extra": {"patience": 3}}, "train.extra.patience=3: set by"),
        ({"train__extra": {"cache": "disk"}}, "train.extra.cache=disk: would write beside the images"),
        ({"hardware__precision": "bf16"}, "hardware.precision=bf16: needs a GPU"),
    ],
)
def test_refused_before_anything_is_written(
    changes: dict[str, Any], line: str, dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=line.replace(".", r"\.")):
        train(make_config(**changes), dataset, tmp_path, device="cpu", resume=False, on_epoch=print)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_two_arms_see_the_same_batches(run_once: Callable[..., Trained], workers: int) -> None:
    """Also with ``replace``, also after the workers' first epoch; another seed sees others."""
    placement = PlacementConfig(name="test", mode="replace", sites=["backbone_p4"])
    config = make_config(hardware__workers=workers, train__extra={"close_mosaic": 0})
    conv = make_config(
        hardware__workers=workers, train__extra={"close_mosaic": 0}, block__path="conv", model__placement=placement
    )
    baseline, replaced, inserted = run_once(bare(config))[0], run_once(conv)[0], run_once(config)[0]
    assert baseline.seed_proof == replaced.seed_proof == inserted.seed_proof
    assert run_once(make_config(hardware__workers=workers, seed=1))[0].seed_proof != baseline.seed_proof
    assert same_weights(run_once(config)[0], inserted)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSProp"])
def test_other_optimizers(run_once: Callable[..., Trained], optimizer: str) -> None:
    assert run_once(make_config(train__optimizer=optimizer))[0].val_last["epoch"] == 2
