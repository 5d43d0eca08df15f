"""The embedded data set: the same bytes everywhere, complete or absent, safe for several processes."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acmix_exp.config import DatasetConfig
from acmix_exp.data import inspect, read_split, resolve, shapes
from acmix_exp.data.shapes import COUNTS, SIZE, VERSION, draw_scene, encode_png, make_shapes
from acmix_exp.errors import ConfigError

# sha256 over the embedded data set by version, on every machine. If it changes, VERSION must change too.
CONTENT = {1: "edb667bcfae5f1b04d463b2727127152681ee4d7e75170f5e89f46a6a1af3993"}
MAKE = """
import sys
from pathlib import Path
from acmix_exp.data.shapes import make_shapes
make_shapes(Path(sys.argv[1]))
"""
NEVER_ENDS = f"from acmix_exp.data import shapes; shapes.COUNTS['train'] = 10**6{MAKE}"


def content(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shapes(tmp_path_factory.mktemp("shapes")).parent


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few images, for tests that do not look at them."""
    monkeypatch.setattr(shapes, "COUNTS", {"train": 8, "val": 6})


def test_bytes_are_those_of_this_version(shapes_folder: Path) -> None:
    assert content(shapes_folder) == CONTENT[VERSION]


def test_counts_and_classes(shapes_folder: Path) -> None:
    dataset = resolve(DatasetConfig(name="shapes", root=str(shapes_folder.parent)))
    found = inspect(dataset)
    assert found.images == {"train": 200, "val": 64} == COUNTS
    assert len(dataset.names) >= 4
    assert all(min(found.counts[split].values()) >= 10 for split in COUNTS)
    assert found.problems == {}
    assert {len(sample.boxes) for sample in read_split(dataset, "train")} <= {1, 2, 3}


def test_boxes_are_tight_around_shapes() -> None:
    random = np.random.RandomState(3)
    pixels, boxes = draw_scene(random)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    corners = np.concatenate([boxes[:, 1:3] - boxes[:, 3:] / 2, boxes[:, 1:3] + boxes[:, 3:] / 2], 1) * SIZE
    assert np.array_equal(corners, corners.round())
    assert corners.min() >= 0
    assert corners.max() <= SIZE


@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 33), (160, 200)], ids=["1x1", "10x33", "two-blocks"])
def test_png_reads_back(height: int, width: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    (tmp_path / "x.png").write_bytes(encode_png(pixels))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), pixels)


def test_is_generated_once(shapes_folder: Path) -> None:
    before = shapes_folder.stat().st_mtime_ns
    make_shapes(shapes_folder.parent)
    assert shapes_folder.stat().st_mtime_ns == before


@pytest.mark.usefixtures("few")
def test_cache_folder_is_the_default(cache_home: Path) -> None:
    assert resolve(DatasetConfig(name="shapes")).source == cache_home / f"shapes-v{VERSION}" / "data.yaml"


def test_concurrent_processes_share_one_folder(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", MAKE, str(tmp_path)]) for _ in range(2)]
    assert [child.wait(120) for child in children] == [0, 0]
    assert content(tmp_path / f"shapes-v{VERSION}") == CONTENT[VERSION]
    assert os.listdir(tmp_path) == [f"shapes-v{VERSION}"]


@pytest.mark.usefixtures("few")
def test_a_killed_process_leaves_no_incomplete_folder(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", NEVER_ENDS, str(tmp_path)])
    until = time.monotonic() + 30
    while not list(tmp_path.glob(".*/folder/images/train/0010.png")) and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / f"shapes-v{VERSION}").exists()
    assert len(list((make_shapes(tmp_path).parent / "images").rglob("*.png"))) == 14


@pytest.mark.usefixtures("few")
def test_stale_temporary_folders_are_deleted(tmp_path: Path) -> None:
    old, new = (tmp_path / f".shapes-v{VERSION}.making-{name}" for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    os.utime(old, (0, 0))
    make_shapes(tmp_path)
    assert not old.exists()
    assert new.exists()


@pytest.mark.usefixtures("few")
def test_damaged_folder_is_regenerated(tmp_path: Path) -> None:
    folder = make_shapes(tmp_path).parent
    before = content(folder)
    (folder / "images" / "val" / "0005.png").unlink()
    assert content(make_shapes(tmp_path).parent) == before
    assert os.listdir(tmp_path) == [folder.name]


def test_unwritable_folder_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^dataset\.root=.*file: cannot write to .*; must be a writable folder$"):
        resolve(DatasetConfig(name="shapes", root=str(tmp_path / "file")))
