"""Where blocks sit in a network: its layers in order, each at the size of its map, and the sites with a block."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from acmix_exp.config import ModelConfig, block_label
from acmix_exp.errors import ConfigError
from acmix_exp.report.figures.style import INK, MUTED, OTHERS, Drawing, legend, subplots
from acmix_exp.report.recorded_words import site_names
from acmix_exp.report.records import Record, Table
from acmix_exp.slot_rules import SLOTS
from acmix_exp.yolo.sites import Network
from acmix_exp.yolo.slot_sites import slot_layers
from acmix_exp.yolo.yaml_layers import Layer

WIDTH = 7.4  # inches of a figure
# Boxes of layers in units, a map half as large being one lower: the width of a site and of any other layer, the height.
SITE, OTHER, HEIGHT = 1.0, 0.3, 0.5
UNITS = 17  # across a figure, in which text has its full size
MOST = 6  # networks in one figure
MOST_LETTERS = 8  # of a class in one line
MODES = {
    "after": "after the layer",
    "replace": "in place of its second 3x3",
    "swap": "in place of its attention",
    "down": "in place of the strided convolution",
    "up": "in place of the upsampling",
    "fuse": "in place of the concatenation",
}
LOSS = "loss"  # a mode whose block has no place in the network


@dataclass(frozen=True)
class Mark:
    """A block at a site. label: of the block; mode: how it joins the layer, a key of :data:`MODES`.

    A control in a slot of its own stands after the layer of that slot.
    """

    label: str
    mode: str


@dataclass(frozen=True)
class Panel:
    """One network with its blocks by site, and the arms that it is of."""

    network: Network
    marks: Mapping[str, Mark]
    title: str


def placements(table: Table) -> Iterator[Drawing]:
    """The network of a table with the sites of its blocks; one panel for each network and set of sites.

    A box loss has no place in the network: the panel of such arms has no block, and the caption names them.
    """
    panels = list(_panels(table))
    if not panels:
        return
    losses = dict.fromkeys(row.arm for row in table.rows if row.runs.box_loss)
    of_losses = f" A box loss has no place in the network: that of {', '.join(losses)}." if losses else ""
    shown = panels[:MOST]
    left_out = f" The first {MOST} of {len(panels)}." if len(panels) > MOST else ""
    results = "; ".join(
        f"{panel.title}: {text}"
        for panel in shown
        for text in (
            [f"{mark.label} {MODES.get(mark.mode, mark.mode)} at {site}" for site, mark in panel.marks.items()]
            or ["no block in the network"]
        )
    )
    caption = (
        "Boxes are the layers at which a block can sit, with class and index; dots are the other layers, which halve, "
        "enlarge or join maps, coloured where a block stands in their place. From left to right in the order of the "
        f"network, from top to bottom by the size of the map: P3 is an eighth of the image's side.{of_losses}{left_out}"
    )
    yield Drawing(draw_panels(shown), "Where the blocks sit", caption, results)


def draw_panels(panels: Sequence[Panel], columns: int = 1, *, names: bool = False, text: bool = True) -> Any:
    """A figure of networks. names: of the sites, above them; text: class and index of their layers, in them."""
    rows = math.ceil(len(panels) / columns)
    levels = max(math.log2(max(layer.stride for layer in panel.network.layers[:-1])) for panel in panels)
    height = (0.36 * levels + 0.5 + 0.2 * names) * (1 if columns == 1 else 0.7)
    figure, axes = subplots(rows, columns, height=rows * height, width=WIDTH)
    entries = list(dict.fromkeys(mark for panel in panels for mark in panel.marks.values()))
    colours = {mark: OTHERS[place % len(OTHERS)] for place, mark in enumerate(entries)}
    for panel, place in zip(panels, axes.flat, strict=False):
        _draw(place, panel, colours, names=names, text=text)
    for place in axes.flat[len(panels) :]:
        place.axis("off")
    if entries:
        keys = {f"{mark.label}, {MODES.get(mark.mode, mark.mode)}": colour for mark, colour in colours.items()}
        legend(figure, {key: {"color": colour, "linewidth": 6} for key, colour in keys.items()}, columns=2)
    return figure


def _panels(table: Table) -> Iterator[Panel]:
    """Arms with the same network and the same sites share one; arms with insertions of their own name their blocks."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in table.rows:
        record = next((each for each in row.runs.all_records if each.inserts), None)
        network = _network(record) if record else None
        if record is None or network is None:
            continue
        sites = dict(_sites(record, network))
        if sites or row.runs.box_loss:
            arms = found.setdefault((network.title, *sites.items()), [network, sites])
            arms.append(row.arm)
    for network, sites, *arms in found.values():
        words = ", ".join(dict.fromkeys(arms))
        marks = {site: Mark(label or words, mode) for site, (mode, label) in sites.items()}
        yield Panel(network, marks, f"{network.title}: {words}")


def _sites(record: Record, network: Network) -> Iterator[tuple[str, tuple[str, str]]]:
    """The sites of a run, each with its mode and, if the placements are those of the arm, the label of its block."""
    known = drawable(network)
    for part in record.parts:
        mode = str(part["placement"].get("mode") or "after")
        mode = "after" if record.control and mode in SLOTS else mode
        label = _label(part["block"]) if record.has_own_places else ""
        yield from ((site, (mode, label)) for site in site_names(part["placement"]) if site in known)


def drawable(network: Network) -> dict[str, int]:
    """The indices of the layers at which a block can be drawn, by the names of their sites: of every slot but loss."""
    of_slots = [slot_layers(network.layers, slot) for slot in SLOTS if slot != LOSS]
    return {name: layer.index for found in (network.sites, *of_slots) for name, layer in found.items()}


def _label(block: Mapping[str, Any]) -> str:
    return str(block["name"]) if block.get("like") else block_label(block)


def _network(record: Record) -> Network | None:
    """That of a run; None if it cannot be told, such as that of a YAML which is no longer there."""
    given = {"family" if key == "name" else key: value for key, value in record.config.get("model", {}).items()}
    known = {each.name for each in fields(ModelConfig)} - {"placement"}
    try:
        return Network.of(ModelConfig(**{key: value for key, value in given.items() if key in known}))
    except (ConfigError, TypeError):
        return None


def _draw(axes: Axes, panel: Panel, colours: Mapping[Mark, str], *, names: bool, text: bool) -> None:
    network = panel.network
    roles = {layer.index: name for name, layer in network.sites.items()}
    known = drawable(network)
    marks = {known[name]: mark for name, mark in panel.marks.items()}
    body = [layer for layer in network.layers[:-1] if layer.kind != "nn.Identity"]
    places: dict[int, tuple[float, float]] = {}
    x = 0.0
    for layer in body:
        width = SITE if layer.index in roles else OTHER
        places[layer.index] = x + width / 2, -math.log2(layer.stride)
        x += width + 0.16
    halves = {layer.index: (SITE if layer.index in roles else OTHER) / 2 for layer in body}
    levels = sorted({y for _, y in places.values()})
    for y in levels:
        axes.text(-0.2, y, f"P{-y:.0f}", ha="right", va="center", color=MUTED, fontsize=7)
    for layer in body:
        for source in (index for index in layer.inputs if index in places):
            _join(axes, places, halves, source, layer.index)
    _head(axes, network.head, places, halves, x)
    for layer in body:
        centre = places[layer.index]
        if name := roles.get(layer.index):
            scale = min(1.0, UNITS / x) if text else 0.0
            _site(axes, layer, centre, marks.get(layer.index), colours, name if names else "", scale)
        else:
            _between(axes, centre, marks.get(layer.index), colours, 2.4 if text else 1.4)
    axes.set_title(panel.title, fontsize=9, loc="left")
    axes.set_xlim(-0.9, x + 1.1)
    axes.set_ylim(levels[0] - 0.6, levels[-1] + (0.8 if names else 0.55))
    axes.axis("off")


def _site(
    axes: Axes,
    layer: Layer,
    centre: tuple[float, float],
    mark: Mark | None,
    colours: Mapping[Mark, str],
    name: str,
    scale: float,
) -> None:
    """``scale``: of the text in the box; 0: none."""
    (x, y), half = centre, SITE / 2
    corner, inside = (x - half, y - HEIGHT / 2), bool(mark and mark.mode != "after")
    box = FancyBboxPatch(corner, SITE, HEIGHT, "round,pad=0,rounding_size=0.08", zorder=2)
    box.set(facecolor="none", edgecolor=INK if mark else MUTED, linewidth=1.1 if mark else 0.7)
    axes.add_patch(box)
    if mark:
        edge, width, height = (x - 0.3, 0.6, 0.15) if inside else (x + half - 0.07, 0.15, HEIGHT + 0.08)
        area = Rectangle((edge, corner[1] - (0.09 if inside else 0.04)), width, height, zorder=4)
        area.set_facecolor(colours[mark])
        axes.add_patch(area)
    if scale:
        kind, index = layer.kind.rpartition(".")[2], str(layer.index)
        if len(kind) > MOST_LETTERS:
            kind, index = kind[: MOST_LETTERS - 2], f"{kind[MOST_LETTERS - 2 :]} {index}"
        size, small = (6.0 if len(kind) < 6 else 5.2) * scale, 5.2 * scale * min(1.0, 10 / len(index))
        axes.text(x, y + 0.1, kind, ha="center", va="center", fontsize=size, zorder=5)
        axes.text(x, y - 0.1, index, ha="center", va="center", fontsize=small, color=MUTED, zorder=5)
    if name:
        size = 5.2 * scale
        axes.text(x, y + HEIGHT / 2 + 0.06, name, ha="center", va="bottom", fontsize=size, color=INK, zorder=5)


def _between(
    axes: Axes, centre: tuple[float, float], mark: Mark | None, colours: Mapping[Mark, str], size: float
) -> None:
    """A layer that is no site of a map: a dot, or what stands in its place; ``size``: of the dot in points."""
    x, y = centre
    if mark is None or mark.mode == "after":
        axes.plot(x, y, "o", color=MUTED, markersize=size, zorder=3)
    if mark:
        left, width = (x + OTHER / 2 - 0.04, 0.12) if mark.mode == "after" else (x - OTHER / 2, OTHER)
        height = HEIGHT * (0.8 if mark.mode == "after" else 0.6)
        area = Rectangle((left, y - height / 2), width, height, zorder=4)
        area.set_facecolor(colours[mark])
        axes.add_patch(area)


def _join(
    axes: Axes, places: Mapping[int, tuple[float, float]], halves: Mapping[int, float], source: int, target: int
) -> None:
    """A line from a layer to one that reads it; bent where it would go through others of the same level."""
    (x0, y0), (x1, y1) = places[source], places[target]
    start, end = (x0 + halves[source], y0), (x1 - halves[target], y1)
    between = any(source < index < target and place[1] == y0 == y1 for index, place in places.items())
    bend = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7}
    if between:
        bend["connectionstyle"] = "arc3,rad=-0.2"
    axes.annotate("", end, start, arrowprops={**bend, "shrinkA": 0, "shrinkB": 0}, zorder=1)


def _head(
    axes: Axes, head: Layer, places: Mapping[int, tuple[float, float]], halves: Mapping[int, float], x: float
) -> None:
    read = [index for index in head.inputs if index in places]
    heights: Iterable[float] = [places[index][1] for index in read]
    low, high = min(heights) - HEIGHT / 2, max(heights) + HEIGHT / 2
    corner = (x + 0.1, low)
    box = FancyBboxPatch(corner, 0.7, high - low, "round,pad=0,rounding_size=0.08", zorder=2)
    box.set(facecolor="none", edgecolor=MUTED, linewidth=0.7)
    axes.add_patch(box)
    kind = head.kind
    axes.text(x + 0.45, (low + high) / 2, kind, ha="center", va="center", rotation=90, fontsize=6, zorder=5)
    for index in read:
        (x0, y0), half = places[index], halves[index]
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (corner[0], y0), (x0 + half, y0), arrowprops=line, zorder=1)
