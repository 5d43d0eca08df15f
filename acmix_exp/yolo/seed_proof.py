"""A hash of the first training batches: equal where two runs saw the same images, augmented the same way."""

from __future__ import annotations

import hashlib
from typing import Any

BATCHES = 3


class SeedProof:
    """SHA-256 over images (uint8), classes, boxes and image indices of the first batches."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._left = BATCHES

    def add(self, batch: dict[str, Any]) -> None:
        """Take a batch as it leaves the loader; those after the first :data:`BATCHES` are ignored."""
        if not self._left:
            return
        self._left -= 1
        for key in ("img", "cls", "bboxes", "batch_idx"):
            array = batch[key].detach().cpu().contiguous().numpy()
            self._hash.update(f"{key}{array.shape}{array.dtype}".encode())
            self._hash.update(array.tobytes())

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
