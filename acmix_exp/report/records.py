"""The dataclasses of a report: a run as read, the runs that share a table, and the table's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from statistics import mean, stdev
from typing import Any

from acmix_exp.config import MATCHED
from acmix_exp.model_tasks import CLASSIFY, DETECT, TASKS, ModelTask, headline
from acmix_exp.report.detection_curves import DetectionCurves, read_curves
from acmix_exp.report.recorded_words import in_words, machine_name, site_names
from acmix_exp.report.statistics import Comparison, Verdict
from acmix_exp.run.directory import Run
from acmix_exp.run.replicates import Replicates, replicates

# Environment variables, by their beginning, that change how numbers are rounded or summed.
NUMERIC = (
    *("ACMIX_EXP_BACKEND", "ATEN_", "CUBLAS_", "CUDNN_", "DNNL_", "KMP_", "MKL_", "NVIDIA_TF32_", "OMP_", "ONEDNN_"),
    *("OPENBLAS_", "PYTHONHASHSEED", "PYTORCH_", "TORCH_"),
)


@dataclass(frozen=True)
class Result:
    """Result of a finished run: the headline on ``split``, ``val_*`` (the headline's metric) on val; None if not
    recorded. Of a classifier top1 is the headline, and there is no mAP.
    """

    map50_95: float | None
    map50: float | None
    precision: float | None
    recall: float | None
    per_class: dict[str, float]  # mAP50-95 or top1
    split: str | None
    checkpoint: str | None
    val_last: float | None
    val_best: float | None
    best_epoch: int | None
    imgsz: int | None
    cost: dict[str, Any]
    head: str | None = None  # nms | nms_free: the headline's, of a network with two heads
    nms: float | None = None  # mAP50-95 of each of them
    nms_free: float | None = None
    top1: float | None = None
    top5: float | None = None

    @property
    def headline(self) -> float:
        """What rows are compared by; either is there, see ``directory.whole_result``."""
        return float((self.map50_95 if self.top1 is None else self.top1) or 0.0)

    @property
    def other_head(self) -> float | None:
        """mAP50-95 of the head that is not the headline; None without two heads."""
        return {"nms": self.nms_free, "nms_free": self.nms}.get(self.head or "")


@dataclass(frozen=True, eq=False)
class Record:
    """One run directory as read. ``fault`` says why it can be in no table; ``seed`` is -1 if it is unknown."""

    run: Run
    arm: str
    seed: int
    swept: dict[str, Any]
    config: dict[str, Any]
    status: dict[str, Any]
    state: str
    error: str | None
    result: Result | None
    provenance: dict[str, Any]
    fault: str | None = None
    diverged_attempts: int = 0  # that ended in a loss or mAP that is not finite

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def diverged(self) -> bool:
        """Whether it diverged and has not finished since."""
        return self.result is None and self.diverged_attempts > 0

    @property
    def resume_flaw(self) -> str:
        """Why it may not be the run that it would have been without interruption; empty if it is, or had none."""
        if not self.status.get("resumed"):
            return ""
        if "sampling" not in self.identity:  # a version that resumed from averaged weights in float16
            return "which is not bit-exact"
        changes = self.provenance.get("resumed_with")
        return (
            f"under other conditions: {', '.join(map(str, changes))}" if isinstance(changes, list) and changes else ""
        )

    @property
    def identity(self) -> dict[str, Any]:
        return dict(self.provenance.get("identity") or {})

    @property
    def planned_seeds(self) -> list[int]:
        """The seeds that the command planned which this run was trained under; empty if it was not recorded.

        The runs of one command have the same list. What a report makes of it: ``seed_plans.py``.
        """
        seeds = self.provenance.get("planned_seeds")
        if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
            return []
        return sorted(seeds)

    @property
    def variant(self) -> tuple[Any, ...]:
        """Name and path of the inserted block, or of that which it matches; empty for the stock network. Of an arm with
        insertions of its own, all that they say."""
        if self.has_own_places:
            return (self.inserted_text,)
        block = self.identity.get("block") or {}
        if self.inserts and (like := self.like):
            return (like.get("name"), like.get("path"), block.get("match"))
        return (block.get("name"), block.get("path")) if self.inserts else ()

    @property
    def block(self) -> tuple[Any, ...]:
        """Name of the inserted block and, if it is user-defined, its class; of several blocks their names."""
        blocks = [part["block"] for part in self.parts]
        names = dict.fromkeys(block.get("name") for block in blocks)
        return ("+".join(map(str, names)) if len(names) > 1 else next(iter(names)), blocks[0].get("target"))

    @property
    def likes(self) -> list[dict[str, Any]]:
        """The blocks that the control conv3x3_matched matches; empty for any other arm."""
        blocks = [part["block"] for part in self.parts if part["block"].get("name") == MATCHED and self.control]
        return [like for block in blocks if isinstance(like := block.get("like"), dict)]

    @property
    def like(self) -> dict[str, Any]:
        """The first of :attr:`likes`, if there is any."""
        return next(iter(self.likes), {})

    @property
    def parts(self) -> list[dict[str, dict[str, Any]]]:
        """``block`` and ``placement`` of each insertion, as recorded; empty ones for the stock network."""
        one = {key: self.identity.get(key) for key in ("block", "placement")}
        return [{key: each.get(key) or {} for key in one} for each in self.identity.get("insertions") or [one]]

    @property
    def has_own_places(self) -> bool:
        """Whether its placements are of its arm, ``arm.insertions``, and not those of the other arms."""
        return self.inserts and bool(self.config["arm"].get("insertions"))

    @property
    def inserted_text(self) -> str:
        """What is inserted where, in words; options and settings that are not the defaults are named."""
        sites: dict[str, list[str]] = {}
        for part in self.parts:
            sites.setdefault(in_words(**part), []).extend(site_names(part["placement"]))
        return " and ".join(f"{what} {', '.join(names)}" for what, names in sites.items())

    @property
    def inserts(self) -> bool:
        return bool(self.config["arm"]["insert"])

    @property
    def control(self) -> bool:
        """Whether the arm brings its own block, and so shares no block option with the other inserting arms."""
        return self.inserts and bool(self.config["arm"].get("control"))

    @cached_property
    def machine(self) -> str:
        """The kind of machine that the run was trained and timed on; empty if it was not recorded."""
        return machine_name(self.provenance.get("hardware"))

    @cached_property
    def made_with(self) -> dict[str, str]:
        """Versions, commit, variables and machine, by kind; uncommitted changes are named by their hash."""
        facts = {f"version of {name}": str(text) for name, text in (self.provenance.get("versions") or {}).items()}
        git, hardware = self.provenance.get("git") or {}, self.provenance.get("hardware") or {}
        if git.get("commit"):
            changes = f" with changes {str(git['diff_sha256'])[:8]}" if git.get("diff_sha256") else ""
            facts["commit"] = f"{str(git['commit'])[:8]}{changes}"
        imported = self.provenance.get("imported") or {}
        for name in ("sitecustomize", "usercustomize"):
            if name in imported:
                facts[f"{name} (hash)"] = str(imported[name].get("sha256"))[:8]
        variables = self.provenance.get("environment") or {}
        facts |= {f"value of {name}": str(value) for name, value in variables.items() if name.startswith(NUMERIC)}
        if hardware:
            facts["kind of machine"] = str(hardware.get("gpu") or hardware.get("cpu"))
        return facts

    @cached_property
    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv."""
        return self.run.history()

    @cached_property
    def replicates(self) -> Replicates | None:
        """The run's headline on resampled images; None if it left no readable outcomes.npz."""
        split = self.result.split if self.result else None
        return replicates(self.run.path, str(self.identity.get("data")), str(split))

    @cached_property
    def detection_curves(self) -> DetectionCurves | None:
        """The curves and the confusion matrix of its headline; None if it left no readable outcomes.npz."""
        return read_curves(self.run.path)


@dataclass(frozen=True)
class ArmRuns:
    """An arm and one combination of swept values: by seed its finished runs and those that diverged."""

    arm: str
    swept: dict[str, Any]
    runs: dict[int, Record] = field(default_factory=dict)
    diverged: dict[int, Record] = field(default_factory=dict)
    unfinished: list[Record] = field(default_factory=list)
    repeated: list[Record] = field(default_factory=list)  # second runs of a seed

    @property
    def records(self) -> list[Record]:
        """The finished runs in the order of their seeds."""
        return [self.runs[seed] for seed in sorted(self.runs)]

    @property
    def all_records(self) -> list[Record]:
        """Finished, diverged and unfinished runs, without second runs of a seed."""
        return [*self.runs.values(), *self.diverged.values(), *self.unfinished]

    @property
    def block(self) -> str | None:
        """The name of the block that its runs insert; None for the stock network."""
        names = [record.block[0] for record in self.all_records if record.inserts]
        return str(names[0]) if names else None

    @property
    def box_loss(self) -> str | None:
        """The name of the block in place of CIoU in the box loss; None if there is none."""
        parts = [part for record in self.all_records for part in record.parts]
        return next((str(part["block"].get("name")) for part in parts if part["placement"].get("mode") == "loss"), None)

    @property
    def headline(self) -> str:
        """The name of the metric that rows are compared by, such as "mask mAP50-95"."""
        task = next((record.identity["model"].get("task") for record in self.all_records if record.identity), None)
        return headline(task)

    @property
    def variant(self) -> str:
        """The swept values, each with the last part of its key."""
        return " ".join(f"{key.split('.')[-1]}={value}" for key, value in self.swept.items() if value is not None)

    @property
    def label(self) -> str:
        return f"{self.arm} {self.variant}".strip()


@dataclass(frozen=True)
class Group:
    """Runs that differ only in arm, seed and swept keys. ``folds``: how many data sets, if the seed chooses one."""

    settings: dict[str, Any]
    swept_keys: list[str]
    rows: list[ArmRuns]
    folds: int = 0


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) over seeds."""

    mean: float | None
    std: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread:
        """Of the values that are not None."""
        numbers = [value for value in values if value is not None]
        return cls(mean(numbers) if numbers else None, stdev(numbers) if len(numbers) > 1 else None)


@dataclass(frozen=True)
class Interval:
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Population:
    """The mean difference for another seed and another test set: see ``population.py``; None without outcomes."""

    low: float | None = None  # 95 % interval
    high: float | None = None
    excludes: float | None = None  # the smallest margin within which the difference is shown to be, as in Comparison
    image_share: float | None = None  # of the variance, due to the test images
    crossed_low: float | None = None  # 95 % interval of the crossed bootstrap, a check
    crossed_high: float | None = None


@dataclass(frozen=True)
class Cost:
    """Costs of a row: GFLOPs at 640 px as it runs, milliseconds per pass, MB, seconds; None if not known.

    parameters: as trained; parameters_fused: in the form for inference, which GFLOPs and latencies are of.
    gflops_published: with the blocks in the form of their publication; runs of version 0.1 counted only that.

    ``latency_from``: profile (of task=profile), run (at the end of a run) or shared (then, but beside other runs).
    ``profiled_on``: the device of task=profile and the image size, in words.
    """

    parameters: int | None = None
    gflops: float | None = None
    parameters_block: int | None = None
    gflops_block: float | None = None
    gflops_stage1: float | None = None
    gflops_stage2: float | None = None
    gflops_ultralytics: float | None = None
    latency_ms_b1: float | None = None
    latency_ms_b1_p95: float | None = None
    latency_ms_b32: float | None = None
    latency_ms_b32_p95: float | None = None
    peak_memory_mb: float | None = None
    train_seconds: float | None = None
    latency_from: str | None = None
    parameters_fused: int | None = None
    gflops_published: float | None = None
    profiled_on: str | None = None

    @property
    def fps(self) -> float | None:
        """Images per second at batch 1, by task=profile: a latency from beside a training would tell another story."""
        return 1000 / self.latency_ms_b1 if self.latency_ms_b1 and self.latency_from == "profile" else None


@dataclass(frozen=True)
class Row:
    """A row of a table. ``images``: 95 % interval of the mean difference over resampled test images."""

    runs: ArmRuns
    reference: ArmRuns | None  # the row that it is compared with
    map50_95: Spread
    map50: Spread
    precision: Spread
    recall: Spread
    val_last: Spread
    val_best: Spread
    comparison: Comparison
    images: Interval
    cost: Cost
    population: Population = Population()
    seeds_verdict: Verdict | None = None  # that by seeds alone, where ``population`` does not allow it
    nms: Spread = Spread(None, None)  # mAP50-95 of the head with suppression of duplicates, and without, if it has both
    nms_free: Spread = Spread(None, None)
    other_head: Comparison = field(default_factory=Comparison)  # of the head that is no headline; no verdict
    top1: Spread = Spread(None, None)
    top5: Spread = Spread(None, None)

    @property
    def headline(self) -> Spread:
        """Of the metric that rows are compared by."""
        return self.map50_95 if self.top1.mean is None else self.top1

    @property
    def arm(self) -> str:
        return self.runs.arm

    @property
    def label(self) -> str:
        return self.runs.label

    @property
    def n(self) -> int:
        return len(self.runs.runs)

    @property
    def n_diverged(self) -> int:
        return len(self.runs.diverged)


@dataclass(frozen=True)
class Contrast:
    """A comparison between two rows of a table, neither of which need be the reference."""

    runs: ArmRuns
    reference: ArmRuns  # the row that it is compared with
    comparison: Comparison
    population: Population = Population()
    seeds_verdict: Verdict | None = None

    @property
    def label(self) -> str:
        return contrast_label(self.runs, self.reference)


def contrast_label(row: ArmRuns, other: ArmRuns) -> str:
    return f"{row.label} against {other.label}"


@dataclass(frozen=True)
class Table:
    """Rows that may be compared. ``heading`` says in one line what they share.

    family: how many comparisons are judged together, over all tables of the family. margin: of equivalence, if one was
    planned. pairs: the comparisons between rows, if they were asked for. columns: by the names of ``columns.py``, those
    that were asked for; none if each output has columns of its own.
    """

    heading: str
    settings: dict[str, Any]
    swept_keys: list[str]
    reference: str
    family: int
    rows: list[Row]
    notes: list[str]
    margin: float | None = None
    pairs: list[Contrast] = field(default_factory=list)
    columns: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """The name of the metric that its rows are compared by, such as "mask mAP50-95"."""
        return self.task.headline

    @property
    def task(self) -> ModelTask:
        """What its networks are trained for."""
        return TASKS[(self.settings.get("model") or {}).get("task") or DETECT]

    @property
    def classifies(self) -> bool:
        return self.task.name == CLASSIFY

    @property
    def metric(self) -> str:
        """What its mAP is of; empty: of boxes."""
        return self.task.metric
