"""The split and the checkpoint of a run's headline figures, so that no figure is picked by its own split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acmix_exp.data.dataset import Dataset
from acmix_exp.data.scan import Scan, scan_split
from acmix_exp.model_tasks import CLASSIFY

NO_TEST = "no test split"


@dataclass(frozen=True)
class Headline:
    """split, checkpoint: of the headline figures. reason: why they are not best.pt on test; empty if they are."""

    split: str
    checkpoint: str
    reason: str = ""

    def __str__(self) -> str:
        result = f"the headline is {self.checkpoint} on {self.split}"
        return f"{self.reason}, so {result}" if self.reason else result


def headline(dataset: Dataset) -> Headline:
    """best.pt on the test split, if there is one and none of its images is val's too; else last.pt on val.

    best.pt is the checkpoint that is best on val, so its figure on an image of val is too good. Images are the same if
    their files have the same bytes. One shared image is enough: a split that is partly val's is not independent of it.
    Raises ConfigError for labels that cannot be used.
    """
    if "test" not in dataset.splits:
        return Headline("val", "last.pt", NO_TEST)
    val, test = (scan_split(dataset, split) for split in ("val", "test"))
    shared, size = len(shared_images(test, val)), int(test.readable.sum())
    if not shared:
        return Headline("test", "best.pt")
    if shared == size == len(shared_images(val, test)) == int(val.readable.sum()):
        return Headline("val", "last.pt", f"test has the same {size} images as val")
    return Headline("val", "last.pt", f"{shared} of the {size} images of test are also in val")


def shared_images(first: Scan, second: Scan) -> list[tuple[int, int]]:
    """The images of ``first`` whose file has the same bytes as one of ``second``: pairs of their numbers."""
    numbers = {digest.tobytes(): j for j, digest in enumerate(second.digests) if second.readable[j]}
    contents = ((i, digest.tobytes()) for i, digest in enumerate(first.digests) if first.readable[i])
    return [(i, numbers[content]) for i, content in contents if content in numbers]


def repeated_lines(dataset: Dataset, scans: dict[str, Scan]) -> list[str]:
    """One line for each image whose file has the same bytes as an earlier one of its split."""
    lines = []
    for split, scan in scans.items():
        first: dict[bytes, int] = {}
        boxes = scan.boxes_by_image()
        for number in map(int, np.flatnonzero(scan.readable)):
            earlier = first.setdefault(scan.digests[number].tobytes(), number)
            if earlier != number:
                image, same = (dataset.shown(dataset.splits[split][n]) for n in (number, earlier))
                unlike = ", of another class" if dataset.task == CLASSIFY else ", with other boxes"
                other = "" if np.array_equal(boxes[number], boxes[earlier]) else unlike
                lines.append(f"{image}: the same image as {same}{other}")
    return lines


def shared_lines(dataset: Dataset, scans: dict[str, Scan], first: str, others: Sequence[str]) -> list[str]:
    """One line for each image of the split ``first`` that is also in one of ``others``, with its name there."""
    lines: dict[int, str] = {}
    for other in others:
        for i, j in shared_images(scans[first], scans[other]):
            image, same = (dataset.shown(dataset.splits[split][n]) for split, n in ((first, i), (other, j)))
            lines.setdefault(i, f"{image}: image of {first} that is also in {other}, as {same}")
    return list(lines.values())
