"""An experiment's folder, with run directories as they are on disk."""

import json

import numpy as np
import pytest
import yaml

from acmix_exp.outcomes import Outcomes
from acmix_exp.run.replicates import mean_average_precision


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "test"


@pytest.fixture
def add(folder):
    """Write a run directory; ``map50_95`` None leaves it unfinished."""

    def write(arm, seed, map50_95, *, swept=None, kernel_att=7, epochs=2, status=None, given=None, data="f", **extra):
        inserts = arm != "baseline"
        control = arm in ("identity", "join", "conv3x3", "conv3x3_matched")
        block = {"name": "acmix", "kernel_att": kernel_att, "head": 4, "path": arm} if inserts else {}
        block = given or ({"name": arm} if control else block)
        path = folder / f"{arm}-s{seed}-{len(list(folder.glob('*'))):08d}"
        path.mkdir(parents=True)
        placement = {
            "name": "sppf" if inserts else "none",
            "mode": "after",
            "sites": ["sppf"] if inserts else [],
            "norm": arm != "identity",
        }
        train = {"epochs": epochs, "imgsz": 64, "batch": 4, "optimizer": "AdamW", "lr0": 0.002}
        model = {"name": "yolov8", "scale": "n", "pretrained": None}
        config = {
            "seed": seed,
            "arm": {"name": arm, "insert": inserts, "control": control},
            "block": block,
            "model": {**model, "placement": placement},
            "train": train,
            "dataset": {"name": "shapes"},
        }
        identity = {
            "seed": seed,
            "block": block or None,
            "placement": placement if inserts else None,
            "model": model,
            "data": data,
            "train": train,
            "hardware": {"precision": "fp32", "device": "cpu"},
        }
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        (path / "provenance.json").write_text(
            json.dumps({"identity": identity, "dataset": {"name": "shapes", "fingerprint": data}, **extra})
        )
        state = status or {"status": "pending" if map50_95 is None else "done"}
        (path / "status.json").write_text(json.dumps({"arm": arm, "seed": seed, "swept": swept or {}, **state}))
        if map50_95 is not None:
            metrics = {"map50": map50_95 + 0.2, "map50_95": map50_95, "split": "val", "checkpoint": "last.pt"}
            cost = {"parameters": 3_000_000 + 1000 * inserts, "gflops": 8.0, "latency_ms_b1": 10.0}
            result = {"arm": arm, "seed": seed, "swept": swept or {}, "metrics": metrics, "cost": cost}
            (path / "result.json").write_text(json.dumps(result))
        return path

    return write


def detected(hits):
    """One object and one detection on each image, of which ``hits`` are right."""
    n = len(hits)
    return Outcomes(
        images=np.array([f"{i:03}.png" for i in range(n)]),
        classes=np.array(["disc"]),
        targets=np.ones((n, 1), np.uint16),
        image=np.arange(n, dtype=np.uint32),
        label=np.zeros(n, np.uint16),
        confidence=np.linspace(0.9, 0.1, n, dtype=np.float32),
        matches=np.where(hits, 2**10 - 1, 0).astype(np.uint16),
    )


@pytest.fixture
def scored(add):
    """``scored(arm, seed, hits)``: a run that finds the objects on these images."""

    def write(arm, seed, hits):
        outcomes = detected(hits)
        value = float(mean_average_precision(outcomes, np.ones((1, len(hits)), np.int64)).mean())
        path = add(arm, seed, value)
        outcomes.save(path / "outcomes.npz")
        return path

    return write
