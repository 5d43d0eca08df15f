"""A checkpoint to tamper with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLOv8n of ultralytics, not trained."""
    import torch
    from ultralytics.nn.tasks import DetectionModel

    path = tmp_path_factory.mktemp("stock") / "yolov8n.pt"
    arguments = {"task": "detect", "model": "yolov8n.yaml"}
    torch.save({"epoch": -1, "train_args": arguments, "model": DetectionModel("yolov8n.yaml", nc=2).half()}, path)
    return path
