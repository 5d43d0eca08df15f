"""Comparisons between networks: what a seed pairs of them is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo.families import title
from tests.report.builders import summary

NOTE = "Comparisons between different networks pair the data alone"


def add_networks(add: Any, names: Sequence[str], arms: Sequence[str] = ("baseline",)) -> None:
    for seed in range(6):
        for place, name in enumerate(names):
            for row in arms:
                path: Path = add(row, seed, 0.3 + 0.01 * place + 0.001 * seed * (place + 1), swept={"model": name})
                for file in ("config.yaml", "provenance.json"):
                    content = yaml.safe_load((path / file).read_text())
                    model = content["model"] if file == "config.yaml" else content["identity"]["model"]
                    model |= {"name": name}
                    (path / file).write_text(json.dumps(content))


def test_networks_are_compared_with_each_other_and_the_note_says_what_is_paired(folder: Path, add: Any) -> None:
    add_networks(add, ("yolov8", "yolo11", "yolo26"))
    (table,) = summary(folder, pairs="all")
    assert table["family"] == len(table["pairs"]) == 3
    assert [row["model"] for row in table["rows"]] == ["yolov8", "yolo11", "yolo26"]
    assert {pair["verdict"] for pair in table["pairs"]} == {"better"}
    assert sum(NOTE in note for note in table["notes"]) == 1


def test_comparisons_within_a_network_have_no_such_note(folder: Path, add: Any) -> None:
    add_networks(add, ("yolo12", "yolo26"), ("baseline", "mixed"))
    (table,) = summary(folder)
    assert table["family"] == 2
    assert not any(NOTE in note for note in table["notes"])


def test_the_experiment_is_four_stock_networks_under_one_protocol(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    cells = compose_cells(["+experiment=generations", "hardware=cpu"])
    configs = [arm.apply(cell.config) for cell in cells]
    assert [title(config.model) for config in configs if config.seed == 5] == [
        "yolov8n",
        "yolo11n",
        "yolo12n",
        "yolo26n",
    ]
    assert len(configs) == 24
    assert not any(config.arm.insert for config in configs)
    assert {config.report.pairs for config in configs} == {"all"}
    assert len({repr((config.train, config.dataset, config.hardware)) for config in configs}) == 1
