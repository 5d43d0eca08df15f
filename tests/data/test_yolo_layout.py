"""Every form of a data.yaml, and every fault of one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from acmix_exp.config import DatasetConfig
from acmix_exp.data import inspect, read_split, resolve
from acmix_exp.data.label_files import label_path
from acmix_exp.errors import ConfigError
from tests.data.builders import YoloSet, tree_state, write_image


def stems(images: tuple[Path, ...]) -> list[str]:
    return [image.stem for image in images]


def test_folders_beside_the_yaml(yolo_set: YoloSet) -> None:
    dataset = resolve(yolo_set.config)
    assert dataset.names == {0: "cat", 1: "dog"}
    assert {split: stems(images) for split, images in dataset.splits.items()} == {
        "train": ["a", "b", "c"],
        "val": ["d", "e"],
    }
    assert all(image.is_absolute() for images in dataset.splits.values() for image in images)
    sample = read_split(dataset, "val")[0]
    assert (sample.height, sample.width) == (30, 40)
    assert sample.boxes.tolist() == [[0, 0.5, 0.5, 0.25, 0.5], [1, 0.25, 0.25, 0.125, 0.25]]


@pytest.mark.parametrize(
    "text",
    [
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: cat, 1: dog}\n",
        "path: ../cats\ntrain: images/train\nval: images/val\nnames: {'1': dog, '0': cat}\nnc: 2\n",
        "path: {root}\ntrain: images/train\nval: images/val\nnc: 2\nnames: [cat, dog]\n",
        "train: ../images/train\nval: ../images/val\nnames: [cat, dog]\n",
        "train: [images/train]\nvalidation: [images/val/d.jpg, images/val/e.jpg]\nnames: [cat, dog]\n",
        "path: cats\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
        "train: {root}/images/train\nval: {root}/images/val\nnames: [cat, dog]\n",
    ],
    ids=["dot", "relative", "absolute", "export", "lists", "datasets-dir", "absolute-splits"],
)
def test_forms_that_mean_the_same(
    text: str, yolo_set: YoloSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "home" / "Ultralytics" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'{{"datasets_dir": "{tmp_path}"}}')
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "home"))
    plain = inspect(resolve(yolo_set.config))
    yolo_set.write_yaml(text.replace("{root}", str(yolo_set.root)))
    assert inspect(resolve(yolo_set.config)).fingerprint == plain.fingerprint


@pytest.mark.parametrize("prefix", ["./images", "{root}/images", "images", "../cats/images"])
def test_list_files(prefix: str, yolo_set: YoloSet) -> None:
    lines = [f"{prefix}/train/{stem}.jpg".replace("{root}", str(yolo_set.root)) for stem in "ca"]
    (yolo_set.root / "some.txt").write_text("\n".join(lines) + "\n\n")
    yolo_set.write_yaml("train: some.txt\nval: images/val\nnames: [cat, dog]\n")
    dataset = resolve(yolo_set.config)
    assert stems(dataset.splits["train"]) == ["a", "c"]
    assert [len(sample.boxes) for sample in read_split(dataset, "train")] == [2, 2]
    assert inspect(dataset).problems == {}, "labels of images that the list leaves out are no orphans"


def test_folder_of_folders(yolo_set: YoloSet) -> None:
    yolo_set.write_yaml("train: images\nval: images/val\nnames: [cat, dog]\n")
    assert stems(resolve(yolo_set.config).splits["train"]) == ["a", "b", "c", "d", "e"]


def test_working_folder(yolo_set: YoloSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yolo_set.write_yaml("path: cats\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")
    (tmp_path / "elsewhere").mkdir()
    (yolo_set.root / "data.yaml").rename(tmp_path / "elsewhere" / "cats.yaml")
    monkeypatch.chdir(tmp_path)
    dataset = resolve(DatasetConfig(name="yolo", path="elsewhere/cats.yaml"))
    assert dataset.name == "cats"
    assert len(dataset.splits["train"]) == 3


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("/x/images/train/a.jpg", "/x/labels/train/a.txt"),
        ("/images/x/images/a.b.png", "/images/x/labels/a.b.txt"),
        ("/x/pictures/a.jpg", "/x/pictures/a.txt"),
    ],
)
def test_label_path(image: str, label: str) -> None:
    assert label_path(Path(image)) == Path(label)


def test_test_split_without_labels_is_left_out(yolo_set: YoloSet) -> None:
    write_image(yolo_set.root / "images/test/t.jpg", 9)
    yolo_set.write_yaml("train: images/train\nval: images/val\ntest: images/test\nnames: [cat, dog]\n")
    dataset = resolve(yolo_set.config)
    assert "test" not in dataset.splits
    assert "no labels" in dataset.notes[0]
    yolo_set.label("test/t", "0 0.5 0.5 0.5 0.5\n")
    assert stems(resolve(yolo_set.config).splits["test"]) == ["t"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("train: images/train\nval: images/val\n", "no key 'names'"),
        ("train: images/train\nval: images/val\nnames:\n", "no key 'names'"),
        ("train: images/train\nval: images/val\nnames: cat\n", "names cannot be used"),
        ("train: images/train\nval: images/val\nnames: {0: cat, 2: dog}\n", "names has classes 0, 2"),
        ("train: images/train\nval: images/val\nnames: [cat, dog]\nnc: 3\n", "nc is 3"),
        ("train: images/train\nnames: [cat, dog]\n", "no key 'val'"),
        ("val: images/val\nnames: [cat, dog]\n", "no key 'train'"),
        ("train: 3\nval: images/val\nnames: [cat, dog]\n", "train is 3"),
        ("train: nowhere\nval: images/val\nnames: [cat, dog]\n", "train does not exist: "),
        ("train: images/train\nval: labels/val\nnames: [cat, dog]\n", "no images in val: "),
        ("train: [images/train\nval: images/val\n", "not YAML: "),
        ("- train\n", "holds no keys"),
        ("", "holds no keys"),
    ],
)
def test_unusable_yaml(text: str, what: str, yolo_set: YoloSet) -> None:
    yolo_set.write_yaml(text)
    check_error(yolo_set.config, what)


def check_error(config: DatasetConfig, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        inspect(resolve(config))
    message = str(caught.value)
    assert message.startswith(f"dataset.path={config.path}: {what}")
    assert "\n" not in message
    assert re.search(r"; .*\bmust (be|have) ", message)


def test_unusable_path(yolo_set: YoloSet, tmp_path: Path) -> None:
    check_error(DatasetConfig(name="yolo", path=str(tmp_path / "no.yaml")), "no such file")
    check_error(DatasetConfig(name="yolo", path=str(yolo_set.root)), "a folder")
    (yolo_set.root / "data.yaml").write_bytes(b"\xff\xfe\x00\x81")
    check_error(yolo_set.config, "cannot be read")
    with pytest.raises(ConfigError, match=r"^dataset\.path=null: .*; must be a data\.yaml$"):
        resolve(DatasetConfig(name="yolo"))


def test_folder_names_the_yaml_in_it(yolo_set: YoloSet) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.path=.*data\.yaml$"):
        resolve(DatasetConfig(name="yolo", path=str(yolo_set.root)))


@pytest.mark.parametrize(
    ("row", "what"), [("2 .5 .5 .1 .1", "class 2 has no name"), ("0 .5 .5 x .1", "'x'"), ("0 .5 .5 .1", "4 columns")]
)
def test_unusable_label_is_named_with_line(row: str, what: str, yolo_set: YoloSet) -> None:
    path = yolo_set.label("val/e", f"0 .5 .5 .1 .1\n{row}\n")
    check_error(yolo_set.config, f"{path}:2: {what}")


def test_binary_label(yolo_set: YoloSet) -> None:
    path = yolo_set.label("val/e", "")
    path.write_bytes(b"\xff\x00\x81")
    check_error(yolo_set.config, f"{path}: not text")


def test_no_image_can_be_read(yolo_set: YoloSet) -> None:
    for image in (yolo_set.root / "images" / "val").iterdir():
        image.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"no image of val can be read: .*d\.jpg: not an image"):
        inspect(resolve(yolo_set.config))


@pytest.mark.parametrize("split", ["train", "val"])
def test_no_boxes(split: str, yolo_set: YoloSet) -> None:
    for label in (yolo_set.root / "labels" / split).iterdir():
        label.unlink()
    check_error(yolo_set.config, f"no boxes in {split}")


def test_pixels_instead_of_fractions(yolo_set: YoloSet) -> None:
    for path in (yolo_set.root / "labels" / "train").iterdir():
        path.write_text("0 20 15 10 10\n")
    first = yolo_set.root / "labels" / "train" / "a.txt"
    check_error(yolo_set.config, f"no usable box in train: {first}:1: out of range")


def test_unknown_name() -> None:
    with pytest.raises(
        ConfigError, match=r"^dataset\.name=cats: no such data set; must be one of shapes, yolo, voc_xml, coco8"
    ):
        resolve(DatasetConfig(name="cats"))


def test_the_users_folder_is_unchanged(yolo_set: YoloSet) -> None:
    yolo_set.label("train/a", "0 0.5 0.5 0 0\n0 0.5 0.5 0.5 0.5\n")
    before = tree_state(yolo_set.root)
    dataset = resolve(yolo_set.config)
    inspect(dataset)
    read_split(dataset, "train")
    assert tree_state(yolo_set.root) == before
