"""Write the tables of docs/families.md (families, their sites, which placements they take) and its pictures.

python -m scripts.families_page
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import yaml

from acmix_exp.config import ModelConfig, PlacementConfig, conf_dir, options
from acmix_exp.errors import ConfigError
from acmix_exp.report.figures.catalogue import LOOK
from acmix_exp.report.figures.network_map import MODES, Mark, Panel, draw_panels
from acmix_exp.slot_rules import SLOTS
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.sites import Network, resolve_sites
from acmix_exp.yolo.slot_sites import why_none

PAGE = Path(__file__).resolve().parents[1] / "docs" / "families.md"
PICTURES = PAGE.parent / "networks"
SHOWN = [
    name for name in options("model") if name != "yolov8_mobilenetv3_small"
]  # which has the sites of the large one
ROLES = "backbone_p2 backbone_p3 backbone_p4 backbone_p5 sppf psa neck_p4_down neck_p3 neck_p4 neck_p5"


def families_table() -> str:
    lines = ["| `model=` | scales | variants | published weights |", "| --- | --- | --- | --- |"]
    for name in options("model"):
        family = FAMILIES[name]
        files = [file for variant in (None, *family.variants) for file in _ends(family.checkpoints(variant))]
        if family.backbone:
            files = [", ".join(family.backbone.files)]
        cells = [f"`{name}`", ", ".join(family.scales), ", ".join(family.variants) or "–", ", ".join(files)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ends(files: dict[str, str]) -> list[str]:
    names = list(files.values())
    return [f"{names[0]} to {names[-1]}"] if names else []


def sites_table() -> str:
    """A row for the smallest network of each family: index and class of the layer at each site, and its channels."""
    roles = ROLES.split()
    lines = [f"| network | {' | '.join(roles)} |", "| --- |" + " --- |" * len(roles)]
    for network in networks():
        layers = [network.sites.get(role) for role in roles]
        cells = [f"{layer.index} {layer.kind} {layer.channels}" if layer else "" for layer in layers]
        lines.append(f"| {network.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def networks() -> list[Network]:
    """The smallest of each family and design."""
    return [Network.of(ModelConfig(name, scale)) for name in SHOWN for scale in _designs(FAMILIES[name].scales)]


def _designs(scales: tuple[str, ...]) -> list[str]:
    """The smallest scale, and the smallest on a ResNet."""
    return [scales[0], *(scale for scale in scales if scale == "resnet50")]


def placements_table() -> str:
    """Which scales of a family take a placement: all, some or none; below, why not."""
    lines = [f"| `model/placement=` | {' | '.join(SHOWN)} |", "| --- |" + " --- |" * len(SHOWN)]
    notes = []
    for placement in (read(name) for name in options("model/placement") if name not in ("none", "usual")):
        cells, reasons = [], dict[str, list[str]]()
        for name in SHOWN:
            scales = FAMILIES[name].scales
            faults = {scale: fault(placement, ModelConfig(name, scale)) for scale in scales}
            taken = [scale for scale, reason in faults.items() if reason is None]
            cells.append("yes" if len(taken) == len(scales) else ", ".join(taken) or "no")
            for reason in dict.fromkeys(filter(None, faults.values())):
                refused = [scale for scale in scales if faults[scale] == reason]
                of_scales = "" if len(refused) == len(scales) else f" {', '.join(refused)}"
                reasons.setdefault(reason, []).append(f"{name}{of_scales}")
        lines.append(f"| `{placement.name}` | {' | '.join(cells)} |")
        notes += [f"- `{placement.name}`: {reason}: {'; '.join(names)}." for reason, names in reasons.items()]
    return "\n".join([*lines, "", *notes])


def pictures() -> dict[str, list[Panel]]:
    """What is drawn, by the name of the file: each network with its sites, and the shipped placements."""
    found = {network.title.replace(" ", "_"): [Panel(network, {}, network.title)] for network in networks()}
    panels = []
    shipped = (read(name) for name in options("model/placement") if name != "none")
    for placement in (each for each in shipped if each.mode in MODES):
        model = next(each for each in map(ModelConfig, ("yolov8", "yolo26")) if fault(placement, each) is None)
        network = Network.of(model)
        sites = resolve_sites(placement, network)
        marks = {site.name: Mark("block", placement.mode) for site in sites}
        panels.append(Panel(network, marks, f"{placement.name} ({network.title})"))
    return {**found, "placements": panels}


def draw(name: str, panels: list[Panel], folder: Path) -> Path:
    """Write ``name.svg``."""
    small, path = len(panels) > 1, folder / f"{name}.svg"
    with mpl.rc_context({**LOOK, "svg.hashsalt": name}):
        figure = draw_panels(panels, 2 if small else 1, names=not small, text=not small)
        figure.savefig(path, metadata={"Date": None, "Creator": None})
    return path


def read(name: str) -> PlacementConfig:
    with open(conf_dir() / "model" / "placement" / f"{name}.yaml", encoding="utf-8") as file:
        content: dict[str, Any] = yaml.safe_load(file)
    return PlacementConfig(**content)


def fault(placement: PlacementConfig, model: ModelConfig) -> str | None:
    """Why a network does not take a placement; None if it does."""
    network = Network.of(model)
    try:
        resolve_sites(placement, network)
    except ConfigError:
        if placement.mode in SLOTS:
            return why_none(network.layers, placement.mode).partition(";")[0]
        known = {*network.sites, *network.groups}
        if missing := [str(site) for site in placement.sites if site not in known]:
            return f"there is no {', '.join(missing)}"
        reasons: dict[str, list[str]] = {}
        for site in map(str, placement.sites):
            if isinstance(reason := network.inner(site), str):
                reasons.setdefault(reason, []).append(site)
        return "; ".join(f"at {' and '.join(sites)} {reason}" for reason, sites in reasons.items())
    return None


TABLES = {"families": families_table, "sites": sites_table, "placements": placements_table}


def with_tables(page: str) -> str:
    """The page with every table between its marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: python -m scripts.families_page -->\n", f"<!-- /{name} -->"
        before, after = page.split(begin)
        page = f"{before}{begin}{table()}\n{end}{after.partition(end)[2]}"
    return page


def main() -> int:
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURES.mkdir(exist_ok=True)
    for name, panels in pictures().items():
        draw(name, panels, PICTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
