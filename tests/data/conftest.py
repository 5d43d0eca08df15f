"""A cache folder per test, and small data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.builders import VocSet, YoloSet


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder per test, and no ultralytics settings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "no-settings"))
    return tmp_path / "cache" / "acmix_exp"


@pytest.fixture
def yolo_set(tmp_path: Path) -> YoloSet:
    return YoloSet(tmp_path / "cats")


@pytest.fixture
def voc_set(tmp_path: Path) -> VocSet:
    return VocSet(tmp_path / "cells")
