"""Checks of ``hardware.slurm`` and ``hardware.ray`` that need no cluster.

What only a cluster knows is refused by sbatch, or by executors/ray.py when it connects.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Collection, Iterator
from importlib.util import find_spec

from acmix_exp.config import Config, RayConfig, SlurmConfig

ADDRESS = re.compile(r"(ray://)?[\w.\[\]:-]+:\d+")
WORD = re.compile(r"\S+")
LARGEST_SIGNAL = 65535  # seconds, of sbatch --signal
# Options of sbatch that are keys of the config, or that the jobs rest on.
OWNED = {
    "--partition -p": "set by hardware.slurm.partition",
    "--account -A": "set by hardware.slurm.account",
    "--qos -q": "set by hardware.slurm.qos",
    "--constraint -C": "set by hardware.slurm.constraint",
    "--time -t": "set by hardware.slurm.time_min, in minutes",
    "--cpus-per-task -c": "set by hardware.slurm.cpus",
    "--mem": "set by hardware.slurm.mem_gb",
    "--signal": "set by hardware.slurm.signal_s",
    "--array -a --nodes -N --ntasks -n --output -o --error -e --job-name -J --open-mode --chdir -D --wait -W --wrap "
    "--requeue --no-requeue --parsable --test-only": "set by acmix_exp itself, which finds its jobs by it",
}
OWNERS = {option: owner for options, owner in OWNED.items() for option in options.split()}


def faults(config: Config, explicit: Collection[str]) -> list[str]:
    """A line per fault of the executor and its keys. explicit: the keys that the user set."""
    executor, lines = config.hardware.executor, []
    for other in ("slurm", "ray"):
        keys = sorted(key for key in explicit if other != executor and key.startswith(f"hardware.{other}."))
        lines += [f"{key}: hardware.executor={executor} has no use for it; add hardware={other}" for key in keys]
    if executor == "local":
        return lines
    if config.task not in ("train", "plan"):
        return [f"hardware={executor}: task={config.task} runs on this machine; choose another hardware"]
    if executor == "ray":
        return [*lines, *_ray(config.hardware.ray, config.task)]
    lines += [*_values(config.hardware.slurm), *_extra(config.hardware.slurm.extra)]
    if config.task == "train" and not shutil.which("sbatch"):
        lines.append(
            "hardware=slurm: there is no sbatch here; run the command where Slurm's commands are, a login node"
        )
    return lines


def _ray(ray: RayConfig, task: str) -> Iterator[str]:
    if ray.address != "auto" and not ADDRESS.fullmatch(ray.address):
        yield f"hardware.ray.address={ray.address}: must be auto, or HOST:PORT such as 10.0.0.1:6379"
    if not 0 < ray.cpus < 1e6:
        yield f"hardware.ray.cpus={ray.cpus:g}: must be a number above 0"
    if ray.retries < 0:
        yield f"hardware.ray.retries={ray.retries}: must be a whole number from 0"
    spec = find_spec("ray")
    if task == "train" and (spec is None or spec.origin is None):  # a folder of that name has no origin
        yield "hardware=ray: Ray is not installed; pip install 'acmix_exp[ray]'"


def _values(slurm: SlurmConfig) -> Iterator[str]:
    whole = "a whole number from"
    tests = [
        ("time_min", slurm.time_min >= 1, f"{whole} 1, in minutes"),
        ("cpus", slurm.cpus is None or slurm.cpus >= 1, f"{whole} 1, or null"),
        ("mem_gb", slurm.mem_gb is None or 0 < slurm.mem_gb < 1e6, "a number above 0, or null"),
        (
            "signal_s",
            slurm.time_min < 1 or 0 <= slurm.signal_s <= min(LARGEST_SIGNAL, 60 * slurm.time_min - 1),
            f"from 0 to {min(LARGEST_SIGNAL, 60 * slurm.time_min - 1)}, less than the time limit",
        ),
        ("requeues", slurm.requeues >= 0, f"{whole} 0"),
        ("setup", not any("\n" in line for line in slurm.setup), "a list of shell lines"),
    ]
    for key in ("partition", "account", "qos", "constraint"):
        value = getattr(slurm, key)
        tests.append((key, value is None or bool(WORD.fullmatch(value)), "a name without spaces, or null"))
    for key, fine, right in tests:
        if not fine:
            yield f"hardware.slurm.{key}={getattr(slurm, key)}: must be {right}"


def _extra(options: list[str]) -> Iterator[str]:
    for option in options:
        setting = f"hardware.slurm.extra={option}"
        try:
            parts = shlex.split(option.removeprefix("#SBATCH"))
        except ValueError as error:
            yield f"{setting}: cannot be read ({error})"
            continue
        if not parts or not parts[0].startswith("-"):
            yield f"{setting}: must be an option of sbatch, such as --mail-type=END"
        for part in parts:
            name = part.partition("=")[0] if part.startswith("--") else part[:2]
            if part.startswith("-") and name in OWNERS:
                yield f"{setting}: {name} is {OWNERS[name]}"
