"""The plan of a command: every cell with its arm applied and its run directory, which ``prepare`` makes."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from acmix_exp import files, model_tasks
from acmix_exp.block_rules import PATHS
from acmix_exp.config import AUTO, SEED_LIMIT, Config, arm_label, from_plain, options, value_of
from acmix_exp.data import Dataset, Inspection, inspect, resolve
from acmix_exp.data.label_statistics import store
from acmix_exp.errors import ConfigError
from acmix_exp.run import directory, packing
from acmix_exp.run.directory import runs_in
from acmix_exp.run.owner import Owner
from acmix_exp.run.provenance import redact
from acmix_exp.sweep import arm, check
from acmix_exp.sweep.compose import Composed, raise_faults, signals_deferred
from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS
from acmix_exp.sweep.literals import as_typed, override_key, quoted, text_keys
from acmix_exp.sweep.run_key import hash8, identity, sampling, without_sampling
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.sampling import PROTOCOL

# The row's label names the arm or the block, and its n counts the seeds.
NOT_COLUMNS = ("arm", "seed", "block")
# Swept over, these would split one experiment's folder, or say nothing about the result.
NOT_SWEPT = (
    *("name", "task", "run", "a", "b", "runs_dir", "tags", "split", "format", "logger", "hardware", "report", "plan"),
    *("seeds", "seeds_plan", "sd", "power", "allow_foreign_ultralytics", "allow_unsafe_checkpoint", "model.task"),
)
PREPARED_SECONDS = 0.1  # between two looks at a run that another command prepares
ONE_PER_COMMAND = ("name", "task", "runs_dir")


@dataclass(frozen=True)
class Cell:
    """One job of the sweep. Several cells may share a run: a baseline does not depend on the block.

    config: with the arm applied. label: the arm's row in the table. dataset: its name. swept: value by swept key.
    alias: the row that the command names, if its run is another row's (conv3x3 may be the baseline).
    """

    config: Config
    label: str
    identity: dict[str, Any]
    dataset: str
    swept: dict[str, Any]
    run: directory.Run
    alias: str = ""


@dataclass(frozen=True)
class Plan:
    """The cells of one command, whose runs are in one folder."""

    name: str
    folder: Path
    cells: list[Cell]
    inspections: list[Inspection]

    @cached_property
    def runs(self) -> list[directory.Run]:
        """The distinct runs, in the order of the cells."""
        return list(dict.fromkeys(cell.run for cell in self.cells))

    @property
    def seeds(self) -> list[int]:
        """The seeds that the command plans for each row, sorted: ``planned_seeds`` in provenance.json of its runs.

        It is no part of a run's identity. A finished run keeps the plan that it was trained under, while a run that is
        still to be trained gets that of the newest command. With seeds=auto it is all seeds up to the last look.
        ``acmix_exp.report.seed_plans`` says how a report reads it.
        """
        plan = self.seeds_plan
        return list(range(plan["looks"][-1])) if plan else sorted({cell.config.seed for cell in self.cells})

    @property
    def seeds_plan(self) -> dict[str, Any] | None:
        """The looks of seeds=auto and their shares, as in provenance.json; None without it."""
        config = self.cells[0].config
        return asdict(config.seeds_plan) if config.seeds == AUTO else None

    @property
    def runs_at_once(self) -> int:
        return min(packing.smallest(self.cells[0].config.hardware), len(self.runs))


def build(cells: Sequence[Composed]) -> Plan:
    """Apply the arm to every cell, read the data sets and name the run directories. Nothing is written.

    Raises ConfigError with one line per distinct fault of any cell.
    """
    first = cells[0].config
    swept = swept_keys(cells)
    refuse_split(cells, swept)
    folder = Path(first.runs_dir) / first.name
    if lines := check.writable(Path(first.runs_dir), folder):
        raise ConfigError(*lines)
    data = _inspected(cells)
    planned = []
    for cell in cells:
        effective = arm.apply(cell.config)
        label = arm_label(effective)
        dataset, inspection = data[_data_key(cell.config)]
        parts = identity(effective, inspection.fingerprint)
        run = directory.Run(folder / f"{label}-s{effective.seed}-{hash8(parts)}")
        alias = arm_label(cell.config) if effective.arm.name != cell.config.arm.name else ""
        values = swept_values(effective, swept, cell.overrides)
        planned.append(Cell(effective, label, parts, dataset.name, values, run, alias))
    if lines := check.run_folders([cell.run.path for cell in planned]):
        raise ConfigError(*lines)
    return Plan(first.name, folder, planned, [inspection for _, inspection in data.values()])


def refuse_split(cells: Sequence[Composed], swept: Iterable[str] | None = None) -> None:
    """Raises ConfigError if the cells belong to different experiments, or differ in what no result depends on."""
    keys = swept_keys(cells) if swept is None else swept
    lines = [_not_swept(key, cells) for key in keys if {key, key.split(".")[0]} & {*NOT_SWEPT}]
    for key in ONE_PER_COMMAND:
        values = list(dict.fromkeys(getattr(cell.config, key) for cell in cells))
        if len(values) > 1 and not lines:
            lines.append(f"{key}={values[0]}: differs between cells ({values[1]}), and a command has one {key}")
    if lines:
        raise ConfigError(*lines)


def _not_swept(key: str, cells: Sequence[Composed]) -> str:
    given = dict.fromkeys(override for cell in cells for override in cell.overrides if override_key(override) == key)
    value = ",".join(as_typed(override).partition("=")[2] for override in given)
    free = key in text_keys() and key not in ("model.task", *check.CHOICES)  # a comma may be part of the value
    one = f", in quotes inside the shell's: {shlex.quote(f'{key}={quoted(value)}')}" if free else ""
    return f"{key}={value}: can't be swept; give it one value{one}"


def swept_keys(cells: Sequence[Composed]) -> list[str]:
    """Keys other than arm, seed and block that take more than one value over the cells, in the order given."""
    values: dict[str, list[str]] = {}
    for override in dict.fromkeys(override for cell in cells for override in cell.overrides):
        values.setdefault(override_key(override), []).append(override)
    return [key for key, overrides in values.items() if len(overrides) > 1 and key not in NOT_COLUMNS]


def swept_values(effective: Config, keys: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The cell's value of every swept key; None if the run does not depend on it."""
    values: dict[str, Any] = dict.fromkeys(keys)
    for key in keys:
        if arm.depends(effective, key):
            values[key] = value_of(effective, key)
            if not isinstance(values[key], (bool, int, float, str)):
                values[key] = next(text.partition("=")[2] for text in overrides if override_key(text) == key)
    return values


def _inspected(cells: Sequence[Composed]) -> dict[tuple[Any, ...], tuple[Dataset, Inspection]]:
    """Every distinct data set, read once."""
    numbers: dict[tuple[Any, ...], list[int]] = {}
    for number, cell in enumerate(cells):
        numbers.setdefault(_data_key(cell.config), []).append(number)
    data: dict[tuple[Any, ...], tuple[Dataset, Inspection]] = {}
    faults: dict[str, list[int]] = {}
    for key, of_dataset in numbers.items():
        try:
            config = cells[of_dataset[0]].config
            dataset = resolve(config.dataset, config.model.task)
            data[key] = dataset, inspect(dataset)
            for number in of_dataset:
                for line in check.mirror_faults(cells[number].config, dataset):
                    faults.setdefault(line, []).append(number)
        except ConfigError as error:
            for line in error.lines:
                faults.setdefault(line, []).extend(of_dataset)
    raise_faults(faults, [cell.overrides for cell in cells])
    return data


def _data_key(config: Config) -> tuple[Any, ...]:
    """Equal for configs that read the same data in the same way."""
    return (*astuple(config.dataset), model_tasks.of(config.model).name)


def prepare(plan: Plan) -> None:
    """Make the run directories that are neither done nor diverged: config, provenance and a pending status.

    A directory that holds what it should is only read.
    """
    command = redact(shlex.join(["python", "-m", "acmix_exp", *sys.argv[1:]]))
    report = {key: getattr(plan.cells[0].config.report, key) for key in ("reference", "margin", "pairs")}
    facts = {"command": command, "planned_seeds": plan.seeds, "report": report}
    if plan.seeds_plan:
        facts["seeds_plan"] = plan.seeds_plan
    for line in of_older_sampling(plan):
        print(f"acmix_exp: {line}", file=sys.stderr)
    by_run: dict[directory.Run, list[Cell]] = {}
    for cell in plan.cells:
        by_run.setdefault(cell.run, []).append(cell)
    here, texts = Owner.here(), _Texts()
    for run, cells in by_run.items():
        with signals_deferred():
            text = texts.of(cells[-1].config)
            prepared = _is_prepared(run, cells, facts, text)
        while not prepared:
            with signals_deferred(), run.lock(here) as claim:
                if claim:
                    _prepare(run, cells, facts, text)
            if claim or (run.path / "status.json").exists():
                break
            time.sleep(PREPARED_SECONDS)  # another command is about to prepare it
    for inspection in plan.inspections:
        store(plan.folder, inspection.fingerprint, inspection.labels)


def of_older_sampling(plan: Plan) -> list[str]:
    """Lines for runs of the folder that a new run takes the place of, because samples are drawn in another way now."""
    others = sorted(set(runs_in(plan.folder)) - set(plan.runs), key=lambda run: run.name)
    new = {without_sampling(cell.identity) for cell in plan.cells if others and cell.run.status() is None}
    names: dict[str, list[str]] = {"not continued, but started anew": [], "kept, and trained anew": []}
    unfinished, done = names.values()
    for run in others if new else ():
        recorded = run.provenance().get("identity") or {}
        if sampling(recorded) != PROTOCOL and without_sampling(recorded) in new:
            (done if run.is_done() else unfinished).append(run.name)
    why = f"because this version draws samples in another way (protocol {PROTOCOL})"
    return [
        f"{', '.join(found[:3])}{f' and {len(found) - 3} more' * (len(found) > 3)}: {what}, {why}"
        for what, found in names.items()
        if found
    ]


SEED_LINE = r"(?m)^seed: \d+$"


class _Texts:
    """The config.yaml of every run. Runs that differ in their seed alone share the work."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def of(self, config: Config) -> str:
        alike = replace(config, seed=SEED_LIMIT - 1)
        key = repr(alike)
        if key not in self._texts:
            self._texts[key] = OmegaConf.to_yaml(asdict(_portable(alike)))
        return re.sub(
            rf"^seed: {SEED_LIMIT - 1}$", f"seed: {config.seed}", self._texts[key], count=1, flags=re.MULTILINE
        )


def _is_prepared(run: directory.Run, cells: Sequence[Cell], facts: dict[str, Any], text: str) -> bool:
    """Whether a run directory is as :func:`_prepare` would make it. A run that was started and is not final is not."""
    cell, status = cells[-1], run.status()
    if status is None or not {cell.alias for cell in cells if cell.alias} <= set(status.get("serves", [])):
        return False
    if status["status"] == "pending":
        provenance = files.read_json(run.path / "provenance.json")
        same = text == _content(run.path / "config.yaml") and provenance == _provenance(cell, facts)
        return same and status == {**status, **_about(cell, status)}
    if not run.is_final() or not run.provenance().get("identity") or run.damaged():
        return False
    if (result := run.result()) is None:
        axes_recorded = status == {**status, "swept": {**status.get("swept", {}), **cell.swept}}
    else:
        axes_recorded = cell.swept.keys() <= result.get("swept", {}).keys()
    return axes_recorded and _readable(run, text)


def _provenance(cell: Cell, facts: dict[str, Any]) -> dict[str, Any]:
    dataset = {"name": cell.dataset, "fingerprint": cell.identity["data"]}
    return {**facts, "identity": cell.identity, "dataset": dataset}


def _about(cell: Cell, status: dict[str, Any]) -> dict[str, Any]:
    swept = {**status.get("swept", {}), **cell.swept}
    return {"arm": cell.label, "seed": cell.config.seed, "swept": swept}


def _prepare(run: directory.Run, cells: Sequence[Cell], facts: dict[str, Any], text: str) -> None:
    """facts: of the command. text: of config.yaml.

    What is there already is not written again: that takes time on a disk of many machines.
    """
    cell = cells[-1]
    status = run.status()
    aliases = sorted({*(status or {}).get("serves", []), *(cell.alias for cell in cells if cell.alias)})
    serves = {"serves": aliases} if aliases else {}
    # What the same command makes anew need not outlive a power failure, and to wait for the disk takes long.
    durable = (run.path / "status.json").exists() and (status or {}).get("status") != "pending"
    final, identified = run.is_final(), bool(run.provenance().get("identity"))
    if final and (damaged := run.damaged()):
        why = "its result stands, but not what needs them; delete the folder to train it anew"
        print(f"{run.path}: {', '.join(damaged)} cannot be read; {why}", file=sys.stderr)
    if final and identified and _readable(run, text):
        _merge_swept(cell)
        if serves:
            run.set_status(**serves)
        return
    files.write_changed(run.path / "config.yaml", text, durable=durable)
    if final and identified:
        print(f"{run.name}: config.yaml could not be read and is written anew", file=sys.stderr)
        return
    provenance = files.json_text(_provenance(cell, facts))
    files.write_changed(run.path / "provenance.json", provenance, durable=durable)
    if final:
        print(
            f"{run.name}: provenance.json could not be read and is written anew, without versions and hardware",
            file=sys.stderr,
        )
        return
    if status is None:
        status = _status_from_files(run)
    made = files.json_text({**status, **_about(cell, status), **serves})
    files.write_changed(run.path / "status.json", made, durable=durable)


def _status_from_files(run: directory.Run) -> dict[str, Any]:
    """The status of a run whose status.json is missing or corrupt: new, or interrupted if a checkpoint was saved."""
    status = {"status": "pending", "attempt": 0, "resumed": False, "pid": None, "error": None}
    fault = "corrupt" if (run.path / "status.json").exists() else "missing"
    if run.last.exists():
        print(f"{run.name}: status.json is {fault}; taken for interrupted, for a checkpoint was saved", file=sys.stderr)
        return {**status, "status": "interrupted", "attempt": 1}
    if fault == "corrupt" or run.log.exists():
        print(f"{run.name}: restarted from scratch: status.json is {fault}", file=sys.stderr)
        run.clear()
    return status


def _readable(run: directory.Run, text: str) -> bool:
    """Whether config.yaml can be read; it can if it is ``text``."""
    content = _content(run.path / "config.yaml")
    return content is not None and (content == text or _is_config(re.sub(SEED_LINE, "seed: 0", content, count=1)))


def _content(path: Path) -> str | None:
    """The text of a whole file; a cut one may still be valid YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return text if text.endswith("\n") else None


@lru_cache(maxsize=4096)
def _is_config(text: str) -> bool:
    try:
        from_plain(OmegaConf.create(text))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, *CONFIG_ERRORS):
        return False
    return True


def _merge_swept(cell: Cell) -> None:
    """Add the axes of this sweep to a run that is done or has diverged in another sweep."""
    result = cell.run.result()
    if result is None:
        status = cell.run.status() or {}
        cell.run.set_status(swept={**status.get("swept", {}), **cell.swept})
        return
    swept = result.get("swept", {})
    if cell.swept.keys() - swept.keys():
        files.write_json(cell.run.path / "result.json", {**result, "swept": {**swept, **cell.swept}})


def _portable(config: Config) -> Config:
    """Paths made absolute, so that the run directory can be read from any folder; names of shipped files stay names."""
    dataset, model = config.dataset, config.model
    if dataset.path is not None:
        dataset = replace(dataset, path=str(files.user_path(dataset.path).resolve()))
    if dataset.root is not None:
        dataset = replace(dataset, root=str(files.user_path(dataset.root).resolve()))
    if model.pretrained is not None and (path := find_pretrained(model)) != files.shipped(model.pretrained):
        model = replace(model, pretrained=str(path))
    if model.yaml is not None and (path := files.user_path(model.yaml)).is_file():
        model = replace(model, yaml=str(path.resolve()))
    return replace(config, dataset=dataset, model=model)


def check_reference(plan: Plan) -> None:
    """Raises ConfigError if ``report.reference`` is no arm of the plan, of the folder's runs or of those shipped.

    A shipped arm may be the reference though this command does not plan it: an experiment may be run in parts.
    """
    reference = plan.cells[0].config.report.reference
    name = reference.split(" (")[0]
    planned = dict.fromkeys(label for cell in plan.cells for label in (cell.label, cell.alias) if label)
    shipped = [arm for arm in options("arm") if arm != "configured"]
    if name in {*planned, *shipped, *options("block"), *(f"acmix-{path}" for path in PATHS)}:
        return
    of_folder = [str(status["arm"]) for run in runs_in(plan.folder) if (status := run.status() or {}).get("arm")]
    if name not in of_folder:
        raise ConfigError(unknown_reference(reference, [*planned, *of_folder, *shipped]))


def unknown_reference(reference: str, arms: Iterable[str]) -> str:
    """The line that refuses a reference which is not among ``arms``."""
    return f"report.reference={reference}: unknown arm; choose from {', '.join(dict.fromkeys(arms))}"
