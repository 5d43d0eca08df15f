"""What sbatch is given for an array of runs: its options, and the script that starts a run on a node."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from acmix_exp.config import HardwareConfig
from acmix_exp.executors.job import variables
from acmix_exp.executors.slurm_queue import FOLDER
from acmix_exp.yolo.arguments import rank_count

AUTO_WORKERS = 4  # loader workers of hardware.workers=auto for each GPU, unless hardware.slurm.cpus gives it more cores
GPU_OPTIONS = ("--gres", "--gpus", "-G")


def options(hardware: HardwareConfig, folder: Path, name: str, runs: int) -> list[str]:
    """The options of sbatch for an array of ``runs`` jobs; ``runs`` 0: a single job, where there are no arrays.

    They are given to sbatch itself, for there they precede the user's SBATCH_* variables, and lines of a script do not.
    """
    slurm, log = hardware.slurm, "%A_%a" if runs else "%j_0"
    place = os.path.abspath(folder).replace("%", "%%")
    wanted = {
        "job-name": name,
        "array": f"0-{runs - 1}%{hardware.runs_at_once}" if runs else None,
        "output": f"{place}/{FOLDER}/{log}.log",
        "open-mode": "append",
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "constraint": slurm.constraint,
        "nodes": 1,
        "ntasks": 1,
        "time": slurm.time_min,
        "cpus-per-task": cpus(hardware),
        "mem": None if slurm.mem_gb is None else f"{slurm.mem_gb * 1024:.0f}M",
        # To the batch script alone, which is the process that supervises the run.
        "signal": f"B:USR1@{slurm.signal_s}" if slurm.signal_s else None,
    }
    extra = [option.removeprefix("#SBATCH").strip() for option in slurm.extra]
    if hardware.device != "cpu" and not any(option.startswith(GPU_OPTIONS) for option in extra):
        wanted["gres"] = f"gpu:{rank_count(hardware)}"
    lines = [f"--{key}={value}" for key, value in wanted.items() if value is not None]
    return [*lines, "--requeue", *(part for option in extra for part in shlex.split(option))]


def cpus(hardware: HardwareConfig) -> int:
    """Cores of one run."""
    if hardware.slurm.cpus is not None:
        return hardware.slurm.cpus
    auto = 1 if hardware.device == "cpu" else AUTO_WORKERS
    workers = auto if hardware.workers == "auto" else int(hardware.workers)
    return (workers + hardware.threads) * rank_count(hardware)


def script(hardware: HardwareConfig, runs: Path) -> str:
    """The job script. runs: the list of the array's runs.

    It ends at the first line that fails, and is replaced by the process that supervises the run.
    """
    arguments = [sys.executable, "-m", "acmix_exp.executors.slurm_job", os.path.abspath(runs)]
    lines = [
        "#!/bin/bash",
        "# Written by acmix_exp for hardware=slurm: one job of the array is one run.",
        "set -e",
        f"cd {shlex.quote(os.getcwd())}",
        *(f"export {key}={shlex.quote(value)}" for key, value in variables().items()),
        *hardware.slurm.setup,
        f'exec {shlex.join(arguments)} "${{SLURM_ARRAY_TASK_ID:-0}}" {hardware.slurm.requeues}',
    ]
    return "\n".join(lines) + "\n"
