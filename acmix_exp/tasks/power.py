"""``task=power``: the seeds that a true difference needs to be found, and the time they take. Starts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acmix_exp import model_tasks
from acmix_exp.config import Config
from acmix_exp.console import console, text_table
from acmix_exp.errors import ConfigError
from acmix_exp.report import sentences
from acmix_exp.report.pilot import Pilot, read_pilots, together
from acmix_exp.report.planned import Asked
from acmix_exp.report.sample_size import ROUNDING, RUN_TO_DELTA, detectable, seeds_for, upper_limit
from acmix_exp.report.sign_flips import seeds_needed
from acmix_exp.run import packing
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.planning import refuse_split
from acmix_exp.sweep.progress import duration
from acmix_exp.tasks.prospects import comparisons, rows_of_command
from acmix_exp.tasks.report import experiments

GIVE_SD = "give sd=0.01, the standard deviation of a run in {metric}, as you know it"


@dataclass(frozen=True)
class Study:
    """Arms and comparisons to plan for, and the standard deviation of a delta, of which ``basis`` says the source.

    upper: its upper limit; None if the number of runs that it is from is not known. seeds: those that are there.
    """

    title: str
    arms: int
    family: int
    sd: float
    upper: float | None
    basis: str
    seeds: int


def power(cells: Sequence[Composed]) -> int:
    """Print one table for the arms of the command if it names several, else one for each table of ``runs_dir/name``.

    Returns the exit code. Raises ConfigError if neither ``sd`` nor the folder's runs say how much runs differ.
    """
    refuse_split(cells)
    config = cells[0].config
    folder = Path(config.runs_dir) / config.name
    pilots = read_pilots(folder, Asked.of(config.report)) if folder.is_dir() else []
    if len(cells) > 1 or not pilots:
        studies = [(_of_command(cells, together(pilots), folder), together(pilots))]
    else:
        studies = [(_study(config, pilot, folder, pilot.rows, pilot.family, pilot.heading), pilot) for pilot in pilots]
    printed = [_printed(study, pilot, cells, folder) for study, pilot in studies]
    console().print(Group(*printed, Text(sentences.power_of(config.power.level, seeds_needed()))))
    return 0


def _of_command(cells: Sequence[Composed], pilot: Pilot, folder: Path) -> Study:
    config = cells[0].config
    reference = config.report.reference
    rows = rows_of_command(cells, harness=True)
    arms = len(rows) + all(row[0] != reference for row in rows)
    family = comparisons(rows_of_command(cells).keys(), config.report)
    return _study(config, pilot, folder, arms, family, f"{config.name}, as planned")


def _study(config: Config, pilot: Pilot, folder: Path, arms: int, family: int, title: str) -> Study:
    study = partial(Study, title=title, arms=max(arms, 2), family=max(family, 1), seeds=pilot.seeds)
    if config.sd is not None:
        sd = config.sd * RUN_TO_DELTA
        return study(sd=sd, upper=None, basis=sentences.sd_given(config.sd, sd))
    known, give_sd = pilot.sd(), GIVE_SD.format(metric=model_tasks.of(config.model).headline)
    if known is None:
        if not pilot.rows:
            names = experiments(folder.parent)
            raise ConfigError(f"name={config.name}: no runs in {folder}; must be {names}; or {give_sd}")
        why = f"{folder} has no arm with two finished seeds, which a spread needs"
        raise ConfigError(f"name={config.name}: {why}; train one more seed, or {give_sd}")
    sd, seeds = known
    if sd < ROUNDING:
        raise ConfigError(f"name={config.name}: all seeds in {folder} are equal, so there is no spread; {give_sd}")
    upper = upper_limit(sd, seeds)
    return study(sd=sd, upper=upper, basis=sentences.sd_seen(sd, upper, seeds, pilot.from_deltas))


def _printed(study: Study, pilot: Pilot, cells: Sequence[Composed], folder: Path) -> Group:
    config = cells[0].config
    at_once = _runs_at_once(cells, pilot)
    lines = [sentences.compared_arms(study.family, config.report.reference, study.arms), study.basis]
    if study.seeds:
        lines.append(_of_seeds(study, config.power.level))
    time = sentences.time_of_runs(pilot.run_seconds, at_once, pilot.machine, str(folder))
    return Group(
        Text(study.title, "bold"), *map(Text, lines), Text(), _table(study, config, pilot, at_once), Text(time)
    )


def _of_seeds(study: Study, level: float) -> str:
    """What the seeds that are there find."""
    fewest = seeds_needed()
    seeds = max(study.seeds, fewest)
    found = detectable(study.sd, seeds, study.family, level)
    at_limit = detectable(study.upper, seeds, study.family, level) if study.upper else None
    return sentences.power_of_seeds(study.seeds, fewest, found, at_limit, level)


def _runs_at_once(cells: Sequence[Composed], pilot: Pilot) -> int:
    """As the command says, else as the runs of the folder were trained; ``auto`` is what it is on this machine."""
    hardware = cells[0].config.hardware
    if {"hardware", "hardware.runs_at_once"}.isdisjoint(cells[0].keys):
        hardware = replace(hardware, runs_at_once=pilot.runs_at_once)
    if pilot.memory and hardware.runs_at_once == packing.AUTO:
        return packing.that_fit(hardware, pilot.memory)
    return packing.smallest(hardware)


def _table(study: Study, config: Config, pilot: Pilot, at_once: int) -> Table:
    spreads = [study.sd] if study.upper is None else [study.sd, study.upper]
    headings = [f"{name}{at}" for at in ("", "\nupper limit")[: len(spreads)] for name in ("seeds", "runs", "time")]
    lines = []
    for effect in config.power.effects:
        cells = []
        for sd in spreads:
            seeds = seeds_for(effect, sd, study.family, config.power.level)
            seconds = None if pilot.run_seconds is None else pilot.run_seconds * study.arms * seeds / at_once
            cells += [str(seeds), str(seeds * study.arms), sentences.DASH if seconds is None else duration(seconds)]
        lines.append([f"{effect:g}", f"{effect * 100:g}", *cells])
    style = {"box": box.SIMPLE_HEAD, "show_edge": False}
    return text_table("", [f"difference\n{model_tasks.of(config.model).headline}", "points"], headings, lines, **style)
