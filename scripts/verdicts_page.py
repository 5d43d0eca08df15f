"""Write docs/verdicts.md from the published runs: what was tried, on which data, what is excluded, at what cost.

python -m scripts.verdicts_page

A published experiment is a folder of docs/results/ with its summary.json and the archive of its runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.block_rules import RULES
from acmix_exp.config import block_label, conf_dir
from acmix_exp.slot_rules import SLOT_RULES

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "verdicts.md", ROOT / "docs" / "results"
COMMAND = "python -m acmix_exp +experiment=wanted model.pretrained=yolov8n.pt dataset=yolo dataset.path=data.yaml"
HEAD = f"""# The book of verdicts

What people add to YOLO, each block in its own slot and against the stock network, and what is known of it here.
Written by `python -m scripts.verdicts_page` from the published runs and from `+experiment=wanted`; a block without
published runs has no verdict. A verdict is of its data set, training and seeds alone; "no difference", with what it
excludes, is a result. [What the words mean](reading_the_report.md).

```bash
{COMMAND}
```

trains all that the first table lists, with six seeds; `seeds=auto` adds seeds until each verdict is made.
"""
NONE = "no published runs"


@dataclass(frozen=True)
class Verdict:
    """A row of a published table. points: differences in mAP50-95, times 100."""

    experiment: str
    arm: str
    data: str
    seeds: int
    verdict: str
    points: str
    excludes: str
    cost: str


def verdicts(results: Path = RESULTS) -> Iterator[Verdict]:
    """Every compared row of the published experiments, by their names."""
    for path in sorted(results.glob("*/summary.json")):
        for table in json.loads(path.read_text(encoding="utf-8"))["tables"]:
            stock = next((row for row in table["rows"] if row["arm"] == table["reference"]), None)
            for row in table["rows"]:
                if row is not stock and row.get("delta_mean") is not None:
                    yield _verdict(path.parent.name, table["settings"], row, stock or {})


def _verdict(experiment: str, settings: dict[str, Any], row: dict[str, Any], stock: dict[str, Any]) -> Verdict:
    train, model = settings["train"], settings["model"]
    weights = "weights of COCO" if settings.get("pretrained") else "from scratch"
    network = f"{model.get('name', '')}{model.get('scale') or ''}"
    data = f"{settings['dataset']}, {network} {weights}, {train['epochs']} epochs, {train['imgsz']} px"
    points = f"{100 * row['delta_mean']:+.2f}"
    if row.get("delta_low") is not None and row["delta_high"] != row["delta_low"]:
        points += f" ({100 * row['delta_low']:+.2f} to {100 * row['delta_high']:+.2f})"
    excludes = "" if row.get("excludes") is None else f"{100 * row['excludes']:.2f}"
    return Verdict(
        experiment,
        row["arm"],
        data,
        row["n"],
        str(row["verdict"]).replace("_", " "),
        points,
        excludes,
        _cost(row, stock),
    )


def _cost(row: dict[str, Any], stock: dict[str, Any]) -> str:
    """What is added to the reference: parameters, operations, latency of one image."""
    units = {"parameters": (1e-6, "M"), "gflops": (1, "GFLOPs"), "latency_ms_b1": (1, "ms")}
    parts = [
        f"{(row[key] - stock[key]) * scale:+.2f} {unit}"
        for key, (scale, unit) in units.items()
        if row.get(key) is not None and stock.get(key) is not None
    ]
    return ", ".join(parts)


def wanted() -> dict[str, str]:
    """The blocks of ``+experiment=wanted``: the label of their rows, and the slot of each."""
    content = yaml.safe_load((conf_dir() / "experiment" / "wanted.yaml").read_text(encoding="utf-8"))
    found = {}
    for name in str(content["hydra"]["sweeper"]["params"]["block"]).split(","):
        block = yaml.safe_load((conf_dir() / "block" / f"{name}.yaml").read_text(encoding="utf-8"))
        rules = SLOT_RULES.get(name)
        found[block_label(block)] = str(rules.slot) if rules else "after"
        assert block["name"] in RULES
    return found


def page(results: Path = RESULTS) -> str:
    found = list(verdicts(results))
    lines = [HEAD, "## The most wanted", "", "| block | slot | verdicts |", "| --- | --- | --- |"]
    for label, slot in wanted().items():
        of_block = [each for each in found if each.arm == label]
        words = "; ".join(f"{each.verdict} on {each.data} ({each.seeds} seeds)" for each in of_block)
        lines.append(f"| {label} | {slot} | {words or NONE} |")
    if not any(each.arm in wanted() for each in found):
        lines += ["", "None of these has published runs yet: nothing can be said of them."]
    lines += [
        *("", "## Every published comparison", ""),
        "Points are 100 x mAP50-95, with the 95 % interval over seeds; `excludes` is the gain that the runs exclude.",
        *("", "| experiment | row | data and training | seeds | verdict | points | excludes | added cost |"),
        "| --- | --- | --- | ---: | --- | --- | --- | --- |",
    ]
    for each in found:
        cells = [f"[{each.experiment}](results/{each.experiment}/README.md)", each.arm, each.data, str(each.seeds)]
        lines.append(f"| {' | '.join([*cells, each.verdict, each.points, each.excludes, each.cost])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
