"""The arm that ``report.reference`` names: refused before the first job where it can only be a slip of the pen."""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from acmix_exp import files
from acmix_exp.config import Config, arm_label, load, options, to_object
from acmix_exp.data import Dataset, Inspection, inspect, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.run import directory
from acmix_exp.run.directory import runs_in
from acmix_exp.run.provenance import redact
from acmix_exp.sweep import arm, check, compose
from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS, explain
from acmix_exp.sweep.run_key import hash8, identity
from acmix_exp.yolo.pretrained import find_pretrained

NO_AXES = ("arm", "seed", "block")  # told by a row's label, which names the arm or the block, and its number of runs
# Swept over cells, these would split one experiment's folder, or say nothing about the result.
NOT_SWEPT = ("name", "task", "run", "runs_dir", "tags", "split", "format", "logger", "hardware", "report")


@dataclass(frozen=True)
class Cell:
    """One job of the sweep. Several cells may share a run: a baseline does not depend on the block."""

    config: Config  # with the arm applied
    label: str
    identity: dict[str, Any]
    data: str  # the data set's name
    swept: dict[str, Any]
    run: directory.Run
    asked: str = ""  # the row's name where its run is another's: conv3x3 may be the baseline


@dataclass(frozen=True)
class Plan:
    name: str
    folder: Path
    cells: list[Cell]
    inspections: list[Inspection]

    @property
    def runs(self) -> list[directory.Run]:
        """The distinct runs, in the order of the cells."""
        return list(dict.fromkeys(cell.run for cell in self.cells))


def jobs(config: DictConfig, loader: ConfigLoader) -> list[list[str]]:
    """The overrides of every job that Hydra's basic sweeper would start."""
    params = config.hydra.sweeper.get("params") or {}
    arguments = [f"{key}={value}" for key, value in params.items()] + list(config.hydra.overrides.task)
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(arguments)
    return BasicSweeper.split_arguments(parsed, None)[0]


def build(master: DictConfig, loader: ConfigLoader | None) -> Plan:
    """Compose, check and place every cell.

    ``loader`` is given for a sweep and None for a single run. Raises ConfigError with one line for each distinct
    fault of any cell, so that not even the good cells start.
    """
    all_overrides = jobs(master, loader) if loader else [list(master.hydra.overrides.task)]
    if lines := compose.lacking(all_overrides):
        raise ConfigError(*lines)
    composed = []
    composer = _Composer(master, loader)
    for overrides in all_overrides:
        try:
            composed.append(composer(overrides))
        except CONFIG_ERRORS as error:
            lines += compose.named(explain(error, overrides), overrides, all_overrides)
    swept = _axes(all_overrides)
    lines += [f"{key}: can't be swept; give it one value" for key in swept if key.split(".")[0] in NOT_SWEPT]
    if not lines:
        lines = check.writable(Path(composed[0].runs_dir))
    if lines:
        raise ConfigError(*dict.fromkeys(lines))
    data = {key: _inspected(config) for config in composed if (key := _dataset_key(config))}
    folder = Path(composed[0].runs_dir) / composed[0].name
    cells = []
    for config, overrides in zip(composed, all_overrides, strict=True):
        effective = arm.apply(config)
        label = arm_label(effective)
        dataset, inspection = data[_dataset_key(config)]
        parts = identity(effective, inspection.fingerprint)
        run = directory.Run(folder / f"{label}-s{config.seed}-{hash8(parts)}")
        asked = arm_label(config) if effective.arm.name != config.arm.name else ""
        swept_values = _swept_values(effective, swept, overrides)
        cells.append(Cell(effective, label, parts, dataset.name, swept_values, run, asked))
    return Plan(composed[0].name, folder, cells, [inspection for _, inspection in data.values()])


class _Composer:
    """Composes and checks cells; once for those that differ in the seed alone, for composing is what takes time."""

    def __init__(self, master: DictConfig, loader: ConfigLoader | None) -> None:
        self.master, self.loader = master, loader
        self.known: dict[tuple[str, ...], Config | ConfigError] = {}

    def __call__(self, overrides: list[str]) -> Config:
        rest = tuple(override for override in overrides if _key(override) != "seed")
        seeds = [override.split("=", 1)[1] for override in overrides if _key(override) == "seed"]
        known = self.known.get(rest)
        if isinstance(known, ConfigError):
            raise known
        if known and seeds and seeds[-1].isdecimal():
            return replace(known, seed=int(seeds[-1]))
        cell = self.loader.load_sweep_config(self.master, overrides) if self.loader else self.master
        try:
            config = self.known[rest] = checked(cell, overrides)
        except ConfigError as error:
            self.known[rest] = error
            raise
        return config


def checked(cell: DictConfig, overrides: Sequence[str]) -> Config:
    """The cell as an object. Raises ConfigError with every fault that shows without the data set."""
    bare = copy.deepcopy(cell)
    with read_write(bare), open_dict(bare):
        bare.pop("hydra", None)
    lines = check.unknown_keys(bare)
    if not lines:
        config = to_object(bare)
        lines = check.faults(config, {_key(override) for override in overrides})
    if lines:
        raise ConfigError(*lines)
    return config


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _axes(all_overrides: Sequence[Sequence[str]]) -> list[str]:
    """Keys other than arm, seed and block that take more than one value over the cells, in the order given."""
    values: dict[str, set[str]] = {}
    for overrides in all_overrides:
        for key, override in {_key(override): override for override in overrides}.items():  # the last one counts
            values.setdefault(key, set()).add(override)
    return [key for key, seen in values.items() if len(seen) > 1 and key not in NO_AXES]


def _swept_values(effective: Config, keys: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The cell's value on every swept axis; None where the run does not depend on it."""
    tree = OmegaConf.structured(effective)
    chosen = {_key(override): override.split("=", 1)[1] for override in overrides if "=" in override}
    values: dict[str, Any] = {}
    for key in keys:
        if not arm.depends(effective, key):
            values[key] = None
        else:
            value = OmegaConf.select(tree, key) if "/" not in key else None
            values[key] = chosen[key] if value is None or OmegaConf.is_config(value) else value
    return values


def _dataset_key(config: Config) -> tuple[Any, ...]:
    return tuple(asdict(config.dataset).values())


_SEEN: dict[tuple[Any, ...], tuple[Dataset, Inspection]] = {}


def _inspected(config: Config) -> tuple[Dataset, Inspection]:
    key = _dataset_key(config)
    if key not in _SEEN:
        dataset = resolve(config.dataset)
        _SEEN[key] = (dataset, inspect(dataset))
    return _SEEN[key]


def prepare(plan: Plan) -> None:
    """Make the run directories that are not done yet: config, provenance and a pending status."""
    command = redact(shlex.join(["python", "-m", "acmix_exp", *sys.argv[1:]]))
    for cell in plan.cells:
        with cell.run.lock() as mine:
            if not mine:
                continue
            if cell.run.is_done() and _readable(cell.run):
                _merge_swept(cell)
                if cell.asked:
                    cell.run.set_status(**_serves(cell))
                continue
            config = _portable(cell.config)
            files.write_text(cell.run.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.structured(config)))
            if cell.run.is_done():
                continue
            files.write_json(
                cell.run.path / "provenance.json",
                {
                    "command": command,
                    "identity": cell.identity,
                    "dataset": {"name": cell.data, "fingerprint": cell.identity["data"]},
                },
            )
            status = cell.run.status()
            if status is None:
                if (cell.run.path / "status.json").exists():
                    print(f"{cell.run.name}: status.json is corrupt; the run starts anew", file=sys.stderr)
                    cell.run.clear()
                status = {"status": "pending", "attempt": 0, "resumed": False, "pid": None, "error": None}
            swept = {**status.get("swept", {}), **cell.swept}
            files.write_json(
                cell.run.path / "status.json",
                {**status, "arm": cell.label, "seed": cell.config.seed, "swept": swept, **_serves(cell)},
            )


def _serves(cell: Cell) -> dict[str, Any]:
    """The other arms whose run this is too."""
    known = (cell.run.status() or {}).get("serves", [])
    return {"serves": sorted({*known, cell.asked})} if cell.asked else {}


def _readable(run: directory.Run) -> bool:
    try:
        load(run.path / "config.yaml")
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, *CONFIG_ERRORS):
        return False
    return True


def _merge_swept(cell: Cell) -> None:
    """A finished run that serves another sweep too is told that sweep's axes."""
    result = cell.run.result() or {}
    if cell.swept and any(key not in result.get("swept", {}) for key in cell.swept):
        result["swept"] = {**result.get("swept", {}), **cell.swept}
        files.write_json(cell.run.path / "result.json", result)


def _portable(config: Config) -> Config:
    """Paths made absolute, so that the run directory can be read from any folder."""
    dataset, model = config.dataset, config.model
    if dataset.path is not None:
        dataset = replace(dataset, path=str(Path(dataset.path).expanduser().resolve()))
    if dataset.root is not None:
        dataset = replace(dataset, root=str(Path(dataset.root).expanduser().resolve()))
    if model.pretrained is not None:
        model = replace(model, pretrained=str(find_pretrained(model)))
    return replace(config, dataset=dataset, model=model)


OF_ACMIX = ("acmix-conv", "acmix-attention", "acmix-mixed")


def check_reference(plan: Plan) -> None:
    """Raises ConfigError where no arm is called so: not of the plan, not of the folder's runs, and none that we ship.

    One of these may be the reference though this command doesn't plan it, for an experiment may be run in parts.
    """
    reference = plan.cells[0].config.report.reference
    here = [name for cell in plan.cells for name in (cell.label, cell.asked) if name]
    here += [str(status["arm"]) for run in runs_in(plan.folder) if (status := run.status() or {}).get("arm")]
    arms = [name for name in options("arm") if name != "configured"]
    if reference.split(" (")[0] not in {*here, *arms, *options("block"), *OF_ACMIX}:
        raise ConfigError(fault(reference, [*here, *arms]))


def fault(reference: str, arms: Iterable[str]) -> str:
    """The line that refuses it."""
    return f"report.reference={reference}: no arm is called so; must be one of {', '.join(dict.fromkeys(arms))}"
