"""Folders of finished runs, as a sweep leaves them, without training; and their tables as in summary.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from acmix_exp.report.planned import Asked
from acmix_exp.report.write import write_summary

SITES = ("backbone_p4", "backbone_p5")
CLASSES = ("RBC", "WBC", "Platelets & <b>rest</b>")
GAIN = {"baseline": 0.0, "identity": 0.0, "conv3x3": 0.008, "conv": -0.012, "attention": 0.004, "mixed": 0.03}
BLOCKS = {"identity": "identity", "conv3x3": "conv3x3"}
MACHINE = {"platform": "Linux", "cpu": "AMD EPYC", "cores": 2, "memory_gib": 23.5, "device": "cpu"}
GPU = {**MACHINE, "device": "0", "gpu": "NVIDIA H200", "gpu_memory_gib": 139.8}


def summary(folder: Path, reference: str = "baseline", **asked: Any) -> list[dict[str, Any]]:
    """Write the summary files; the tables that summary.json then has."""
    write_summary(folder, Asked(reference, **asked))
    tables: list[dict[str, Any]] = json.loads((folder / "summary.json").read_text())["tables"]
    return tables


def add_runs(
    folder: Path,
    arms: tuple[str, ...] = tuple(GAIN),
    seeds: int = 10,
    epochs: int = 20,
    pictures: bool = True,
    hardware: Any = lambda arm, seed: MACHINE,
) -> list[Path]:
    """``len(arms) * seeds`` finished runs, all of one table."""
    return [add_run(folder, arm, seed, epochs, pictures, hardware(arm, seed)) for arm in arms for seed in range(seeds)]


def add_run(
    folder: Path, arm: str, seed: int, epochs: int = 20, pictures: bool = True, hardware: dict[str, Any] = MACHINE
) -> Path:
    random = np.random.default_rng([seed, list(GAIN).index(arm)])
    shared = np.random.default_rng(seed).normal(0, 0.02)
    path = folder / f"{arm}-s{seed}-{abs(hash((arm, seed))) % 16**8:08x}"
    path.mkdir(parents=True)
    inserts = arm != "baseline"
    parts = _identity(arm, seed, epochs)
    config = {
        "name": folder.name,
        "seed": seed,
        "runs_dir": str(folder.parent),
        "arm": {"name": arm, "insert": inserts, "control": arm in BLOCKS},
        "block": parts["block"] or {},
        "model": {**parts["model"], "placement": {"name": "p", **(parts["placement"] or {"sites": []})}},
        "train": parts["train"],
        "dataset": {"name": "yolo", "path": None, "root": None},
        "logger": {"mode": "offline", "project": "acmix_exp", "entity": None},
        "tags": [],
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    headline = 0.35 + GAIN[arm] + (0 if arm == "identity" else random.normal(0, 0.006)) + shared
    _write_results(path, arm, seed, epochs, headline, random, hardware, parts)
    if pictures:
        write_images(path / "images", arm in ("attention", "mixed"), seed, headline)
    return path


def _identity(arm: str, seed: int, epochs: int) -> dict[str, Any]:
    block: dict[str, Any] = {"name": BLOCKS.get(arm, "acmix")}
    if arm not in BLOCKS:
        block |= {"kernel_att": 7, "head": 4, "kernel_conv": 3, "path": arm, "backend": "auto"}
    joined = arm != "identity"
    placement = {"mode": "after", "sites": list(SITES), "norm": joined, "act": joined, "residual": joined}
    return {
        "seed": seed,
        "block": None if arm == "baseline" else block,
        "placement": None if arm == "baseline" else {**placement, "zero_init": False},
        "model": {"name": "yolov8", "scale": "n", "pretrained": None},
        "data": "f" * 64,
        "train": {"epochs": epochs, "imgsz": 320, "batch": 16, "optimizer": "AdamW", "lr0": 0.002, "extra": {}},
        "hardware": {"precision": "fp32", "device": "cpu"},
    }


def _write_results(
    path: Path,
    arm: str,
    seed: int,
    epochs: int,
    headline: float,
    random: np.random.Generator,
    hardware: dict[str, Any],
    parts: dict[str, Any],
) -> None:
    per_class = {
        name: {"map50": headline + 0.2, "map50_95": headline + 0.1 * place + random.normal(0, 0.01)}
        for place, name in enumerate(CLASSES)
    }
    milliseconds = 40 + 8 * (arm != "baseline") + 6 * (arm == "mixed") + random.normal(0, 0.8)
    if hardware.get("gpu"):
        milliseconds /= 15
    result = {
        "arm": arm,
        "seed": seed,
        "swept": {},
        "metrics": {
            "map50": headline + 0.22,
            "map50_95": headline,
            "precision": 0.8,
            "recall": 0.6,
            "per_class": per_class,
            "split": "test",
            "checkpoint": "best.pt",
        },
        "val_best": {"epoch": epochs - 1, "map50": headline + 0.23, "map50_95": headline + 0.01},
        "val_last": {"epoch": epochs, "map50": headline + 0.21, "map50_95": headline - 0.01},
        "cost": {
            "parameters": 3_011_433 + 279_000 * (arm != "baseline"),
            "gflops": 8.08 + 0.4 * (arm != "baseline"),
            "gflops_block": 0.4 * (arm != "baseline"),
            "latency_ms_b1": milliseconds,
            "peak_memory_mb": 2008.9,
            "train_seconds": 666.2,
        },
        "epochs": epochs,
        "imgsz": 320,
        "batch": 16,
        "resumed": False,
    }
    (path / "result.json").write_text(json.dumps(result))
    status = {"status": "done", "attempt": 1, "resumed": False, "pid": None, "error": None}
    (path / "status.json").write_text(json.dumps({**status, "arm": arm, "seed": seed, "swept": {}}))
    provenance = {
        "command": "python -m acmix_exp +experiment=ablation_full dataset=yolo dataset.path=data.yaml",
        "identity": parts,
        "dataset": {"name": "bccd", "fingerprint": "f" * 64, "names": dict(enumerate(CLASSES))},
        "versions": {"acmix_exp": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "ultralytics": "8.4.190"},
        "git": {"commit": "3e6d5164acd3ca98579c513590e91a54718079a8", "dirty": False},
        "hardware": hardware,
        "transfer": {"transferred": [], "rebuilt": [], "new": []},
        "seed_proof": f"{seed:064x}",
        "precision": "fp32",
        "seconds_in_all": 700.0,
    }
    (path / "provenance.json").write_text(json.dumps(provenance))
    _write_history(path / "history.csv", arm, epochs, headline, random)


def _write_history(path: Path, arm: str, epochs: int, headline: float, random: np.random.Generator) -> None:
    rates = {"attention": ("rate1",), "conv": ("rate2",), "mixed": ("rate1", "rate2")}.get(arm, ())
    with open(path, "w", newline="") as file:
        writer = None
        for epoch in range(1, epochs + 1):
            value = max(headline * (1 - np.exp(-4 * epoch / epochs)) + random.normal(0, 0.01), 0)
            row = {"epoch": epoch, "train/box_loss": 4 / epoch, "map50": value + 0.2, "map50_95": value, "lr": 0.002}
            for depth, site in enumerate(SITES):
                for rate in rates:
                    pull = 0.006 * epoch * (1 if rate == "rate1" else -1) * (depth - 0.4)
                    row[f"rates/{site}/{rate}"] = 0.5 + pull + random.normal(0, 0.004)
            if writer is None:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
            writer.writerow(row)


def write_images(folder: Path, attends: bool, seed: int, headline: float) -> None:
    folder.mkdir()
    random, fixed = np.random.default_rng(seed), np.random.default_rng(7)
    entries = []
    for number in range(4):
        height, width = (240, 320) if number % 2 else (320, 320)
        image = np.full((height, width, 3), (225, 230, 238), np.uint8)
        image = cv2.add(image, fixed.integers(0, 12, image.shape, dtype=np.uint8))
        truth, predictions = [], []
        for place in range(3 + 4 * (number == 3)):
            x, y = fixed.uniform(0.18, 0.82, 2)
            size = fixed.uniform(0.08, 0.16)
            centre, colour = (int(x * width), int(y * height)), tuple(int(c) for c in fixed.integers(60, 200, 3))
            cv2.circle(image, centre, int(size * height), colour, -1)
            box = [x - size * height / width, y - size, x + size * height / width, y + size]
            truth.append({"class": CLASSES[place % 3], "box": [round(float(value), 4) for value in box]})
            if random.uniform() < headline + 0.5:
                moved = np.clip(np.array(box) + random.normal(0, 0.008, 4), 0, 1)
                confidence = round(float(random.uniform(0.1, 0.97)), 4)
                values = [round(float(value), 4) for value in moved]
                predictions.append({"class": CLASSES[place % 3], "confidence": confidence, "box": values})
        name = f"{number}.jpg"
        cv2.imwrite(str(folder / name), image)
        facts = {"file": name, "name": f"blood_{number}.jpg", "width": width, "height": height}
        entries.append({**facts, "truth": truth, "predictions": predictions})
    stored = {"split": "test", "checkpoint": "best.pt", "lowest_confidence": 0.1, "images": entries}
    (folder / "images.json").write_text(json.dumps(stored))
    if attends:
        (folder / "windows.json").write_text(json.dumps(_windows(entries[0], random)))


def _windows(entry: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    points = [
        {"x": (box["box"][0] + box["box"][2]) / 2, "y": (box["box"][1] + box["box"][3]) / 2, "of": box["class"]}
        for box in entry["truth"]
    ]
    points.append({"x": 0.05, "y": 0.95, "of": None})
    sites = []
    for name, side in zip(SITES, (22, 11), strict=True):
        windows = []
        for point in points:
            row, column = (min(int((value * 320 + 16) * side / 352), side - 1) for value in (point["y"], point["x"]))
            rows, columns = ([_reflect(place + tap - 3, side) for tap in range(7)] for place in (row, column))
            logits = random.normal(0, 1.2, (4, 49))
            weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            heads = weights.reshape(4, 7, 7)
            windows.append(
                {
                    "site": [row, column],
                    "rows": rows,
                    "columns": columns,
                    "mean": np.round(heads.mean(0), 5).tolist(),
                    "heads": np.round(heads, 5).tolist(),
                }
            )
        cell = 352 / side / 320
        facts = {"site": name, "head": 4, "kernel_att": 7, "map": [side, side]}
        sites.append({**facts, "origin": [-0.05, -0.05], "cell": [cell, cell], "windows": windows})
    return {"image": 0, "points": points, "sites": sites}


def _reflect(place: int, side: int) -> int:
    place = abs(place)
    return place if place < side else 2 * (side - 1) - place
