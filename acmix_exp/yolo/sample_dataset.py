"""A data set of ultralytics with labels in memory instead of label files, and samples that depend on no other."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ultralytics.data.augment import Albumentations, Compose
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, get_split_fraction
from ultralytics.utils import IterableSimpleNamespace

from acmix_exp.child import Job
from acmix_exp.data import Dataset, Sample
from acmix_exp.yolo.sampling import Draw, seed_bytes


@contextmanager
def seeded(*parts: int | str) -> Iterator[None]:
    """Random numbers that are a function of ``parts``, of Python, numpy and torch on the CPU; their state is kept.

    The transforms of ultralytics draw from the three, and albumentations is seeded from the seed of torch.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    seed = seed_bytes(*parts)
    random.seed(int.from_bytes(seed[:8]))
    np.random.seed(int.from_bytes(seed[8:12]))  # noqa: NPY002
    torch.default_generator.manual_seed(int.from_bytes(seed[16:24]) >> 1)  # not a GPU's, which samples do not use
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


class SampleDataset(YOLODataset):
    """A YOLODataset of samples in memory: reads no label files and writes no ``labels.cache``.

    As from ``build_yolo_dataset`` of ultralytics: augmented for training, rectangular otherwise. With ``stretched``, as
    its dataset for RT-DETR: images are stretched to a square, whatever their shape. An item is a function of the seed,
    the epoch and the index: ``data[epoch, index]``; ``data[index]`` is that of epoch 0.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        args: IterableSimpleNamespace,
        data: dict[str, Any],
        *,
        train: bool,
        batch: int,
        stride: int,
        split: str,
        stretched: bool = False,
    ) -> None:
        self.samples, self.seed = list(samples), int(args.seed)
        self._cache_of_images, self._stretched = args.cache, stretched
        super().__init__(
            img_path="",
            imgsz=args.imgsz,
            batch_size=batch,
            augment=train,
            hyp=args,
            rect=not stretched and (args.rect or not train),
            cache=args.cache or None,
            single_cls=False,
            stride=stride,
            pad=0.0 if train else 0.5,
            prefix=f"{split}: ",
            task=str(args.task),
            classes=None,
            data=data,
            fraction=get_split_fraction(args.fraction, split),
        )

    @property
    def npy_files(self) -> list[Path]:
        """Where ultralytics keeps decoded images for ``cache=disk``; without that, files that do not exist.

        ultralytics reads an image.npy beside an image in place of the image whatever ``cache`` is, rewrites one of
        another number of channels and removes one that it cannot read; the file may be the user's.
        """
        return self._npy_files

    @npy_files.setter
    def npy_files(self, files: list[Path]) -> None:
        self._npy_files = files if self._cache_of_images == "disk" else [Path(os.devnull, "none.npy")] * len(files)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        epoch, index = draw if isinstance(draw, tuple) else (0, draw)
        for transform in self.transforms.transforms:
            if isinstance(transform, Albumentations) and transform.transform is not None:
                transform.transform.seed = None  # ultralytics seeds it anew only if it has another seed than before
        with seeded("sample", self.seed, epoch, index):
            return dict(super().__getitem__(index))

    def load_image(self, i: int, rect_mode: bool | None = None, **options: Any) -> Any:
        """A copy of an image that is kept in memory: transforms may change it in place."""
        keeps_ratio = not self._stretched if rect_mode is None else rect_mode
        image, *shapes = super().load_image(i, keeps_ratio, **options)
        return image.copy() if self.augment else image, *shapes

    def build_transforms(self, hyp: IterableSimpleNamespace) -> Compose:
        """As with images cached in memory: mosaics are then made of any images, else of those that were read last."""
        cache: str | None = self.cache
        self.cache: str | None = "ram"
        try:
            return super().build_transforms(hyp)
        finally:
            self.cache = cache

    def get_img_files(self, img_path: str) -> list[str]:
        fraction = self.fraction
        count = fraction if isinstance(fraction, int) else max(1, round(len(self.samples) * fraction))
        self.samples = self.samples[:count]
        return [str(sample.image) for sample in self.samples]

    def get_labels(self) -> list[dict[str, Any]]:
        return [
            {
                "im_file": str(sample.image),
                "shape": (sample.height, sample.width),
                "cls": np.array(sample.boxes[:, :1], dtype=np.float32),
                "bboxes": np.array(sample.boxes[:, 1:], dtype=np.float32),
                "segments": [form.copy() for form in sample.forms] if self.use_segments or self.use_obb else [],
                "keypoints": self._keypoints(sample) if self.use_keypoints else None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for sample in self.samples
        ]

    def _keypoints(self, sample: Sample) -> np.ndarray:
        """float32 [n, keypoints, 3]."""
        return np.array(sample.forms, dtype=np.float32).reshape(len(sample.boxes), self.data["kpt_shape"][0], 3)


def data_of(dataset: Dataset) -> dict[str, Any]:
    """What the trainers and validators of ultralytics ask of a data set, without its paths."""
    names, keypoints = dict(dataset.names), dataset.keypoints
    facts: dict[str, Any] = {"names": names, "nc": len(names), "channels": 3}
    if keypoints is not None:
        facts |= {"kpt_shape": [keypoints.count, keypoints.values], "flip_idx": list(keypoints.flip)}
        facts |= {"kpt_oks_sigmas": list(keypoints.sigmas)} if keypoints.sigmas else {}
        facts |= {"kpt_names": dict(enumerate(map(list, keypoints.names)))} if keypoints.names else {}
    return facts


def download(job: Job) -> None:
    """Run the download script of the data.yaml ``definition`` with ultralytics, in the folder ``scratch``."""
    os.chdir(job.request["scratch"])
    check_det_dataset(job.request["definition"])
