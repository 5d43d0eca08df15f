from __future__ import annotations

from typing import Any

from acmix_exp.tracking.summary import per_class, summarize, table

RESULT: dict[str, Any] = {
    "arm": "mixed",
    "seed": 0,
    "metrics": {
        "map50": 0.5,
        "map50_95": 0.3,
        "precision": 0.6,
        "recall": 0.7,
        "split": "test",
        "checkpoint": "best",
        "per_class": {"red cell": {"map50": 0.8, "map50_95": 0.4}, "platelet v1.0": {"map50": 0.2, "map50_95": 0.1}},
    },
    "val_best": {"epoch": 3, "map50": 0.55, "map50_95": 0.35},
    "val_last": {"epoch": 4, "map50": 0.54, "map50_95": 0.34},
    "cost": {
        "parameters": 3_200_000,
        "gflops": 9.1,
        "gflops_block": 0.9,
        "latency_ms_b1": 30.0,
        "peak_memory_mb": None,
        "train_seconds": 12.5,
    },
    "audit": {
        "transferred": ["model.0.conv.weight", "model.1.conv.weight"],
        "rebuilt": [],
        "new": [f"rate{i}" for i in range(7)],
    },
}


def test_both_heads_of_a_network() -> None:
    scores = {"nms": {"map50_95": 0.3, "recall": 0.7}, "nms_free": {"map50_95": 0.2, "recall": 0.6}}
    found = summarize({"metrics": {"map50_95": 0.3, "head": "nms", "heads": scores}})
    assert found == {
        "map50_95": 0.3,
        "head": "nms",
        "heads/nms/map50_95": 0.3,
        "heads/nms/recall": 0.7,
        "heads/nms_free/map50_95": 0.2,
        "heads/nms_free/recall": 0.6,
    }


def test_all_metrics_and_costs() -> None:
    assert summarize(RESULT) == {
        "map50": 0.5,
        "map50_95": 0.3,
        "precision": 0.6,
        "recall": 0.7,
        "split": "test",
        "checkpoint": "best",
        "val_best/epoch": 3,
        "val_best/map50": 0.55,
        "val_best/map50_95": 0.35,
        "val_last/epoch": 4,
        "val_last/map50": 0.54,
        "val_last/map50_95": 0.34,
        "parameters": 3_200_000,
        "gflops": 9.1,
        "gflops_block": 0.9,
        "latency_ms_b1": 30.0,
        "train_seconds": 12.5,
        "audit/transferred": 2,
        "audit/rebuilt": 0,
        "audit/new": 7,
        "per_class/red cell/map50": 0.8,
        "per_class/red cell/map50_95": 0.4,
        "per_class/platelet v1.0/map50": 0.2,
        "per_class/platelet v1.0/map50_95": 0.1,
    }


def test_a_result_without_details() -> None:
    assert summarize({}) == {}
    assert summarize({"metrics": {"map50": 0.5, "per_class": None}, "audit": None}) == {"map50": 0.5}


def test_the_table_has_one_row_per_class() -> None:
    columns, rows = table(per_class(RESULT))
    assert columns == ["class", "map50", "map50_95"]
    assert rows == [["red cell", 0.8, 0.4], ["platelet v1.0", 0.2, 0.1]]
