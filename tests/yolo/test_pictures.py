"""What a run stores for the report."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from acmix_exp.data import Dataset, Sample
from acmix_exp.nn import ACmix
from acmix_exp.yolo import picture_objects
from acmix_exp.yolo.report_images import (
    MOST_BYTES,
    chosen,
    encoded,
    in_pixels,
    letterbox,
    query_points,
    recorded_inputs,
    site_windows,
    store_pictures,
    stretch,
)
from tests.yolo.builders import make_config


def store(trained: Any, dataset: Dataset) -> dict[str, bytes]:
    outcome, _, run_dir = trained
    store_pictures(run_dir, dataset, outcome.metrics, make_config(), device="cpu")
    folder = run_dir / "images"
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    return files


def test_images_truth_predictions_and_windows(trained: Any, dataset: Dataset) -> None:
    files = store(trained, dataset)
    assert sorted(files) == ["0.jpg", "1.jpg", "2.jpg", "images.json", "windows.json"]
    assert sum(map(len, files.values())) < 300_000
    images = json.loads(files["images.json"])
    assert (images["split"], images["checkpoint"]) == ("test", "best.pt")
    assert [entry["name"] for entry in images["images"]] == [path.name for path in dataset.splits["test"]]
    first = images["images"][0]
    assert [box["class"] for box in first["truth"]] == ["square", "disc"]
    assert np.allclose(np.multiply(first["truth"][0]["box"], 64), [3.5, 5.5, 20.5, 22.5], atol=0.01)
    for entry in images["images"]:
        for box in entry["predictions"]:
            assert box["class"] in ("square", "disc")
            assert 0.1 <= box["confidence"] <= 1
            assert all(0 <= value <= 1 for value in box["box"])
    windows = json.loads(files["windows.json"])
    assert [point["of"] for point in windows["points"]] == ["disc", "square", None]
    (site,) = windows["sites"]
    assert (site["site"], site["head"], site["kernel_att"]) == ("backbone_p5", 4, 3)
    assert len(site["windows"]) == 3
    for window in site["windows"]:
        heads = np.array(window["heads"])
        assert heads.shape == (4, 3, 3)
        assert np.allclose(heads.sum((1, 2)), 1, atol=1e-3)
        assert np.allclose(heads.mean(0), window["mean"], atol=1e-4)
        row, column = window["site"]
        assert (window["rows"][1], window["columns"][1]) == (row, column)
    # a point lies in the cell that its window is centred on
    for point, window in zip(windows["points"], site["windows"], strict=True):
        row, column = window["site"]
        left, top = (site["origin"][i] + site["cell"][i] * (column, row)[i] for i in (0, 1))
        assert left <= point["x"] < left + site["cell"][0]
        assert top <= point["y"] < top + site["cell"][1]
    assert store(trained, dataset) == files


def test_boxes_of_predictions_come_back_to_the_image(dataset: Dataset, trained: Any, monkeypatch: Any) -> None:
    """A detector that finds the letterbox's pixels (x1, y1, x2, y2) = the image's first truth box."""

    def perfect(found: Any, *_: Any, **__: Any) -> list[torch.Tensor]:
        scale, left, top = 1.0, 16, 16  # 64 x 64 in 96 x 96
        x1, y1, x2, y2 = (value * scale for value in (3.5, 5.5, 20.5, 22.5))
        return [torch.tensor([[x1 + left, y1 + top, x2 + left, y2 + top, 0.9, 0]])]

    monkeypatch.setattr(picture_objects, "non_max_suppression", perfect)
    first = json.loads(store(trained, dataset)["images.json"])["images"][0]
    assert first["predictions"][0]["box"] == first["truth"][0]["box"]


def test_an_error_is_one_line(
    trained: Any, dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_pictures(tmp_path, dataset, trained[0].metrics, make_config(), device="cpu")
    out = capsys.readouterr().out
    assert out.startswith("images for the report were not stored: FileNotFoundError: ")
    assert out.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_choice_depends_on_the_data_only() -> None:
    samples = [Sample(Path(f"{i:02}.png"), 64, 64, np.zeros((i % 2, 5), np.float32)) for i in range(40)]
    assert [sample.image.stem for sample in chosen(samples, 4)] == ["05", "15", "25", "35"]
    assert len(chosen(samples)) == 12
    assert {"05", "15", "25", "35"} <= {sample.image.stem for sample in chosen(samples)}, "as older versions"
    assert len(chosen(samples[:4])) == 2
    assert chosen([samples[0]]) == []


def test_letterbox_as_validation_does() -> None:
    image = np.full((50, 100, 3), 255, np.uint8)
    boxed = letterbox(image, 320, 32, torch.device("cpu"))
    assert boxed.pixels.shape == (1, 3, 192, 352)
    assert (boxed.scale, boxed.left, boxed.top) == ((3.2, 3.2), 16, 16)
    assert float(boxed.pixels[0, 0, 16, 16]) == 1
    assert float(boxed.pixels[0, 0, 15, 16]) == pytest.approx(114 / 255)


def test_stored_images_are_small() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
    data = encoded(noise)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (312, 416, 3)
    assert len(data) <= 1.5 * MOST_BYTES  # noise is the worst there is


def test_query_points_prefer_other_classes() -> None:
    boxes = np.array([[0, 0.2, 0.2, 0.3, 0.3], [0, 0.2, 0.8, 0.29, 0.29], [1, 0.8, 0.2, 0.1, 0.1]], np.float32)
    points = query_points(boxes, {0: "a", 1: "b"})
    assert [point["of"] for point in points] == ["a", "b", "a", None]
    assert points[3]["x"] > 0.4
    covered = np.array([[0, 0.5, 0.5, 1, 1]], np.float32)
    assert [point["of"] for point in query_points(covered, {0: "a"})] == ["a"]


def test_large_windows_keep_their_mean(monkeypatch: Any) -> None:
    block = ACmix(32, 32, kernel_att=31, head=16, path="attention")

    class Model(torch.nn.Module):
        def blocks(self) -> dict[str, torch.nn.Module]:
            return {"sppf": block}

    boxed = letterbox(np.zeros((320, 320, 3), np.uint8), 320, 32, torch.device("cpu"))
    with recorded_inputs(Model()) as recorded:
        block(torch.randn(1, 32, 11, 11))
    (site,) = site_windows(recorded, boxed, [{"x": 0.5, "y": 0.5, "of": None}] * 3)
    assert len(site["windows"]) == 1
    assert site["windows"][0]["heads"] is None
    assert np.sum(site["windows"][0]["mean"]) == pytest.approx(1, abs=5e-3)


def test_an_image_stretched_to_a_square() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    boxed = stretch(image, 64, 32, torch.device("cpu"))
    assert (tuple(boxed.pixels.shape), boxed.left, boxed.top) == ((1, 3, 64, 64), 0, 0)
    assert boxed.to_image(32, 16) == (0.5, 0.25)
    queries = torch.tensor([[[0.5, 0.25, 0.2, 0.1, 0.9, 1.0]]])
    found = in_pixels((queries, None), boxed)
    assert torch.allclose(found, torch.tensor([[[25.6, 12.8, 38.4, 19.2, 0.9, 1.0]]]))
    assert np.allclose(
        [*boxed.to_image(*found[0, 0, :2].tolist()), *boxed.to_image(*found[0, 0, 2:4].tolist())], [0.4, 0.2, 0.6, 0.3]
    )
