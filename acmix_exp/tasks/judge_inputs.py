"""What ``a`` and ``b`` of task=judge name: runs, arms of folders, checkpoints or COCO files; and which go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from acmix_exp.errors import ConfigError
from acmix_exp.files import user_path
from acmix_exp.report.grouping import canonical
from acmix_exp.report.read_runs import read
from acmix_exp.report.records import Record
from acmix_exp.run.directory import FILES, runs_in
from acmix_exp.run.fingerprints import digest

RUN, CHECKPOINT, COCO = "run", "checkpoint", "COCO file"
RIGHT = (
    "must be a run directory, runs/NAME/ARM, a .pt file or a COCO file of predictions (.json), or a list of one kind"
)


@dataclass(frozen=True)
class Thing:
    """One run, checkpoint or file of predictions. ``setting``: what messages name it by. seed: of a run."""

    kind: str
    path: Path
    setting: str
    record: Record | None = None

    @property
    def given(self) -> str:
        return self.setting.partition("=")[2]

    @property
    def seed(self) -> int | None:
        return self.record.seed if self.record else None


@dataclass(frozen=True)
class Side:
    """What a or b stands for. diverged: seeds of an arm whose training diverged. notes: lines for people."""

    name: str
    things: list[Thing]
    diverged: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def kinds(self) -> set[str]:
        return {thing.kind for thing in self.things}

    @property
    def kind(self) -> str:
        return " or ".join(sorted(self.kinds))


def side(name: str, given: Sequence[str]) -> Side:
    """The side ``a`` or ``b``, of which the command gives these paths. Raises ConfigError."""
    if not given:
        raise ConfigError(f"{name}=[]: task=judge compares two things, a=... b=...; each {RIGHT}")
    parts = [_found(name, text) for text in given]
    things = [thing for part in parts for thing in part.things]
    contents: dict[str, Thing] = {}
    for thing in things:
        content = thing.path.resolve().as_posix() if thing.kind == RUN or len(things) == 1 else digest(thing.path)
        if content in contents:
            raise ConfigError(
                f"{contents[content].setting} {thing.setting}: are the same; must be of different trainings"
            )
        contents[content] = thing
    diverged = [seed for part in parts for seed in part.diverged]
    return Side(name, things, diverged, [note for part in parts for note in part.notes])


def paired(a: Side, b: Side) -> tuple[dict[int, Thing], dict[int, Thing]]:
    """The things of each side by seed: runs by their own, others by their place in the list.

    Raises ConfigError if the sides do not go together.
    """
    kinds = a.kinds | b.kinds
    if COCO in kinds and len(kinds) > 1:
        coco, other = (
            next(t for t in (*a.things, *b.things) if (t.kind == COCO) is wanted) for wanted in (True, False)
        )
        raise ConfigError(
            f"{coco.setting}: a COCO file goes with another one, and {other.setting} is a {other.kind}; write its "
            "predictions with yolo val model=FILE.pt data=DATA.yaml save_json=True"
        )
    if kinds == {RUN} and (len(a.things), len(b.things)) != (1, 1):
        sides = _by_seed(a), _by_seed(b)
        if not sides[0].keys() & sides[1].keys():
            seeds = [", ".join(map(str, sorted(each))) for each in sides]
            raise ConfigError(f"a has seeds {seeds[0]} and b has {seeds[1]}: must have seeds in common")
    else:
        if len(a.things) != len(b.things):
            raise ConfigError(
                f"a has {len(a.things)} and b has {len(b.things)}: must be as many, the first of a is compared with "
                "the first of b"
            )
        sides = dict(enumerate(a.things)), dict(enumerate(b.things))
    for seed in sides[0].keys() & sides[1].keys():
        first, second = sides[0][seed], sides[1][seed]
        if first.path.resolve() == second.path.resolve():
            raise ConfigError(f"{first.setting} {second.setting}: are the same; must be two different things")
    return sides


def _by_seed(one: Side) -> dict[int, Thing]:
    found: dict[int, Thing] = {}
    for thing in one.things:
        seed = thing.seed if thing.seed is not None else -1
        if seed in found:
            raise ConfigError(f"{one.name}: {found[seed].path} and {thing.path} are both of seed {seed}; must be one")
        found[seed] = thing
    return found


def _found(name: str, text: str) -> Side:
    path, setting = user_path(text), f"{name}={text}"
    if path.is_dir():
        if any((path / file).is_file() for file in FILES):
            return Side(name, [_run(path, setting)])
        raise ConfigError(f"{setting}: {_folder(path)}; {RIGHT}")
    if path.is_file():
        kinds = {".json": COCO, ".pt": CHECKPOINT}
        if path.suffix.lower() not in kinds:
            raise ConfigError(f"{setting}: is neither .pt nor .json; {RIGHT}")
        return Side(name, [Thing(kinds[path.suffix.lower()], path, setting)])
    if runs_in(path.parent):
        return _arm(name, path, setting)
    raise ConfigError(f"{setting}: no such file or folder; {RIGHT}")


def _run(path: Path, setting: str) -> Thing:
    record = next((record for record in read(path.parent) if record.run.path.name == path.name), None)
    if record is None or record.fault or record.result is None:
        why = record.fault if record and record.fault else f"status {record.state}" if record else "no run"
        raise ConfigError(f"{setting}: no finished run ({why}); must be one whose status is done")
    return Thing(RUN, path, setting, record)


def _folder(path: Path) -> str:
    if records := read(path):
        arms = ", ".join(dict.fromkeys(f"{path / record.arm}" for record in records))
        return f"a folder of runs; name one of its arms, {arms}"
    if (path / "best.pt").is_file():
        return f"a folder; name a file in it, such as {path / 'best.pt'}"
    return "a folder without runs"


def _arm(name: str, path: Path, setting: str) -> Side:
    """The runs of an arm of a folder, ``runs/NAME/ARM``. Raises ConfigError if they do not share their settings."""
    records = [record for record in read(path.parent) if not record.fault]
    mine = [record for record in records if path.name in (record.arm, *record.status.get("serves", []))]
    if not mine:
        arms = ", ".join(dict.fromkeys(record.arm for record in records)) or "none"
        raise ConfigError(f"{setting}: no such arm; those of {path.parent} are {arms}")
    done = [record for record in mine if record.result]
    if not done:
        raise ConfigError(f"{setting}: none of its {len(mine)} runs is finished")
    variants = {canonical({**record.identity, "seed": None}): record for record in (*mine, *done)}
    if len(variants) > 1:
        names = ", ".join(record.name for record in list(variants.values())[:3])
        raise ConfigError(
            f"{setting}: {len(variants)} settings are of this arm, as in {names}; name the runs, "
            f"'{name}=[{path.parent}/RUN,{path.parent}/RUN]'"
        )
    diverged = [record.seed for record in mine if record.diverged]
    unfinished = [str(record.seed) for record in mine if not record.result and not record.diverged]
    notes = [f"{setting}: seed {', '.join(unfinished)} is not finished and is left out"] if unfinished else []
    return Side(name, [Thing(RUN, record.run.path, setting, record) for record in done], diverged, notes)
