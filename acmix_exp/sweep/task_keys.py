"""Which keys a task takes: an override that a task would not use is refused, so that none is dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from acmix_exp.sweep.literals import as_typed

# For every task. --config-dir, -m and hydra.* are no keys of the config.
ALWAYS = "task allow_foreign_ultralytics allow_unsafe_checkpoint"
# A key stands for itself and for those below it. What is not here is for task=train, plan, power and profile, which
# read one command: that of the training.
TAKEN = {
    "evaluate": "run split dataset train.imgsz train.batch hardware.device hardware.workers hardware.threads "
    "hardware.runs_at_once block.target",
    "judge": "a b name runs_dir dataset split train.imgsz train.batch report.margin hardware.device hardware.workers "
    "hardware.threads hardware.runs_at_once block.target model.task",
    "export": "run format export dataset train.imgsz hardware.device hardware.threads block.target",
    "repeat": "run dataset hardware.device block.target",
    "report": "name runs_dir report.reference report.margin report.pairs report.columns report.language logger "
    "experiment",
}
# Taken whatever the task: nothing is logged, and the block is that of block.target.
NO_EFFECT = ("logger=disabled", "logger.mode=disabled", "block=custom")
# A choice of hardware=OPTION is one of its device.
GROUPS = {"hardware": "hardware.device"}
OF_OTHER_TASKS = {
    "run": "task=evaluate, export and repeat",
    "a": "task=judge",
    "b": "task=judge",
    "split": "task=evaluate and judge",
    "format": "task=export",
    "sd": "task=power, plan and train",
    "plan.rows": "task=plan",
    "power": "task=power",
    "profile.seconds": "task=profile",
    "export": "task=export",
}
NOT_HERE = {
    ("evaluate", "hardware.precision"): "an evaluation is in float32",
    ("judge", "hardware.precision"): "an evaluation is in float32",
    ("judge", "run"): "it compares a=... with b=...",
    ("export", "hardware.precision"): "use export.quantize=16 or 8",
    (
        "export",
        "train.batch",
    ): "an export is traced with one image, and with export.dynamic=true takes any number where the format can",
    ("report", "run"): "a report is of a whole experiment, name=NAME runs_dir=DIR",
    ("report", "report.auto"): "it is for task=train",
    ("repeat", "train.imgsz"): "a repeat trains as the run did",
}


# What of Hydra's own config has an effect here: how the config is composed.
OF_HYDRA = r"[+~]*hydra\.(mode|searchpath|sweeper|launcher)\b"


def unused_of_hydra(overrides: Iterable[str]) -> list[str]:
    """A line per override of Hydra's own config that has no effect, such as ``hydra.run.dir``."""
    lines = []
    for override in overrides:
        if re.match(r"[+~]*hydra[./]", override) and not re.match(OF_HYDRA, override):
            cure = "use runs_dir=DIR name=NAME" if re.search(r"\.dir|\.subdir", override) else "leave it out"
            lines.append(f"{as_typed(override)}: acmix_exp does not use it; {cure}")
    return lines


def unused(task: str, given: Mapping[str, str]) -> list[str]:
    """A line per override that ``task`` does not use. given: the overrides of the command line, by key."""
    lines = []
    for key, text in given.items():
        override, name = as_typed(text).lstrip("+"), GROUPS.get(key, key)
        if task in TAKEN:
            taken = [*TAKEN[task].split(), *ALWAYS.split()]
            if override in NO_EFFECT or any(name == one or name.startswith((f"{one}.", f"{one}/")) for one in taken):
                continue
            reason = NOT_HERE.get((task, name)) or f"it takes {', '.join(TAKEN[task].split())}"
        else:
            owner = OF_OTHER_TASKS.get(key) or OF_OTHER_TASKS.get(key.split(".")[0])
            if owner is None or task in re.findall(r"\w+", owner):
                continue
            reason = f"it is for {owner}"
        lines.append(f"{override}: task={task} does not use it; {reason}")
    return lines
