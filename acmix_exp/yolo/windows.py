"""The attention windows of a network's ACmix blocks over one image, as numbers a report can draw."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from acmix_exp.nn import ACmix
from acmix_exp.nn.attention_weights import attention_windows

if TYPE_CHECKING:
    from acmix_exp.yolo.pictures import Letterbox

OBJECTS = 3
MOST_NUMBERS = 12_000  # of all sites and points: about 100 kB of JSON
GRID = 12  # where a point of background is looked for


class Recorder:
    """Keeps, while it is entered, what every attending ACmix of ``model`` takes in."""

    def __init__(self, model: nn.Module) -> None:
        blocks: dict[str, nn.Module] = getattr(model, "blocks", dict)()
        self.blocks = {
            name: block for name, block in blocks.items() if isinstance(block, ACmix) and block.has_attention
        }
        self.inputs: dict[str, Tensor] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Recorder:
        for name, block in self.blocks.items():
            self._hooks.append(block.register_forward_pre_hook(self._keeper(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self.inputs[name] = inputs[0].detach()

        return keep

    def windows(self, boxed: Letterbox, size: tuple[int, int], points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One entry a site, in network order.

        ``map`` [rows, columns] of the feature map, ``origin`` [x, y] of its corner and ``cell`` [width, height], both
        in fractions of the image, and ``windows``, one for each of ``points`` or the first few of them: ``site``
        [row, column], ``rows`` and ``columns`` under the taps, ``mean`` over the heads [k][k] and ``heads``
        [head][k][k], null where it would be too much.
        """
        numbers = sum(block.head * block.kernel_att**2 for block in self.blocks.values())
        points = points[: max(1, MOST_NUMBERS // max(numbers, 1))]
        every_head = numbers * len(points) <= MOST_NUMBERS
        entries = []
        for name, block in self.blocks.items():
            x = self.inputs[name]
            rows, columns = x.shape[-2:]
            high, wide = boxed.pixels.shape[-2] / rows, boxed.pixels.shape[-1] / columns
            places = [(p["y"] * size[0] * boxed.scale, p["x"] * size[1] * boxed.scale) for p in points]
            sites = [
                (
                    min(int((y + boxed.top) / high), rows - 1) // block.stride,
                    min(int((x + boxed.left) / wide), columns - 1) // block.stride,
                )
                for y, x in places
            ]
            found = attention_windows(block, x, sites)
            entries.append(
                {
                    "site": name,
                    "head": block.head,
                    "kernel_att": block.kernel_att,
                    "map": [rows, columns],
                    "origin": [-boxed.left / boxed.scale / size[1], -boxed.top / boxed.scale / size[0]],
                    "cell": [wide / boxed.scale / size[1], high / boxed.scale / size[0]],
                    "windows": [
                        {
                            "site": list(site),
                            "rows": found.rows[i].tolist(),
                            "columns": found.columns[i].tolist(),
                            "mean": _rounded(found.weights[i].mean(0)),
                            "heads": _rounded(found.weights[i]) if every_head else None,
                        }
                        for i, site in enumerate(sites)
                    ],
                }
            )
        return entries


def query_points(boxes: np.ndarray, names: dict[int, str]) -> list[dict[str, Any]]:
    """Where to look from: the centres of the largest objects, of different classes first, and a point of background.

    ``boxes``: [n, 5], class and centre, width, height in fractions. ``of`` is the class, null for background.
    """
    order = sorted(range(len(boxes)), key=lambda i: (-float(boxes[i, 3] * boxes[i, 4]), i))
    first_of_class = [i for n, i in enumerate(order) if boxes[i, 0] not in boxes[order[:n], 0]]
    picked = [*first_of_class, *(i for i in order if i not in first_of_class)][:OBJECTS]
    points = [{"x": _place(boxes[i, 1]), "y": _place(boxes[i, 2]), "of": names[int(boxes[i, 0])]} for i in picked]
    grid = (np.arange(GRID) + 0.5) / GRID
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    # how far each grid point is outside every box, and then from the border
    beyond = np.maximum(
        np.abs(x[:, None] - boxes[:, 1]) - boxes[:, 3] / 2, np.abs(y[:, None] - boxes[:, 2]) - boxes[:, 4] / 2
    ).min(1, initial=1.0)
    free = np.minimum(beyond, np.minimum.reduce([x, y, 1 - x, 1 - y]))
    best = int(free.argmax())
    if beyond[best] > 0:
        points.append({"x": _place(x[best]), "y": _place(y[best]), "of": None})
    return points


def _place(value: float) -> float:
    return round(min(max(float(value), 0.0), 1.0), 4)


def _rounded(weights: Tensor) -> Any:
    return np.round(weights.double().cpu().numpy(), 5).tolist()
