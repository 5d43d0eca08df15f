"""A data set of ultralytics with labels in memory instead of label files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, get_split_fraction
from ultralytics.utils import IterableSimpleNamespace

from acmix_exp.child import Job
from acmix_exp.data import Sample


class SampleDataset(YOLODataset):
    """A YOLODataset of samples in memory: reads no label files and writes no ``labels.cache``.

    As from ``build_yolo_dataset`` of ultralytics: augmented for training, rectangular otherwise.
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
    ) -> None:
        self.samples = list(samples)
        self._cache_of_images = args.cache
        super().__init__(
            img_path="",
            imgsz=args.imgsz,
            batch_size=batch,
            augment=train,
            hyp=args,
            rect=args.rect or not train,
            cache=args.cache or None,
            single_cls=False,
            stride=stride,
            pad=0.0 if train else 0.5,
            prefix=f"{split}: ",
            task="detect",
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
                "segments": [],
                "keypoints": None,
                "normalized": True,
                "bbox_format": "xywh",
            }
            for sample in self.samples
        ]


def download(job: Job) -> None:
    """Run the download script of the data.yaml ``definition`` with ultralytics, in the folder ``scratch``."""
    os.chdir(job.request["scratch"])
    check_det_dataset(job.request["definition"])
