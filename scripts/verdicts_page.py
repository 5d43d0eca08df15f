"""Write docs/verdicts.md from the published runs: what was tried, on which data, what is excluded, at what cost.

python -m scripts.verdicts_page

A published experiment is a folder of docs/results/ with its summary.json and the archive of its runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from acmix_exp.block_rules import PATHS, RULES
from acmix_exp.config import IDENTITY, block_label, conf_dir, options
from acmix_exp.slot_rules import CONVOLUTIONS, SLOT_RULES, SLOTS, slot_of
from acmix_exp.yolo.families import title_of

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs" / "verdicts.md", ROOT / "docs" / "results"
HEAD = """# The book of verdicts

What people add to YOLO, each block in its own slot and against the stock network, and what is known of it here.
Written by `python -m scripts.verdicts_page` from the published runs.
"""
RULE = """
A verdict is of its data set, weights, training and seeds alone. "No difference", with what is excluded, is a result: it
does not say that the block has no effect. [What the words mean](reading_the_report.md).
"""
COMMAND = """
```bash
python -m acmix_exp +experiment=wanted model.pretrained=yolov8n.pt dataset=yolo dataset.path=data.yaml
```

trains all of them with six seeds, and the identity control of every slot; `seeds=auto` adds seeds until each verdict is
made. A published folder names its own command, and `runs.tar.xz` beside it holds its runs.
"""
POINTS = """Points are 100 x mAP50-95: the mean difference, with the 95 % interval over seeds for this row alone. The
verdict is by the p that is adjusted for all rows with the same reference runs: "no difference" may stand beside an
interval without zero. Excluded are differences beyond the farther end of the 90 % interval of the row.
"""
COLUMNS = "data and training | seeds | verdict | points | excluded beyond | added cost |"
RULER = " --- | ---: | --- | --- | --- | --- |"
WORDS = {  # what several blocks are, by their verdict, in the order of the finding
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent within the margin",
    "no_difference": "without a significant difference",
    "interim": "not judged yet, for want of planned seeds",
    "too_few_seeds": "with too few seeds for any verdict",
    "diverged": "diverged in some runs",
    "None": "without a reference to compare with",
}
JUDGED = ("better", "worse", "equivalent", "no_difference")
FAULT = "harness_fault"
LATENCY = "latency_ms_b1"
DRAWN = "shapes"  # a data set without photographs


@dataclass(frozen=True)
class Verdict:
    """A row of a published table that is no reference. points, excludes: differences in mAP50-95, times 100.

    word: of summary.json. control: of the harness, of joining or of capacity, and no block that people add. faulty: the
    identity control of the same table differs from the stock network.
    """

    experiment: str
    arm: str
    data: str
    seeds: int
    word: str
    words: str
    points: str
    excludes: float | None
    cost: str
    control: bool
    faulty: bool

    @property
    def cells(self) -> str:
        limit = "" if self.excludes is None else f"±{self.excludes:.2f}"
        words = f"{self.words}; the harness check failed" if self.faulty else self.words
        return f"{self.data} | {self.seeds} | {words} | {self.points} | {limit} | {self.cost} |"


def verdicts(results: Path = RESULTS) -> Iterator[Verdict]:
    """Every row of the published experiments but the references, by the names of the experiments."""
    for path in sorted(results.glob("*/summary.json")):
        for table in json.loads(path.read_text(encoding="utf-8"))["tables"]:
            faulty = any(row["verdict"] == FAULT for row in table["rows"])
            for row in table["rows"]:
                if row["verdict"] != "reference":
                    yield _verdict(path.parent.name, table, row, _reference(table, row), faulty)


def _reference(table: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The reference of the row's own network: a swept value that concerns the reference too is the same."""
    return next(
        (
            each
            for each in table["rows"]
            if each["arm"] == table["reference"]
            and all(each.get(key) in (None, row.get(key)) for key in table.get("swept_keys", ()))
        ),
        {},
    )


def _verdict(
    experiment: str, table: dict[str, Any], row: dict[str, Any], stock: dict[str, Any], faulty: bool
) -> Verdict:
    points, word = "", str(row["verdict"])
    if row.get("delta_mean") is not None:
        points = f"{100 * row['delta_mean']:+.2f}"
    if row.get("delta_low") is not None and row["delta_high"] != row["delta_low"]:
        points += f" ({100 * row['delta_low']:+.2f} to {100 * row['delta_high']:+.2f})"
    words = word.replace("_", " ")
    if row.get("seeds_verdict"):
        words += f" ({row['seeds_verdict']} on these test images only)"
    if diverged := row.get("n_diverged"):
        words += f", {diverged} diverged"
    if word == "None":
        words = f"no {table['reference']} to compare with"
    name, _, slot = row["arm"].rpartition("_")
    name = name if slot in SLOTS else row["arm"]
    return Verdict(
        experiment,
        f"acmix-{row['arm']}" if row["arm"] in PATHS else row["arm"],
        _data(table, row),
        row["n"],
        word,
        words,
        points,
        None if row.get("excludes") is None else 100 * row["excludes"],
        "none: the stock network" if _is_stock(row["arm"], name) else _cost(row, stock),
        name in controls(),
        faulty and word != FAULT,
    )


@cache
def controls() -> set[str]:
    """The arms that are controls, and the block that is: bilinear upsampling, of DySample."""
    files = {name: conf_dir() / "arm" / f"{name}.yaml" for name in options("arm")}
    arms = {name for name, path in files.items() if yaml.safe_load(path.read_text(encoding="utf-8")).get("control")}
    return arms | {"bilinear"}


def _is_stock(arm: str, name: str) -> bool:
    """Whether the network that is used is the stock one: of identity, and of a box loss."""
    return name == IDENTITY or (arm in SLOT_RULES and SLOT_RULES[arm].slot == "loss")


def _data(table: dict[str, Any], row: dict[str, Any]) -> str:
    """Data set, network, weights and training, with the swept values of the row."""
    settings, swept = table["settings"], {key: row.get(key) for key in table.get("swept_keys", ())}
    train, name = settings["train"], settings["dataset"] or swept.get("dataset")
    weights = settings.get("pretrained", swept.get("model.pretrained"))
    parts = [
        f"{name} (drawn images)" if name == DRAWN else str(name),
        title_of(settings["model"]) if settings["model"].get("name") else "",
        f"from {Path(str(weights)).name}" if weights else "from scratch",
    ]
    values = [f"{key}={value}" for key, value in swept.items() if value is not None and key != "dataset"]
    numbers = [f"{train[key]} {unit}" for key, unit in {"epochs": "epochs", "imgsz": "px"}.items() if key in train]
    return ", ".join([parts[0], " ".join(filter(None, parts[1:])), *numbers, *values])


def _cost(row: dict[str, Any], stock: dict[str, Any]) -> str:
    """What is added to the reference: parameters, operations, and how many times its latency one image takes."""
    units = {"parameters": (1e-6, "M"), "gflops": (1, "GFLOPs")}
    parts = [
        f"{(row[key] - stock[key]) * scale:+.2f} {unit}"
        for key, (scale, unit) in units.items()
        if row.get(key) is not None and stock.get(key) is not None
    ]
    if row.get(LATENCY) and stock.get(LATENCY):
        parts.append(f"{row[LATENCY] / stock[LATENCY]:.2f} x latency")
    return ", ".join(parts)


def wanted() -> dict[str, str]:
    """The blocks of ``+experiment=wanted``: the label of their rows, and the slot of each."""
    content = yaml.safe_load((conf_dir() / "experiment" / "wanted.yaml").read_text(encoding="utf-8"))
    found = {}
    for name in str(content["hydra"]["sweeper"]["params"]["block"]).split(","):
        block = yaml.safe_load((conf_dir() / "block" / f"{name}.yaml").read_text(encoding="utf-8"))
        after = "replace" if name in CONVOLUTIONS else "after"
        if name not in controls():
            found[block_label(block)] = slot_of(block) or after
        assert block["name"] in RULES
    return found


def finding(rows: Sequence[Verdict]) -> str:
    """One sentence on the blocks of an experiment: how many are better, worse, or neither, and what is excluded."""
    parts, judged = [], any(row.word in JUDGED for row in rows)
    for word, words in WORDS.items():
        names = [row.arm for row in rows if row.word == word]
        if names or (judged and word in ("better", "worse")):
            parts.append(f"{len(names) or 'none'} {words}" + (f" ({', '.join(names)})" if names else ""))
    text = f"{len(rows)} {'block' if len(rows) == 1 else 'blocks'}: {', '.join(parts)}"
    limits = sorted(row.excludes for row in rows if row.excludes is not None and row.word == "no_difference")
    if limits:
        span = f"±{limits[0]:.2f}" + (f" to ±{limits[-1]:.2f}" if len(limits) > 1 else "")
        text += f"; excluded are differences beyond {span} points"
    return text


def findings(found: Sequence[Verdict]) -> Iterator[str]:
    """Lines of the finding: failed checks; the most wanted, by experiment and data; which were not run; the others."""
    for each in found:
        if each.word == FAULT:
            text = f"{each.arm} differs from the stock network"
            yield f"- **The harness check failed** in {_link(each.experiment)}: {text}."
    names, groups = wanted(), dict[tuple[str, str], list[Verdict]]()
    for each in found:
        if not each.control:
            groups.setdefault((each.experiment, each.data), []).append(each)
    of_wanted = {key: rows for key, rows in groups.items() if any(row.arm in names for row in rows)}
    run = {row.arm for rows in of_wanted.values() for row in rows}
    yield from map(_line, of_wanted.values())
    given, missing = f"of the {len(names)} blocks of `+experiment=wanted`", [name for name in names if name not in run]
    if not run:
        yield f"- None {given} has published runs yet: nothing can be said of them."
    elif missing:
        yield f"- Not run, {len(missing)} {given}: {', '.join(missing)}."
    yield from (_line(rows) for key, rows in groups.items() if key not in of_wanted)


def _line(rows: Sequence[Verdict]) -> str:
    seeds = sorted({row.seeds for row in rows})
    many = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    return f"- {_link(rows[0].experiment)}, {rows[0].data}, {many} seeds. {finding(rows)}."


def _link(experiment: str) -> str:
    return f"[{experiment}](results/{experiment}/README.md)"


def page(results: Path = RESULTS) -> str:
    found = list(verdicts(results))
    lines = [HEAD, "## What was found", "", *findings(found), RULE]
    lines += ["## The most wanted", COMMAND, f"| block | slot | {COLUMNS}", f"| --- | --- |{RULER}"]
    for label, slot in wanted().items():
        of_block = [each.cells for each in found if each.arm == label] or ["| | not run | | | |"]
        lines += [f"| {label} | {slot} | {cells}" for cells in of_block]
    lines += ["", POINTS.rstrip()]
    for title, is_control in (("Every published block", False), ("Controls", True)):
        lines += ["", f"## {title}", "", f"| experiment | row | {COLUMNS}", f"| --- | --- |{RULER}"]
        lines += [
            f"| {_link(each.experiment)} | {each.arm} | {each.cells}" for each in found if each.control == is_control
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
