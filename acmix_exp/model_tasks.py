"""What a network is trained for: ``model.task``, with the labels it needs and the metric that is its headline.

Everything that differs between the tasks is here or is chosen by ``ModelTask.name``. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from acmix_exp.config import ModelConfig

DETECT, CLASSIFY = "detect", "classify"
SCORES = {"map50": "mAP50", "map50_95": "mAP50-95", "top1": "top-1", "top5": "top-5"}  # keys of result.json: names


@dataclass(frozen=True)
class ModelTask:
    """One task of ultralytics.

    suffix: of its YAMLs and weights, as in ``yolov8-seg.yaml``. heads: the last layer of its networks. letter: of its
    headline in ultralytics' names, as in ``metrics/mAP50(M)``. hits: which of a validator's statistics are the true
    positives of the headline. metric: what its mAP is of, in front of "mAP50-95". noun: of a network.
    needs: what a label file must have; row: one of its rows. scores: keys of its two metrics, as they are shown;
    headline_key: that of the headline.
    """

    name: str
    suffix: str
    heads: tuple[str, ...]
    letter: str
    hits: str
    metric: str
    noun: str
    needs: str
    row: str
    scores: tuple[str, str] = ("map50", "map50_95")
    headline_key: str = "map50_95"

    @property
    def headline(self) -> str:
        """The name of the headline metric, such as "mask mAP50-95"."""
        return self.title(self.headline_key)

    def title(self, key: str) -> str:
        """The name of one of its ``scores``."""
        return f"{self.metric} {SCORES[key]}".lstrip()


TASKS = {
    task.name: task
    for task in (
        ModelTask(
            *(DETECT, "", ("Detect", "v10Detect", "RTDETRDecoder"), "B", "tp", "", "detector"),
            *("boxes", "class x_center y_center width height"),
        ),
        ModelTask(
            *("segment", "-seg", ("Segment", "Segment26"), "M", "tp_m", "mask", "segmenter"),
            *("polygons", "class x1 y1 x2 y2 x3 y3 ..."),
        ),
        ModelTask(
            *("pose", "-pose", ("Pose", "Pose26"), "P", "tp_p", "pose", "pose network"),
            *("keypoints", "class x_center y_center width height, then x y, or x y visible, of each keypoint"),
        ),
        ModelTask(
            *("obb", "-obb", ("OBB", "OBB26"), "B", "tp", "rotated-box", "detector of oriented boxes"),
            *("four corners", "class x1 y1 x2 y2 x3 y3 x4 y4"),
        ),
        ModelTask(
            *(CLASSIFY, "-cls", ("Classify",), "", "", "", "classifier"),
            *("a folder of images for each class", "FOLDER/train/CLASS/IMAGE"),
            scores=("top1", "top5"),
            headline_key="top1",
        ),
    )
}


def of(model: ModelConfig) -> ModelTask:
    """The task of a config whose ``model.task`` is valid."""
    return TASKS[model.task or DETECT]


def scores_text(scores: Mapping[str, float], task: ModelTask) -> str:
    """Its two metrics in words, such as "mask mAP50 0.512, mAP50-95 0.301"."""
    first, second = task.scores
    return f"{task.title(first)} {scores[first]:.3f}, {SCORES[second]} {scores[second]:.3f}"


def scores_in(values: Container[str]) -> tuple[str, str]:
    """The keys of the two metrics in a row of history.csv, or in the metrics of a result.json."""
    return TASKS[CLASSIFY if "top1" in values else DETECT].scores


def headline(name: str | None) -> str:
    """The name of a task's headline metric; ``name`` as an identity has it, None for detection."""
    return TASKS[name or DETECT].headline
