"""The columns of every output. A new column is one line here and a field of ``Row``.

``PRESETS`` and ``chosen`` are what ``report.columns`` may say; ``columns(output, table)`` is what an output shows.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal

from acmix_exp.errors import ConfigError
from acmix_exp.report.language import tr
from acmix_exp.report.records import Contrast, Row, Table
from acmix_exp.report.sentences import DASH, DELTA, MAP, P_VALUE, format_number, verdict

# csv: and W&B's table. md: and a wide terminal. terminal, narrow: what a narrower terminal keeps longer, and longest.
# html, evidence, costs: tables of the page; runs: its list of runs, with the numbers of each run. pairs: comparisons
# between rows. profile: the table of task=profile. wandb: W&B's scalars.
Output = Literal[
    "csv", "md", "terminal", "narrow", "tex", "html", "evidence", "costs", "runs", "pairs", "profile", "wandb"
]
SHAPED = ("md", "terminal", "narrow", "tex", "html")  # the outputs that ``report.columns`` shapes


@dataclass(frozen=True)
class Column:
    """One column. Its cells hold one number, or two: mean and standard deviation, or the ends of an interval.

    ``numbers``: key in summary.json and summary.csv -> attribute of ``Row``. ``form``: a format of ``format_number``,
    for the number divided by ``scale``. ``outputs``: an ``Output`` per word; summary.json has every column. ``join``:
    between two numbers. ``short``: heading in table.tex, with its second line. ``if_known``: an output leaves it out
    where no row has a number, unless ``report.columns`` names it. only: the tables that have it: "boxes", all but those
    of classifiers, or "classes", theirs; empty: all.
    """

    heading: str
    form: str
    numbers: Mapping[str, str]
    outputs: str = ""
    unit: str = ""
    scale: float = 1
    join: str = ""
    short: str = ""
    if_known: bool = False
    only: str = ""

    @property
    def name(self) -> str:
        """Its name in ``report.columns``."""
        key = next(iter(self.numbers))
        return NAMES.get(key, key)

    @property
    def title(self) -> str:
        return f"{tr(self.heading)} ({tr(self.unit)})" if self.unit else tr(self.heading)

    def of(self, table: Table) -> Column:
        """The column with the metric of a table's task in its heading, such as "mask mAP50"."""
        name = table.headline if table.classifies else f"{table.metric} mAP".lstrip()
        heading, short = (text.replace("mAP", name) for text in (self.heading, self.short))
        return replace(self, heading=heading, short=short)

    def fits(self, table: Table | None) -> bool:
        return not self.only or (self.only == "classes") == (table is not None and table.classifies)

    def numbers_of(self, row: Row | Contrast) -> dict[str, Any]:
        """The numbers by key, as in summary.json."""
        return {key: attrgetter(path)(row) for key, path in self.numbers.items()}

    def text(self, row: Row | Contrast, *, short: bool = False) -> str:
        """The cell of a row; ``short`` for a narrow column."""
        if self.form == "verdict":
            return verdict(row, short=short)
        return self.text_of(self.numbers_of(row))

    def text_of(self, numbers: Mapping[str, Any]) -> str:
        """The cell of numbers by key; keys may be missing."""
        known = [numbers[key] for key in self.numbers if numbers.get(key) is not None]
        texts = [format_number(value if self.scale == 1 else value / self.scale, self.form) for value in known]
        return (tr(self.join) if self.join else "").join(texts) or DASH


# Names in report.columns of the columns that are not named by their first key.
NAMES = {
    "map50_95_mean": "mAP50-95",
    "map50_mean": "mAP50",
    "precision_mean": "P",
    "recall_mean": "R",
    "top1_mean": "top-1",
    "top5_mean": "top-5",
    "delta_mean": "delta",
    "delta_low": "CI",
    "simultaneous_low": "CI_simultaneous",
    "image_low": "CI_images",
    "population_low": "CI_population",
    "crossed_low": "CI_crossed",
    "p_adjusted": "p_joint",
    "val_last_mean": "val_last",
    "val_best_mean": "val_best",
    "gflops": "GFLOPs",
    "latency_ms_b1": "latency",
    "nms_mean": "mAP50-95_nms",
    "nms_free_mean": "mAP50-95_nms_free",
    "other_head_mean": "delta_other_head",
    "other_head_low": "CI_other_head",
    "fps": "FPS",
    "peak_memory_mb": "memory",
    "train_seconds": "training",
}
PRESETS: dict[str, tuple[str, ...]] = {
    "default": (),  # each output has columns of its own
    "thesis": ("P", "R", "mAP50", "mAP50-95", "parameters", "GFLOPs", "FPS"),
    "paper": ("n", "mAP50", "mAP50-95", "delta", "CI_simultaneous", "p_joint", "verdict", "parameters", "GFLOPs"),
}
MAP50_95 = {"map50_95_mean": "map50_95.mean", "map50_95_std": "map50_95.std"}
NMS = {"nms_mean": "nms.mean", "nms_std": "nms.std"}
NMS_FREE = {"nms_free_mean": "nms_free.mean", "nms_free_std": "nms_free.std"}
OTHER_HEAD = {"other_head_low": "other_head.low", "other_head_high": "other_head.high"}
TOP1, TOP5 = {"top1_mean": "top1.mean", "top1_std": "top1.std"}, {"top5_mean": "top5.mean"}
BOXES, CLASSES = "boxes", "classes"
CI = {"delta_low": "comparison.low", "delta_high": "comparison.high"}
CI_JOINT = {"simultaneous_low": "comparison.simultaneous_low", "simultaneous_high": "comparison.simultaneous_high"}
POPULATION = {"population_low": "population.low", "population_high": "population.high"}
CROSSED = {"crossed_low": "population.crossed_low", "crossed_high": "population.crossed_high"}
CI_IMAGES = {"image_low": "images.low", "image_high": "images.high"}
JOINT, SHORT = "simultaneous", "95 % CI\nsimultaneous"
P_JOINT, VERDICT = {"p_adjusted": "comparison.p_adjusted"}, {"verdict": "comparison.verdict"}
PARAMETERS = {"parameters": "cost.parameters"}

# fmt: off
COLUMNS = (
    Column("n", "d", {"n": "n"}, "csv md terminal narrow tex html"),
    Column("mAP50-95", MAP, MAP50_95, "csv md terminal narrow tex html runs wandb", "± std", join=" ± ", only=BOXES),
    Column("mAP50", MAP, {"map50_mean": "map50.mean"}, "csv md terminal narrow html", only=BOXES),
    Column("mAP50, std", MAP, {"map50_std": "map50.std"}),
    Column("mAP50-95", MAP, NMS, "md terminal html", "with NMS", 1, " ± ", "mAP50-95\nNMS", True),
    Column("mAP50-95", MAP, NMS_FREE, "md terminal html", "NMS-free", 1, " ± ", "mAP50-95\nNMS-free", True),
    Column("precision", MAP, {"precision_mean": "precision.mean"}, "csv html", short="P", only=BOXES),
    Column("recall", MAP, {"recall_mean": "recall.mean"}, "csv html", short="R", only=BOXES),
    Column("top-1", MAP, TOP1, "csv md terminal narrow tex html runs wandb", "± std", join=" ± ", only=CLASSES),
    Column("top-5", MAP, TOP5, "csv md terminal narrow html", only=CLASSES),
    Column("top-5, std", MAP, {"top5_std": "top5.std"}),
    Column("paired seeds", "d", {"n_paired": "comparison.n"}, "pairs"),
    Column("diverged runs", "d", {"n_diverged": "n_diverged"}),
    Column("in the family", "", {"in_family": "comparison.in_family"}),
    Column("delta", DELTA, {"delta_mean": "comparison.mean"}, "csv md terminal narrow tex html evidence wandb pairs"),
    Column("95 % CI", DELTA, CI, "csv md terminal evidence pairs", join=" to ", short="95 % CI"),
    Column("95 % CI", DELTA, CI_JOINT, "csv md terminal tex html evidence pairs", JOINT, join=" to ", short=SHORT),
    Column("95 % CI (images)", DELTA, CI_IMAGES, "md evidence", join=" to "),
    Column("95 % CI", DELTA, POPULATION, "csv md evidence pairs", "population", join=" to "),
    Column("share of images", ".2f", {"image_share": "population.image_share"}),
    Column("95 % CI (crossed bootstrap)", DELTA, CROSSED, join=" to "),
    Column("delta", DELTA, {"other_head_mean": "other_head.mean"}, "md html evidence", "other head", if_known=True),
    Column("95 % CI", DELTA, OTHER_HEAD, "md evidence", "other head", join=" to ", if_known=True),
    Column("p", P_VALUE, {"p": "comparison.p"}, "csv evidence"),
    Column("p", P_VALUE, P_JOINT, "csv tex evidence pairs", "joint test", short="p\njoint"),
    Column("smallest attainable p", P_VALUE, {"p_floor": "comparison.p_floor"}, "csv evidence", "joint test"),
    Column("detectable", MAP, {"detectable": "comparison.detectable"}, "csv md evidence"),
    Column("excludes beyond", MAP, {"excludes": "comparison.excludes"}, "csv md evidence pairs", "±"),
    Column("decided at", "d", {"look": "comparison.look"}, "", "seeds"),
    Column("verdict", "verdict", VERDICT, "csv md terminal narrow tex html evidence wandb pairs"),
    Column("verdict by seeds alone", "", {"seeds_verdict": "seeds_verdict"}),
    Column("val mAP", MAP, {"val_last_mean": "val_last.mean"}, "md html runs", "last"),
    Column("val mAP (last), std", MAP, {"val_last_std": "val_last.std"}),
    Column("val mAP", MAP, {"val_best_mean": "val_best.mean"}, "md html runs", "best"),
    Column("val mAP (best), std", MAP, {"val_best_std": "val_best.std"}),
    Column("parameters", ".3f", PARAMETERS, "csv md terminal tex costs profile", "M", 1e6, short="params"),
    Column("GFLOPs", ".2f", {"gflops": "cost.gflops"}, "csv md terminal tex costs profile", short="FLOPs\nG"),
    Column("latency", ".2f", {"latency_ms_b1": "cost.latency_ms_b1"}, "csv tex costs profile", "ms", short="time"),
    Column("FPS", ".1f", {"fps": "cost.fps"}, unit="batch 1"),
    Column("latency, p95", ".2f", {"latency_ms_b1_p95": "cost.latency_ms_b1_p95"}, "costs profile", "ms"),
    Column("latency, batch 32", ".2f", {"latency_ms_b32": "cost.latency_ms_b32"}, "costs profile", "ms"),
    Column("latency, batch 32, p95", ".2f", {"latency_ms_b32_p95": "cost.latency_ms_b32_p95"}, "", "ms"),
    Column("latency from", "", {"latency_from": "cost.latency_from"}),
    Column("parameters", ".3f", {"parameters_block": "cost.parameters_block"}, "profile", "M, blocks", 1e6),
    Column("parameters", ".3f", {"parameters_fused": "cost.parameters_fused"}, "costs profile", "M, fused", 1e6),
    Column("GFLOPs", ".2f", {"gflops_published": "cost.gflops_published"}, "costs profile", "published form"),
    Column("GFLOPs", ".3f", {"gflops_block": "cost.gflops_block"}, "costs profile", "blocks"),
    Column("GFLOPs", ".3f", {"gflops_stage1": "cost.gflops_stage1"}, "costs", "Stage I"),
    Column("GFLOPs", ".3f", {"gflops_stage2": "cost.gflops_stage2"}, "costs", "Stage II"),
    Column("GFLOPs", ".2f", {"gflops_ultralytics": "cost.gflops_ultralytics"}, "costs profile", "ultralytics"),
    Column("memory", ",.0f", {"peak_memory_mb": "cost.peak_memory_mb"}, "costs runs", "MB"),
    Column("training", ".1f", {"train_seconds": "cost.train_seconds"}, "costs runs", "min", 60),
)
# fmt: on


BY_NAME = {column.name: column for column in COLUMNS}
SPELLINGS: dict[str, str] = {}  # of names and presets: their keys, headings and other cases
for _column in COLUMNS:
    for _spelling in (_column.name, *_column.numbers, _column.heading, _column.short.partition("\n")[0]):
        SPELLINGS.setdefault(_spelling.lower(), _column.name)
SPELLINGS |= {name: name for name in PRESETS}


def chosen(value: Any) -> tuple[str, ...]:
    """The names of the columns that ``report.columns`` asks for: a preset, or a list of columns and presets.

    Empty if each output has columns of its own. Raises ConfigError, in one line, for what is neither.
    """
    entries = value if isinstance(value, list) else [value]
    if not entries:
        raise ConfigError(f"report.columns=[]: {_right()}")
    names: list[str] = []
    for entry in entries:
        text = str(entry)
        name = text if text in BY_NAME else SPELLINGS.get(text.lower())
        if name is None:
            given = f"[{','.join(map(str, entries))}]: {text}" if isinstance(value, list) else text
            close = difflib.get_close_matches(text.lower(), SPELLINGS, n=1)
            right = f"did you mean {SPELLINGS[close[0]]}?" if close else _right()
            raise ConfigError(f"report.columns={given}: no such column or preset; {right}")
        names += PRESETS.get(name, (name,))
    return tuple(dict.fromkeys(names))


def _right() -> str:
    return f"must be {', '.join(PRESETS)}, or a list of columns such as [{','.join(PRESETS['thesis'])}]"


def columns(output: Output, table: Table | None = None) -> list[Column]:
    """The columns of an output, in their order: those chosen for the table where that shapes the output.

    Headings name the mAP of the table's task.
    """
    shown = [column for column in COLUMNS if output in column.outputs.split()]
    if table is not None and table.columns and output in SHAPED:
        shown = [BY_NAME[name] for name in _of_classifiers(table.columns, table)]
    else:
        shown = [column for column in shown if not column.if_known or (table and _is_known(column, table))]
        shown = [column for column in shown if column.fits(table)]
    return [column.of(table) for column in shown] if table is not None else shown


def _of_classifiers(names: Sequence[str], table: Table) -> list[str]:
    """The names of a table of classifiers: its metrics in place of mAP, of which it has none."""
    if not table.classifies:
        return list(names)
    asked = [name for name, other in (("top-1", "mAP50-95"), ("top-5", "mAP50")) if {name, other} & set(names)]
    of_boxes = [name for name in names if name in asked or BY_NAME[name].only == BOXES]
    place = names.index(of_boxes[0]) if of_boxes else 0
    before, after = ([name for name in part if name not in of_boxes] for part in (names[:place], names[place:]))
    return [*before, *asked, *after]


def _is_known(column: Column, table: Table) -> bool:
    return any(value is not None for row in table.rows for value in column.numbers_of(row).values())


def cells(row: Row, visible: Sequence[Column], *, short: bool = False) -> list[str]:
    """A row as text: its arm, its swept values and the columns; ``short`` for narrow columns."""
    swept = [format_number(value, "") for value in row.runs.swept.values()]
    return [row.arm, *swept, *(column.text(row, short=short) for column in visible)]


def of_files(output: Output, tables: Sequence[Table]) -> list[Column]:
    """The columns of an output that holds all tables; those of classifiers only where a table is of such."""
    has_classifiers = any(table.classifies for table in tables)
    shown = [column for column in COLUMNS if output in column.outputs.split() and not column.if_known]
    return [column for column in shown if has_classifiers or column.only != CLASSES]


def keys(output: Output, tables: Sequence[Table] = ()) -> list[str]:
    """The keys of an output's numbers, in their order."""
    return [key for column in of_files(output, tables) for key in column.numbers]


def numbers(row: Row) -> dict[str, Any]:
    """All numbers of a row by key, as in summary.json."""
    return {key: value for column in COLUMNS for key, value in column.numbers_of(row).items()}


def pair_cells(pair: Contrast, visible: Sequence[Column], *, short: bool = False) -> list[str]:
    """A comparison between two rows as text: both labels and the columns."""
    return [pair.label, *(column.text(pair, short=short) for column in visible)]


def pair_numbers(pair: Contrast) -> dict[str, Any]:
    """All numbers of a comparison between two rows by key, as in summary.json."""
    return {key: value for column in columns("pairs") for key, value in column.numbers_of(pair).items()}
