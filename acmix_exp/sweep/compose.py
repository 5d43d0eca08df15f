"""From a command line to cells, by Hydra's public API: every distinct choice is composed once.

The axes of a sweep come from an experiment's ``hydra.sweeper.params`` and from the command line, as Hydra's basic
sweeper reads them. An interpolation ``${...}`` is resolved in its own cell.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from acmix_exp.block_rules import RULES
from acmix_exp.config import GROUPS, SEED_LIMIT, Config, conf_dir, register_schema, to_object
from acmix_exp.errors import STOPS, ConfigError
from acmix_exp.files import user_path
from acmix_exp.sweep import seed_axis
from acmix_exp.sweep.foreign_arguments import answers, flag_line
from acmix_exp.sweep.hydra_errors import (
    CONFIG_ERRORS,
    block_files,
    chosen_block,
    explain,
    other_engine,
    schema_keys,
    several_values,
)
from acmix_exp.sweep.literals import as_typed, literal, override_key, quoted
from acmix_exp.sweep.task_keys import TAKEN, unused, unused_of_hydra
from acmix_exp.tracking.variables import filled

PRINTED_FAULTS = 20


@dataclass(frozen=True)
class Composed:
    """One cell of a command: its checked config, before the arm is applied, and the overrides it was composed from."""

    config: Config
    overrides: tuple[str, ...]

    @property
    def keys(self) -> set[str]:
        """The config keys and groups that the overrides set."""
        return set(map(override_key, self.overrides))


def compose_cells(arguments: Sequence[str], on_first: Callable[[Config], None] = lambda config: None) -> list[Composed]:
    """Compose and check every cell of a command line, which may hold Hydra's flags -m and --config-dir.

    on_first: is called with the first cell of a sweep as soon as it is composed.

    Raises ConfigError with one line per distinct fault of any cell, so that not even the good cells start.
    """
    flags = _flags(arguments)
    folders = [conf_dir(), *([Path(flags.config_dir).absolute()] if flags.config_dir else [])]
    if not folders[-1].is_dir():
        raise ConfigError(f"--config-dir={flags.config_dir}: no such folder")
    register_schema()
    if lines := answers(flags.overrides, schema_keys(), folders):
        raise ConfigError(*lines)
    overrides = rewritten(flags.overrides, multirun=flags.multirun)
    _refuse_other_engines(overrides)
    if lines := unused_of_hydra(overrides):
        raise ConfigError(*lines)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folders[0]), job_name="acmix_exp", version_base="1.3"):
        parser = OverridesParser.create(config_loader=_GroupOptions(folders))  # type: ignore[arg-type]
        try:
            parsed = parser.parse_overrides(overrides)
            composer = _Composer(_hydra_overrides(parsed, folders[1:]))
            cells = list(itertools.product(*_axes(parsed, parser, composer, multirun=flags.multirun).values()))
        except CONFIG_ERRORS as error:
            raise ConfigError(*explain(error, overrides)) from None
        if lines := lacking_options(cells):
            raise ConfigError(*lines)
        texts = [str(each.input_line) for each in parsed if not each.is_hydra_override()]
        given, task = {override_key(text): text for text in texts}, ""
        with suppress(*CONFIG_ERRORS):  # which _checked_cells reports
            task = str(composer.compose(cells[0]).task)
        if task in TAKEN and (lines := unused(task, given)):
            raise ConfigError(*lines)
        checked = _checked_cells(cells, composer, on_first)
        if lines := unused(checked[0].config.task, given):
            raise ConfigError(*lines)
        return checked


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let Ctrl-C and the like take effect when the block ends: inside OmegaConf they would come out as its errors."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending: list[int] = []
    handlers = {number: signal.getsignal(number) for number in STOPS}
    for number in handlers:
        signal.signal(number, lambda number, frame: pending.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if pending:
            signal.raise_signal(pending[0])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see --help")


FLAGS = {"-m", "--multirun", "-r", "--run", "-cd", "--config-dir"}


def refuse_unknown_flags(arguments: Sequence[str], known: Collection[str] = FLAGS) -> None:
    """Raises ConfigError for the first argument with dashes that is no flag: Hydra would print its whole usage."""
    for argument, value in itertools.zip_longest(arguments, arguments[1:]):
        if argument.startswith("-") and argument.partition("=")[0] not in known:
            plain = value is not None and not value.startswith("-") and "=" not in value
            raise ConfigError(flag_line(argument, value if plain else None, schema_keys()))


def _flags(arguments: Sequence[str]) -> argparse.Namespace:
    refuse_unknown_flags(arguments)
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-r", "--run", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    parser.add_argument("overrides", nargs="*")
    return parser.parse_intermixed_args(arguments)


def rewritten(arguments: Sequence[str], *, multirun: bool = True) -> list[str]:
    """Overrides with the groups without plus signs, ``++`` where new keys are allowed, and missing quotes added.

    New keys are allowed below ``train.extra``, and below ``block`` if that is a user-defined one, or from a library.
    """
    libraries = "|".join(name for name, rules in RULES.items() if rules.library)
    from_outside = rf"\+{{0,2}}(block=custom|block\.target=|block=(.*\W)?({libraries}))"
    open_block = any(re.match(from_outside, argument) for argument in arguments)
    new_keys = r"^\+{0,2}(?=train\.extra\.|block\.)" if open_block else r"^\+{0,2}(?=train\.extra\.)"
    arguments = [re.sub(rf"^\+{{1,2}}(?=({'|'.join(GROUPS)})=)", "", argument) for argument in arguments]
    sweep = multirun or any(re.match(r"\+{0,2}(experiment|hydra\.mode)=", argument) for argument in arguments)
    return [literal(re.sub(new_keys, "++", argument), sweep=sweep) for argument in arguments]


def _refuse_other_engines(overrides: Iterable[str]) -> None:
    for override in overrides:
        if re.match(r"[+~]*hydra[./](launcher|sweeper)(?!\.params)", override):
            raise ConfigError(other_engine(override))


class _GroupOptions:
    """What ``glob(...)`` asks a config loader for: a group's options in all config folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def get_group_options(self, group_name: str, results_filter: object = None) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in (folder / group_name).glob("*.yaml")})


def _hydra_overrides(parsed: Iterable[Override], more_folders: Sequence[Path]) -> list[str]:
    """The overrides that go into every composition: those of Hydra's own config, and the folder of --config-dir."""
    overrides = {override_key(text): text for each in parsed if each.is_hydra_override() and (text := each.input_line)}
    values = [each.value() for each in parsed if each.key_or_group == "hydra.searchpath"]
    if more_folders:
        paths = [str(path) for value in values if isinstance(value, list) for path in value]
        paths += [f"file://{folder}" for folder in more_folders]
        overrides["hydra.searchpath"] = f"hydra.searchpath=[{','.join(map(quoted, paths))}]"
    return list(overrides.values())


def _axes(
    parsed: Sequence[Override], parser: OverridesParser, composer: _Composer, *, multirun: bool
) -> dict[str, list[str]]:
    """By key, the overrides of which every cell gets one. The last override of a key counts.

    Raises ConfigError for several values without a sweep.
    """
    for override in parsed:
        if override.is_sweep_override() and override.key_or_group == "experiment":
            raise ConfigError(f"{override.input_line}: one experiment at a time")
    of_task = [override for override in parsed if not override.is_hydra_override()]
    config, hydra = _common_part(of_task, composer)
    _refuse_other_engines(
        f"{group}={option}"
        for group, option in hydra.runtime.choices.items()
        if group in ("hydra/launcher", "hydra/sweeper") and option != "basic"
    )
    if multirun or hydra.mode == RunMode.MULTIRUN:
        of_task = [*_experiment_axes(hydra.sweeper.params, parser), *of_task]
    elif several := [override for override in parsed if override.is_sweep_override()]:
        raise ConfigError(several_values(str(several[0].input_line)))
    axes = {override_key(str(override.input_line)): _values(override) for override in of_task}
    typed = [as_typed(str(override.input_line)) for override in parsed if override.key_or_group == "seed"]
    return seed_axis.with_seeds(axes, config, typed[-1] if typed else None)


def _common_part(of_task: Iterable[Override], composer: _Composer) -> tuple[DictConfig, Any]:
    """The config, composed without what is swept over, and Hydra's part of it."""
    single = tuple(str(override.input_line) for override in of_task if not override.is_sweep_override())
    # A block that is swept over may have an option that the default block lacks.
    without_options = tuple(override for override in single if not override.startswith("block."))
    try:
        config = composer.compose(single)
    except CONFIG_ERRORS:
        if without_options == single:
            raise
        config = composer.compose(without_options)
    return config, HydraConfig.get()


def _experiment_axes(params: Any, parser: OverridesParser) -> Iterator[Override]:
    """``hydra.sweeper.params`` as overrides. An interpolation is left to the cell, unless it is what makes the axis."""
    unresolved: Any = OmegaConf.to_container(params, resolve=False) if params else {}
    for key, value in unresolved.items():
        override = f"{key}={value}"
        if "${" in override and not _is_sweep(override, parser) and _is_sweep(f"{key}={params[key]}", parser):
            override = f"{key}={params[key]}"
        yield from parser.parse_overrides([literal(override)])


def _is_sweep(override: str, parser: OverridesParser) -> bool:
    try:
        return bool(parser.parse_override(override).is_sweep_override())
    except HydraException:
        return False


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise ConfigError(f"{override.input_line}: can't be swept; use a,b or range(...) or choice(...) or glob(...)")
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise ConfigError(f"{as_typed(str(override.input_line))}: stands for no value; glob is of a group's options")
    return values


class _Composer:
    """Composes configs. Cells that differ in values alone share a composition by Hydra, which is what takes time, and
    those that differ in the seed alone share the checked config too.
    """

    def __init__(self, hydra_overrides: Sequence[str]) -> None:
        self._hydra_overrides = hydra_overrides
        self._last: tuple[tuple[str, ...], DictConfig] | None = None
        # By overrides without the seed: the config, or why there is none, or what is still to be resolved by seed.
        self._without_seed: dict[tuple[str, ...], Config | DictConfig | Exception] = {}
        # By overrides without single values: the config, nothing resolved; None if it depends on more.
        self._without_values: dict[tuple[str, ...], DictConfig | None] = {}
        self._value_of = lru_cache(OverridesParser.create().parse_override)

    def compose(self, overrides: tuple[str, ...]) -> DictConfig:
        """The config, nothing resolved; Hydra's part of it is then ``HydraConfig.get()``. Raises as Hydra does."""
        if self._last is None or self._last[0] != overrides:
            with signals_deferred():
                config = compose("config", [*self._hydra_overrides, *overrides], return_hydra_config=True)
                HydraConfig.instance().set_config(config)
                with open_dict(config):
                    del config["hydra"]
            self._last = overrides, config
        return self._last[1]

    def config(self, overrides: tuple[str, ...]) -> Config:
        """The checked config of a cell. Raises one of CONFIG_ERRORS."""
        seed = next((text.partition("=")[2] for text in overrides if override_key(text) == "seed"), "")
        if not seed.isdecimal() or int(seed) >= SEED_LIMIT:
            return _checked(self.compose(overrides), overrides)
        rest = tuple(override for override in overrides if override_key(override) != "seed")
        if rest not in self._without_seed:
            self._without_seed[rest] = self._composed_once(overrides)
        shared = self._without_seed[rest]
        if isinstance(shared, Exception):
            raise shared.with_traceback(None)
        if isinstance(shared, Config):
            return replace(shared, seed=int(seed))
        config = copy.deepcopy(shared)
        config.seed = int(seed)
        return _checked(config, overrides)

    def _composed_once(self, overrides: tuple[str, ...]) -> Config | DictConfig | Exception:
        try:
            composed_last = self._last is not None and self._last[0] == overrides
            config = None if composed_last else self._composed_from_shared(overrides)
            if config is None:
                config = self.compose(overrides)
            return config if _interpolates_seed(config) else _checked(config, overrides)
        except CONFIG_ERRORS as error:
            return error

    def _composed_from_shared(self, overrides: tuple[str, ...]) -> DictConfig | None:
        """The config with the values put into a shared composition, as Hydra does last; None if Hydra has to do it."""
        keys = [override_key(override) for override in overrides]
        value_keys = [key for key in keys if key not in GROUPS]  # groups come before all values
        values = [
            override
            for override, key in zip(overrides, keys, strict=True)
            if re.match(r"\w+(\.\w+)+=", override) and not any(_overlap(key, other) for other in value_keys)
        ]
        rest = tuple(override for override in overrides if override not in values)
        if not values or len(set(keys)) < len(keys):
            return None
        try:
            if rest not in self._without_values:
                shared = self.compose(rest)
                content = str(OmegaConf.to_container(shared, resolve=False))
                self._without_values[rest] = None if "${hydra:" in content else shared
            if (shared_config := self._without_values[rest]) is None:
                return None
            with signals_deferred():
                config = copy.deepcopy(shared_config)
                for override in map(self._value_of, values):
                    OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except CONFIG_ERRORS:
            self._without_values[rest] = None
            return None
        return config


def _overlap(key: str, other: str) -> bool:
    """Whether one of two keys is part of the other, so that their order counts."""
    first, second = sorted((key, other), key=len)
    return second.startswith(f"{first}.")


def _interpolates_seed(config: DictConfig) -> bool:
    """Whether any interpolation names the seed; one that reaches it through another key has that key name it."""
    return re.search(r"\$\{[^{}]*seed", str(OmegaConf.to_container(config, resolve=False))) is not None


def _checked(unresolved: DictConfig, overrides: Iterable[str]) -> Config:
    """The config as an object. Raises ConfigError with every fault that shows without the data set."""
    from acmix_exp.sweep import check  # here, because Hydra's own command line needs none of it
    from acmix_exp.sweep.arm import usual

    lines = check.unknown_keys(OmegaConf.to_container(unresolved, resolve=False))  # type: ignore[arg-type]
    if not lines:
        with signals_deferred():
            config = usual(to_object(unresolved))
        lines = check.faults(config, keys := set(map(override_key, overrides)))
    if lines:
        raise ConfigError(*lines)
    config.runs_dir = str(user_path(config.runs_dir))
    config.run = config.run and str(user_path(config.run))
    return filled(config, keys) if config.task == "train" else config


def _checked_cells(
    all_overrides: Sequence[tuple[str, ...]], composer: _Composer, on_first: Callable[[Config], None]
) -> list[Composed]:
    cells: list[Composed] = []
    faults: dict[str, list[int]] = {}
    for number, overrides in enumerate(all_overrides):
        try:
            cells.append(Composed(composer.config(overrides), overrides))
        except CONFIG_ERRORS as error:
            for line in explain(error, overrides):
                faults.setdefault(line, []).append(number)
        if number == 0 and len(all_overrides) > 1 and cells:
            on_first(cells[0].config)
    raise_faults(faults, all_overrides)
    return cells


def raise_faults(faults: Mapping[str, Sequence[int]], all_overrides: Sequence[tuple[str, ...]]) -> None:
    """Raise ConfigError if there are faults: lines, each with the numbers of the cells that have it.

    A fault of some cells only is preceded by the overrides that tell them from the others.
    """
    lines = []
    everywhere = set(all_overrides[0]).intersection(*all_overrides) if faults else set()
    for line, numbers in faults.items():
        cells = [all_overrides[number] for number in numbers]
        shared = set(cells[0]).intersection(*cells) - everywhere
        telling = shared if shared or len(cells) == len(all_overrides) else set(cells[0]) - everywhere
        typed = [as_typed(text).lstrip("+") for text in cells[0] if text in telling]
        lines.append(" ".join([*(each for each in typed if each not in line), line]))
    if len(lines) > PRINTED_FAULTS:
        lines[PRINTED_FAULTS:] = [f"and {len(lines) - PRINTED_FAULTS} more faults"]
    if lines:
        raise ConfigError(*lines)


def lacking_options(cells: Sequence[Sequence[str]]) -> list[str]:
    """A line per option that not all blocks of a sweep over blocks have; ``cells`` are the overrides of each cell."""
    blocks = list(dict.fromkeys(block for cell in cells if (block := chosen_block(cell))))
    if len(blocks) < 2:
        return []
    files = block_files()
    options = dict.fromkeys(text for cell in cells for text in cell if re.match(r"block\.\w+=.", text))
    lines = []
    for override in options:
        option = override.partition("=")[0].removeprefix("block.")
        without = [block for block in blocks if block in files and option not in files[block]]
        having = [block for block in blocks if block not in without]
        if without and any(option in names for names in files.values()):
            have = "has" if len(without) == 1 else "have"
            cure = f"sweep over those that have it, block={','.join(having)}" if having else "leave it out"
            lines.append(f"{override}: {', '.join(without)} {have} no such option; {cure}")
    return lines
