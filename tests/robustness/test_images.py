"""What the scan passes is what training reads: about 140 odd image files, each compared with ultralytics' reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import Inspection, inspect, read_split, resolve
from acmix_exp.data.images import ImageError, image_size, page_count, quiet_decoders
from tests.data.builders import YoloSet, write_image
from tests.robustness import odd_images
from tests.robustness.cases import Row, add, case
from tests.robustness.test_yolo_sets import trained

USED, LEFT_OUT = "used, with the size that training reads", "left out and named, with the reason, before the first run"
for have in odd_images.USED:
    add(Row("Images", have, USED))
for have in odd_images.LEFT_OUT:
    add(Row("Images", have, LEFT_OUT, "ultralytics #21507" if "cut short" in have else ""))
add(Row("Images", odd_images.DAMAGED, "used if training can read it; else left out and named", "ultralytics #21507"))


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "no-settings"))


def checked(data: bytes, suffix: str) -> tuple[int, int] | str:
    with quiet_decoders():
        try:
            return image_size(data, suffix)
        except ImageError as error:
            return str(error)


LARGE = {"an image of more than 89 or 179 megapixels": pytest.mark.slow}


@pytest.mark.parametrize("have", [pytest.param(have, marks=LARGE.get(have, ())) for have in odd_images.USED])
def test_used(have: str) -> None:
    for name, data in odd_images.USED[have]().items():
        assert isinstance(checked(data, Path(name).suffix), tuple), name


@pytest.mark.parametrize("have", odd_images.LEFT_OUT)
def test_left_out(have: str) -> None:
    for name, data in odd_images.LEFT_OUT[have]().items():
        reason = checked(data, Path(name).suffix)
        assert isinstance(reason, str), name
        assert reason
        assert "\n" not in reason


@case(
    "Images",
    have="several pages or frames in a TIFF, GIF, WebP, PNG or AVIF file; a TIFF with smaller versions of its page",
    here="the first is used, and the number of pages or frames is named; smaller versions are no pages",
)
def test_pages_and_frames(tmp_path: Path) -> None:
    yolo = YoloSet(tmp_path / "set")
    files = odd_images.pages_by_name()
    for name, (data, _) in files.items():
        (yolo.root / "images/train" / name).write_bytes(data)
    lines = "\n".join(inspect(resolve(yolo.config)).warnings)
    for name, (data, count) in files.items():
        assert page_count(data) == count, name
        assert (f"{name}: {count} pages or frames, the first is used" in lines) == (count > 1), name


def test_there_are_a_hundred() -> None:
    groups = [*odd_images.USED.values(), *odd_images.LEFT_OUT.values(), odd_images.damaged]
    assert sum(len(group()) for group in groups if group is not odd_images.large) > 100


@pytest.mark.slow
def test_every_verdict_and_size_is_that_of_the_reader(tmp_path: Path) -> None:
    from acmix_exp.yolo.run import prepare

    prepare()
    from ultralytics.utils.patches import imread

    groups = [*odd_images.USED.values(), *odd_images.LEFT_OUT.values(), odd_images.damaged]
    for name, data in (item for group in groups for item in group().items()):
        path = tmp_path / name
        path.write_bytes(data)
        with quiet_decoders():
            pixels = imread(str(path))
        usable = pixels is not None and pixels.dtype == np.uint8 and pixels.shape[2] == 3
        assert checked(data, path.suffix) == pixels.shape[:2] if usable else isinstance(checked(data, path.suffix), str)


@pytest.fixture
def odd_set(tmp_path: Path) -> YoloSet:
    """All odd files but the large ones in train, each labelled."""
    odd = YoloSet(tmp_path / "odd")
    groups = [*odd_images.USED.values(), *odd_images.LEFT_OUT.values(), odd_images.damaged]
    for name, data in (item for group in groups if group is not odd_images.large for item in group().items()):
        (odd.root / "images/train" / name).write_bytes(data)
        odd.label(f"train/{Path(name).stem}", "0 0.5 0.5 0.5 0.5\n")
    return odd


@case(
    "Images",
    have="a folder of 140 odd images",
    here="what training cannot read is left out, each with its name and reason; training loads every other one",
    reported="yolov5 #195",
)
def test_training_loads_what_the_scan_passes(odd_set: YoloSet, tmp_path: Path) -> None:
    found = inspect(resolve(odd_set.config))
    left_out = [line for line in found.warnings if line.endswith("image left out")]
    assert found.images["train"] + len(left_out) == len(list((odd_set.root / "images/train").iterdir()))
    assert len(left_out) > 30
    samples = read_split(resolve(odd_set.config), "train")
    assert load_all(samples, tmp_path) == {str(sample.image): (sample.height, sample.width) for sample in samples}


def load_all(samples: list, tmp_path: Path) -> dict[str, tuple[int, int]]:
    """The original sizes of all samples as the data set of training loads them."""
    from acmix_exp.yolo.run import prepare

    prepare()
    from ultralytics.cfg import get_cfg

    from acmix_exp.yolo.sample_dataset import SampleDataset

    args = get_cfg(overrides={"imgsz": 64, "mode": "train", "task": "detect", "project": str(tmp_path)})
    data = {"names": {0: "cat", 1: "dog"}, "nc": 2, "channels": 3}
    dataset = SampleDataset(samples, args, data, train=True, batch=4, stride=32, split="train")
    for index in range(len(samples)):
        assert dataset[index]["img"].shape == (3, 64, 64), samples[index].image
    plain = SampleDataset(samples, args, data, train=False, batch=4, stride=32, split="val")
    return {file: plain.load_image(index)[1] for index, file in enumerate(plain.im_files)}


@case(
    "Images",
    have="`a.npy` beside `a.jpg`, of an earlier `cache=disk` or of one's own",
    here="the image is read and the file left alone; ultralytics reads it in place of the image, or overwrites it",
)
@pytest.mark.parametrize("shape", [(30, 40, 3), (7,)], ids=["another-picture", "no-picture"])
def test_npy_files_beside_images(shape: tuple[int, ...], tmp_path: Path) -> None:
    yolo = YoloSet(tmp_path / "set")
    stray = yolo.root / "images/train/a.npy"
    np.save(stray, np.full(shape, 255, np.uint8))
    before = stray.read_bytes()
    samples = read_split(resolve(yolo.config), "train")
    assert set(load_all(samples, tmp_path).values()) == {(30, 40)}
    assert stray.read_bytes() == before


@case("Images", have="large or broken images, a PNG with a bad profile", here="no stray line of a library is printed")
def test_nothing_is_printed_by_libraries(tmp_path: Path) -> None:
    yolo = YoloSet(tmp_path / "set")
    files = odd_images.tails() | odd_images.damaged() | odd_images.cut() | {"large.png": odd_images.large_png(9_600)}
    for name, data in files.items():
        (yolo.root / "images/train" / name).write_bytes(data)
    code = "from acmix_exp.config import DatasetConfig as C; from acmix_exp.data import *; import sys; "
    code += f"print(inspect(resolve(C(name='yolo', path={str(yolo.root / 'data.yaml')!r}))).images); "
    code += "print('after', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "after\n"


def test_a_label_of_an_image_left_out_is_not_counted(tmp_path: Path) -> None:
    yolo = YoloSet(tmp_path / "set")
    write_image(yolo.root / "images/val/f.bmp").write_bytes(odd_images.encoded("BMP")[:500])
    yolo.label("val/f", "0 0.5 0.5 0.5 0.5\n")
    found: Inspection = inspect(resolve(DatasetConfig(name="yolo", path=str(yolo.root / "data.yaml"))))
    assert found.images["val"] == 2
    assert found.boxes["val"] == 4
    assert found.problems == {"unreadable images, left out": 1}


@pytest.mark.slow
def test_a_run_on_odd_images(odd_set: YoloSet, tmp_path: Path) -> None:
    provenance = trained(odd_set, tmp_path / "runs", "odd")
    assert provenance["identity"]["data"] == inspect(resolve(odd_set.config)).fingerprint
