"""Tables of odd YOLO sets: the change that makes each of an ordinary set, and what is said about it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.data.builders import YoloSet, write_image

BOX = "0 0.5 0.5 0.25 0.5\n"
Change = Callable[[YoloSet], None]


def yaml(train: str = "images/train", val: str = "images/val", names: str = "[cat, dog]", more: str = "") -> Change:
    return lambda s: s.write_yaml(f"train: {train}\nval: {val}\nnames: {names}\n{more}")


def written(path: str, text: str) -> Change:
    return lambda s: write_file(s.root / path, text)


def write_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def moved(old: str, new: str) -> Change:
    def change(s: YoloSet) -> None:
        (s.root / new).parent.mkdir(parents=True, exist_ok=True)
        (s.root / old).rename(s.root / new)

    return change


def linked(link: str, target: str) -> Change:
    def change(s: YoloSet) -> None:
        (s.root / link).parent.mkdir(parents=True, exist_ok=True)
        (s.root / link).symlink_to(s.root / target)

    return change


def beside(s: YoloSet) -> None:
    """The labels of train beside their images."""
    for label in sorted((s.root / "labels/train").iterdir()):
        label.rename(s.root / "images/train" / label.name)


def renamed(form: str) -> Change:
    def change(s: YoloSet) -> None:
        for label in sorted((s.root / "labels/train").iterdir()):
            label.rename(label.with_name(form.format(stem=label.stem, STEM=label.stem.upper())))

    return change


def linked_elsewhere(s: YoloSet) -> None:
    """images/train is a link to a folder of another name, labels/train is not."""
    (s.root / "images/train").rename(s.root.parent / "store")
    (s.root / "images/train").symlink_to(s.root.parent / "store")


def all_images_linked(s: YoloSet) -> None:
    linked_elsewhere(s)
    (s.root / "images/train").unlink()
    (s.root / "images/train").mkdir()
    for image in sorted((s.root.parent / "store").iterdir()):
        (s.root / "images/train" / image.name).symlink_to(image)


def in_parent(s: YoloSet) -> None:
    """Roboflow's ../train/images, where the parent folder holds another set."""
    write_image(s.root.parent / "images/train/z.jpg", 50)
    write_file(s.root.parent / "labels/train/z.txt", BOX)
    yaml("../images/train", "../cats/images/val")(s)


def train_list(*lines: str, name: str = "train.txt") -> Change:
    def change(s: YoloSet) -> None:
        write_file(s.root / name, "\n".join(lines).replace("ROOT", str(s.root)) + "\n")
        yaml(name)(s)

    return change


def copied_into_val(s: YoloSet) -> None:
    """An image of val twice, with other boxes."""
    shutil.copy(s.root / "images/val/d.jpg", s.root / "images/val/d copy.jpg")
    s.label("val/d copy", BOX)


def in_pixels(s: YoloSet) -> None:
    write_image(s.root / "images/train/z.jpg", 60)
    s.label("train/z", "0 20 15 10 10\n")


def merged(s: YoloSet) -> None:
    s.write_yaml("base: &base {names: [cat, dog]}\n<<: *base\ntrain: images/train\nval: images/val\n")


def both(*changes: Change) -> Change:
    def change(s: YoloSet) -> None:
        for each in changes:
            each(s)

    return change


LIST = ("images/train/a.jpg", "images/train/b.jpg", "images/train/c.jpg")
ELSEWHERE = "label files where ultralytics does not look, used"

# What people have, what happens, the change that makes it of an ordinary set, a part of a line that names it ("" if
# nothing needs to be said). All have the 3 images and 6 boxes of the ordinary set in train.
USED: list[tuple[str, str, Change, str]] = [
    ("label files beside the images, in a folder called images", "used, and named", beside, "ultralytics reads"),
    (
        "label files beside the images, in a folder of another name",
        "used",
        both(beside, moved("images/train", "pics"), yaml("pics")),
        "",
    ),
    ("an images folder that is a link, with the labels beside the link", "used", linked_elsewhere, ""),
    (
        "an images folder that is a link, with the labels beside its target",
        "used",
        both(
            moved("images/train", "store/images/train"),
            moved("labels/train", "store/labels/train"),
            linked("images/train", "store/images/train"),
        ),
        "",
    ),
    (
        "a labels folder that is a link",
        "used",
        both(moved("labels/train", "elsewhere"), linked("labels/train", "elsewhere")),
        "",
    ),
    ("every image a link", "used", all_images_linked, ""),
    (
        "a link in the images folder to that folder",
        "left out, and named",
        linked("images/train/loop", "images/train"),
        "is read already",
    ),
    (
        "a link in the images folder to the folder above",
        "left out, and named",
        linked("images/train/loop", "images"),
        "is read already",
    ),
    (
        "another text file of an image's name, of other content: beside it, or A.TXT and A.txt",
        "the file that ultralytics reads is used; the other is named",
        written("images/train/a.txt", BOX),
        "images/train/a.txt: not used, the labels of a.jpg are ",
    ),
    (
        "an image in a split twice, under two names",
        "used twice, as ultralytics does, and named",
        copied_into_val,
        "the same image as ",
    ),
    (
        "images of formats that training does not read: .svg, .jxl, .psd, .cr2",
        "left out, and named",
        written("images/train/z.svg", "<svg/>"),
        "z.svg: training reads no .svg files, image left out",
    ),
    (
        "an empty folder among those of a split",
        "named",
        both(lambda s: (s.root / "empty").mkdir(), yaml("[images/train, empty]")),
        "empty: no images in this part of train",
    ),
    (
        "`path:` of another machine, data beside data.yaml",
        "the folder of data.yaml is read, and it is said",
        yaml(more="path: /content/datasets/cats\n"),
        "path: /content/datasets/cats does not have images/train; read from the folder of data.yaml",
    ),
    (
        "a relative `path:` that is there beside data.yaml and in the working folder",
        "the one beside data.yaml, and the other is named",
        both(lambda s: YoloSet(Path("other/cats")), linked("other/cats", "."), yaml(more="path: other/cats\n")),
        "which exists too",
    ),
    ("names in a merged mapping, `<<: *base`", "used", merged, ""),
    (
        "`valid:` or `validation:` beside `val:`",
        "`val` is used, and the other is named",
        yaml(more="valid: images/train\n"),
        "valid: images/train is not used",
    ),
    (
        "an obj.names or _darknet.labels of another order than data.yaml",
        "named with file and class",
        written("images/train/_darknet.labels", "dog\ncat\n"),
        "class 0 is 'dog' there and 'cat' in data.yaml",
    ),
    (
        "a label file in pixels, all of whose boxes are out of range",
        "the boxes and the image are left out, and named; it is never background",
        in_pixels,
        "z.jpg: none of its boxes can be used, image left out",
    ),
    ("lines of a list in quotes", "used", train_list(*(f'"{line}"' for line in LIST)), ""),
    ("label files called .TXT", "used, and named", renamed("{stem}.TXT"), "a.TXT: labels of a.jpg"),
    ("label files in upper case: A.txt for a.jpg", "used, and named", renamed("{STEM}.txt"), "A.txt: labels of a.jpg"),
    ("label files called a.jpg.txt", "used, and named", renamed("{stem}.jpg.txt"), "a.jpg.txt: labels of a.jpg"),
    ("a folder Labels or LABELS", "used, and named", moved("labels/train", "Labels/train"), "ultralytics reads"),
    (
        "folders Images and Labels",
        "used, and named",
        both(moved("images/train", "Images/train"), moved("labels/train", "Labels/train"), yaml("Images/train")),
        "ultralytics reads",
    ),
    (
        "folders train/img and train/label",
        "used, and named",
        both(moved("images/train", "train/img"), moved("labels/train", "train/label"), yaml("train/img")),
        "ultralytics reads",
    ),
    (
        "a folder labels inside the images folder",
        "used, and named",
        both(moved("labels/train", "x"), moved("x", "images/train/labels")),
        "ultralytics reads",
    ),
    ("backslashes in data.yaml", "used", yaml("images\\train"), ""),
    ("backslashes in a list", "used", train_list(*(line.replace("/", "\\") for line in LIST)), ""),
    (
        "lines of a list that are there twice",
        "counted once, and named",
        train_list(*LIST, LIST[0], f"./{LIST[1]}"),
        "2 images are named again",
    ),
    (
        "the same folder in a split twice, or a folder and its parent",
        "counted once, and named",
        yaml("[images/train, ./images/train]"),
        "3 images are named again",
    ),
    (
        "a list with blank lines, spaces at the ends and Windows line ends",
        "used",
        train_list("", f"  {LIST[0]} \r", LIST[1], LIST[2], ""),
        "",
    ),
    ("a list with absolute paths", "used", train_list(*(f"ROOT/{line}" for line in LIST)), ""),
    (
        "a list with a line that is no image",
        "left out, and named with file and line",
        train_list(*LIST, "images/train/d"),
        "train.txt:4: 'images/train/d'",
    ),
    (
        "an image in a list that does not exist",
        "left out, and named with file and line",
        train_list(*LIST, "images/train/no.jpg"),
        "train.txt:4: no such file: images/train/no.jpg",
    ),
    (
        "`names: [yes, no]`, which YAML reads as true and false",
        "the text that was written",
        yaml(names="[yes, no]"),
        "",
    ),
    ("`names: [010, 0x1f]`, which YAML reads as 8 and 31", "the text that was written", yaml(names="[010, 0x1f]"), ""),
    ("`names: [~, null]`, which YAML reads as nothing", "the text that was written", yaml(names="[~, null]"), ""),
    (
        "`names: [1.10, 1.1]`, which YAML reads as one number",
        "the text that was written",
        yaml(names="[1.10, 1.1]"),
        "",
    ),
    (
        "`names: [12:30, 2024-13-45]`, which YAML reads as seconds and refuses as a date",
        "the text that was written",
        yaml(names="[12:30, 2024-13-45]"),
        "",
    ),
    (
        "class names as a mapping with text keys: {'0': yes, '1': no}",
        "the text that was written",
        yaml(names="{'0': yes, '1': no}"),
        "",
    ),
    (
        "two class names that differ in case or blanks: red, 'Red '",
        "used, and named",
        yaml(names="[red, 'Red ']"),
        "nearly the same",
    ),
    (
        "`nc: 2` without names",
        "class_0 and class_1, as ultralytics; said",
        lambda s: s.write_yaml("train: images/train\nval: images/val\nnc: 2\n"),
        "class_0 to class_1",
    ),
    ("`channels: 1`", "images are read in colour; said", yaml(more="channels: 1\n"), "channels: 1 is not used"),
    ("labelImg's classes.txt among the labels", "no label file", written("labels/train/classes.txt", "cat\ndog\n"), ""),
    (
        "a classes.txt with another order than data.yaml",
        "named with file and class",
        written("labels/train/classes.txt", "dog\ncat\n"),
        "class 0 is 'dog' there and 'cat' in data.yaml",
    ),
    (
        "Label Studio's classes.txt and notes.json beside images and labels",
        "left alone",
        both(written("classes.txt", "cat\ndog\n"), written("notes.json", "{}")),
        "",
    ),
    (
        "Roboflow's README.roboflow.txt and _annotations.coco.json",
        "left alone",
        both(written("labels/train/README.roboflow.txt", "x"), written("images/train/_annotations.coco.json", "{}")),
        "",
    ),
    (
        "labels.cache of ultralytics, of other content",
        "neither read nor changed",
        written("labels/train.cache", "x"),
        "",
    ),
    (
        "macOS's ._a.jpg and ._a.txt, .ipynb_checkpoints",
        "left out",
        both(
            written("images/train/._a.jpg", "x"),
            written("labels/train/._a.txt", "x"),
            written("images/train/.ipynb_checkpoints/a.jpg", "x"),
        ),
        "",
    ),
    ("a label file without image", "named", written("labels/train/z.txt", BOX), "z.txt: label without image"),
    (
        "Roboflow's `../images/train` beside data.yaml",
        "used, as ultralytics does",
        yaml("../images/train", "../images/val"),
        "",
    ),
    (
        "a triangle among polygons of more points",
        "the box around it",
        both(
            written("labels/train/a.txt", BOX + "1 0.25 0.25 0.75 0.25 0.5 1\n"),
            written("labels/train/b.txt", BOX + "1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"),
        ),
        "polygons in 1 label files, used as the boxes around them",
    ),
    (
        "rows of boxes and of polygons in one label file, for which ultralytics leaves the image out",
        "boxes, and those around the polygons; named",
        written("labels/train/b.txt", BOX + "1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"),
        "b.txt: rows of boxes and of polygons, all used; ultralytics leaves the image out",
    ),
]

ROW = "class x_center y_center width height"
# What people have, the change, a part of the line that refuses it.
REFUSED: list[tuple[str, Change, str]] = [
    (
        "label rows of a tracker: class x y w h confidence id",
        written("labels/train/b.txt", BOX + "1 0.5 0.5 0.2 0.2 0.9 7\n"),
        "labels/train/b.txt:2: 7 columns, as trackers write",
    ),
    (
        "label rows of a tracker of which every id is 1",
        written("labels/train/b.txt", BOX + "1 0.5 0.5 0.2 0.2 0.9 1\n"),
        "labels/train/b.txt:2: 7 columns, as trackers write",
    ),
    (
        "predictions left in labels: class x y w h confidence",
        written("labels/val/d.txt", "1 0.5 0.5 0.2 0.2 0.9\n"),
        "labels/val/d.txt:1: 6 columns, as predictions with a confidence have",
    ),
    (
        "a label file that is a link to nothing",
        both(lambda s: (s.root / "labels/train/b.txt").unlink(), linked("labels/train/b.txt", "gone.txt")),
        "labels/train/b.txt: No such file",
    ),
    (
        "a folder called a.txt among the labels",
        both(lambda s: (s.root / "labels/train/b.txt").unlink(), written("labels/train/b.txt/x", "")),
        "labels/train/b.txt: Is a directory",
    ),
    (
        "captions beside images that have no label file",
        both(lambda s: (s.root / "labels/train/b.txt").unlink(), written("images/train/b.txt", "a photo of a cat\n")),
        "images/train/b.txt:1: 'a' is not a number",
    ),
    ("a class name twice", yaml(names="[cat, cat]"), "'cat' as class 0 and as class 1"),
    ("a class name twice in a mapping", yaml(names="{0: cat, 1: cat}"), "'cat' as class 0 and as class 1"),
    ("a class twice in the mapping of names", yaml(names="{0: cat, 0: dog}"), "names has class 0 twice, line 3"),
    ("`names: [{0: red}]`", yaml(names="[{0: red}, dog]"), "names, line 3: a mapping is no name"),
    ("an empty class name", yaml(names="\n- cat\n-\n"), "names, line 5: an empty name"),
    ("a key of data.yaml twice", yaml(more="train: images/val\n"), "data.yaml:4: train is in line 1 too"),
    (
        "`nc: 0`, or nc that is no number, without names",
        lambda s: s.write_yaml("train: images/train\nval: images/val\nnc: x\n"),
        "nc is x; must be the number of classes",
    ),
    (
        "a list with the paths of another machine",
        train_list(*(f"/home/kim/{line}" for line in LIST)),
        "train.txt:1: no such file: /home/kim/images/train/a.jpg; must be paths on this machine",
    ),
    ("a pattern, `images/train/*.jpg`", yaml("images/train/*.jpg"), "train does not exist: "),
    (
        "a list without suffixes, or with a column behind the names",
        train_list("a", "images/train/b.jpg 1"),
        "train.txt:1: 'a', ",
    ),
    (
        "`valid:` or `Val:` in place of `val:`",
        lambda s: s.write_yaml("train: images/train\nvalid: images/val\nnames: [cat, dog]\n"),
        "no key 'val', but 'valid'; ",
    ),
    ("a key of data.yaml that is a list", yaml(more="[1, 2]: x\n"), "not YAML: "),
    ("a path of an unknown user, `~nobody-here/images`", yaml("~nobody-here/images"), "~nobody-here"),
    ("a path that is too long, or holds a NUL", yaml(5000 * "a"), "a path in it cannot be used: File name too long"),
    (
        "`nc: 1e400`, or so many classes that no memory holds them",
        lambda s: s.write_yaml("train: images/train\nval: images/val\nnc: .inf\n"),
        "nc is inf; must be the number of classes",
    ),
    ("label files for none of the images", lambda s: shutil.rmtree(s.root / "labels/train"), "no boxes in train"),
]
