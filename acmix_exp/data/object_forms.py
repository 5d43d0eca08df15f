"""What a row of a label file has beside its box: a polygon, keypoints or four corners, as ``model.task`` needs them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from acmix_exp.data.dataset import Dataset
from acmix_exp.model_tasks import DETECT, TASKS

POSE_REMARKS = ("beyond", "unposed", "at_zero")  # what may be odd about keypoints that are used
SLACK = 0.01  # how far outside of 0..1 a value may be: rounding, ultralytics' tolerance


class FormError(ValueError):
    """A row that does not have what the task needs: what it has, and what it must have."""


def form_of(values: Sequence[float], dataset: Dataset) -> np.ndarray | None:
    """The form of an object, float32 as ``Sample.forms`` has it; ``values`` are those of a row with the class first.

    None for detection. Raises FormError.
    """
    if dataset.task == DETECT:
        return None
    if dataset.task == "pose":
        return _keypoints(values, dataset)
    kind = _kind(len(values))
    if dataset.task == "obb" and len(values) != 9:
        raise FormError(f"{kind}; {_must(dataset)}")
    if len(values) < 7 or len(values) % 2 == 0:
        raise FormError(f"{kind}; {_must(dataset)}")
    return np.array(values[1:], np.float32).reshape(-1, 2)


def _keypoints(values: Sequence[float], dataset: Dataset) -> np.ndarray:
    keypoints = dataset.keypoints
    assert keypoints is not None
    columns = 5 + keypoints.count * keypoints.values
    if len(values) != columns:
        kind = "a box without keypoints" if len(values) == 5 else f"{len(values)} columns"
        shape = f"kpt_shape [{keypoints.count}, {keypoints.values}]"
        raise FormError(f"{kind}; model.task=pose with {shape} needs {columns} ({TASKS['pose'].row})")
    points = np.array(values[5:], np.float64).reshape(-1, keypoints.values)
    if keypoints.values == 2:  # as ultralytics reads it: a negative value marks a keypoint that is not there
        visible = (points >= 0).all(1) * 1.0
        points = np.column_stack([points, visible])
    elif not np.isin(points[:, 2], (0, 1, 2)).all():
        wrong = points[~np.isin(points[:, 2], (0, 1, 2)), 2][0]
        raise FormError(f"visibility {wrong:g} of a keypoint; must be 0 (not labelled), 1 (hidden) or 2 (visible)")
    return points.astype(np.float32)


def _kind(columns: int) -> str:
    if columns == 5:
        return "a box"
    if columns == 6:
        return "6 columns, as boxes with an angle or a confidence have"
    return f"{columns} columns"


def _must(dataset: Dataset) -> str:
    task = TASKS[dataset.task]
    return f"model.task={task.name} needs {task.needs} ({task.row})"


def form_fault(form: np.ndarray, task: str) -> str | None:
    """Why an object whose box is fine cannot be used; None if it can."""
    if task == "pose":
        beyond = _beyond(form)
        if beyond.any() and not (form[~beyond, 2] > 0).any():
            x, y = form[beyond, :2][0]
            return f"keypoints out of range, {x:g} {y:g} is not within 0 to 1"
        return None
    # Not the area within the outline: that of four corners in the order of the letter Z is 0.
    x, y = (form - form[0]).astype(np.float64).T
    farthest = int((x**2 + y**2).argmax())
    off_the_line = abs(x[farthest] * y - y[farthest] * x).max()
    return None if off_the_line > 1e-9 else "zero area, its points are on a line"


def pose_remarks(form: np.ndarray, values: int) -> dict[str, str]:
    """What is odd about the keypoints of an object, by its name in ``POSE_REMARKS``.

    Keypoints beyond the image become unlabelled in ``form``, as those that an augmentation moves there.
    """
    found, beyond = {}, _beyond(form)
    if beyond.any():
        x, y = form[beyond, :2][0]
        found["beyond"] = f"keypoint {x:g} {y:g} beyond the image, taken as not labelled"
        form[beyond, 2] = 0
    if not (form[:, 2] > 0).any():
        found["unposed"] = "no keypoint of it is labelled, so it counts as missed in pose mAP, as in ultralytics"
    if values == 2 and (form[:, :2] == 0).all(1).any():
        found["at_zero"] = "keypoint 0 0, taken as labelled, as in ultralytics; in kpt_shape [.., 3] 0 0 0 is none"
    return found


def _beyond(form: np.ndarray) -> np.ndarray:
    """bool [k]: which labelled keypoints are beyond the image."""
    inside = ((form[:, :2] >= -SLACK) & (form[:, :2] <= 1 + SLACK)).all(1)
    return (form[:, 2] > 0) & ~inside
