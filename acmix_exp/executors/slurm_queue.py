"""The queue of Slurm, through its own commands: sbatch, squeue and scontrol. Accounting (sacct) is not needed.

The jobs of an experiment are found by their names. A job's name ends in the name of a list of runs, which is a file in
the folder ``.slurm`` of the experiment; the index of a job in its array is that of its run in the list. A list is named
by its content, so that it says the same as long as any job needs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acmix_exp import files
from acmix_exp.errors import ConfigError

FOLDER = ".slurm"  # in the experiment's folder: lists, scripts and logs
SECONDS = 90.0  # a busy controller may take that long to answer
FIELDS = "%i|%A|%F|%K|%T|%r|%j"
FORGOTTEN = "FORGOTTEN"  # a job that squeue showed, and shows no more
# A job in any other state is waiting or at work, or will be.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT", FORGOTTEN}


class SlurmError(Exception):
    """One of Slurm's commands is missing, failed or did not answer. The text is its own words, in one line."""


@dataclass(frozen=True)
class Job:
    """One job of an array, as squeue shows it.

    id: ``ARRAY_INDEX``. array: number of its array. state: Slurm's word, such as PENDING. reason: why it is not
    running, such as Priority. number: its own SLURM_JOB_ID.
    """

    id: str
    array: int
    state: str
    reason: str
    index: int = 0
    number: str = ""

    @property
    def alive(self) -> bool:
        """Whether it is waiting or at work, or will be."""
        return self.state not in ENDED

    def __str__(self) -> str:
        return f"{self.id} {self.state}" + (f" ({self.reason})" if self.waits else "")

    @property
    def waits(self) -> bool:
        return self.state == "PENDING" and self.reason not in ("", "None")


def call(program: str, *arguments: str) -> str:
    """What one of Slurm's programs prints. Raises SlurmError.

    SQUEUE_* variables, a user's own defaults of what to show, are left out; those of sbatch apply.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", timeout=SECONDS, env=environment
        )
    except OSError as error:
        raise SlurmError(f"{program}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{program}: no answer within {SECONDS:.0f} seconds") from None
    if done.returncode:
        raise SlurmError(words(program, done.stderr or done.stdout) or f"{program} exited with {done.returncode}")
    return done.stdout


def words(program: str, text: str) -> str:
    """What a program of Slurm printed to stderr, in one line and without its name, levels and repeats."""
    lines = [
        re.sub(rf"^({program}: )?((error|fatal|allocation failure): )?", "", line.strip()) for line in text.splitlines()
    ]
    return "; ".join(dict.fromkeys(line for line in lines if line))


def queue(folder: Path) -> dict[str, Job]:
    """The job of each run of an experiment, by the run's name; of several the one alive, else the last.

    Jobs that have ended are included for the minutes in which Slurm remembers them. Raises SlurmError.
    """
    user = f"--user={os.getuid()}"
    lines = call("squeue", "--noheader", "--array", "--states=all", user, f"--format={FIELDS}").splitlines()
    jobs: dict[str, Job] = {}
    lists: dict[str, list[str]] = {}
    for line in lines:
        parts = line.strip().split("|", 6)
        if len(parts) < 7 or not parts[2].isdigit():
            continue
        identifier, number, array, index, state, reason, name = parts
        job = Job(identifier, int(array), state, reason, int(index) if index.isdigit() else 0, number)
        content = name.rpartition(".")[2]
        if content not in lists:
            lists[content] = read_list(folder, content)
        if job.index >= len(lists[content]):
            continue
        run = lists[content][job.index]
        known = jobs.get(run)
        if known is None or (job.alive, job.array) > (known.alive, known.array):
            jobs[run] = job
    return jobs


def write_list(folder: Path, runs: Sequence[str]) -> str:
    """Write the list of runs of one array; returns its name, a hash of its content. Raises OSError."""
    place = os.path.abspath(folder)
    content = hashlib.sha256(json.dumps([place, *runs]).encode()).hexdigest()[:12]
    path = list_path(folder, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"folder": place, "runs": list(runs)})
    return content


def read_list(folder: Path, content: str) -> list[str]:
    """The runs of a list; none if it is not one of this folder, or of a folder that this one was copied from."""
    if not re.fullmatch(r"[0-9a-f]{12}", content):
        return []
    value = files.read_json(list_path(folder, content)) or {}
    try:
        same = os.path.samefile(str(value.get("folder")), folder)
    except OSError:
        return []
    return [str(name) for name in value.get("runs", [])] if same else []


def list_path(folder: Path, content: str) -> Path:
    return folder / FOLDER / f"{content}.json"


def log_path(folder: Path, job: Job) -> Path:
    return folder / FOLDER / f"{job.array}_{job.index}.log"


def last_line(path: Path) -> str | None:
    """The last line of a log that is not empty; None if there is no log, or nothing in it."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    except OSError:
        return None
    return next((line for line in reversed(lines) if line), None)


def array_size() -> int:
    """How many jobs one array may have; 0 if the cluster allows none. Raises SlurmError."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return int(found[1]) if found else 1001


def time_limit(partition: str | None) -> tuple[str, int | None]:
    """A partition, of several the one with the longest time limit, and that limit in minutes; None if it has none.

    partition: None for the one that sbatch would take. Raises SlurmError, for an unknown partition with Slurm's words.
    """
    partition = partition or os.environ.get("SBATCH_PARTITION")
    known = [
        dict(re.findall(r"(\w+)=(\S+)", line))
        for name in (partition or "").split(",")
        for line in call("scontrol", "--oneliner", "--all", "show", "partition", *filter(None, [name])).splitlines()
    ]
    limits = {
        facts.get("PartitionName", "?"): _minutes(facts.get("MaxTime", ""))
        for facts in known
        if partition or facts.get("Default") == "YES"
    }
    return max(limits.items(), key=lambda item: float("inf") if item[1] is None else item[1], default=("default", None))


def _minutes(text: str) -> int | None:
    """``1-02:03:00`` as minutes; None for UNLIMITED."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):\d+", text)
    return None if found is None else (int(found[1] or 0) * 24 + int(found[2])) * 60 + int(found[3])


def missing_nodes(partition: str) -> bool:
    """Whether a node of a partition is down or drained, for which a job could wait. Raises SlurmError."""
    states = call("sinfo", "--noheader", "--format=%T", f"--partition={partition}").split()
    return any(not state.startswith(("idle", "alloc", "mix", "comp")) or "*" in state for state in states)


def submit(options: Sequence[str], script: Path) -> int:
    """Submit a job script; returns the number of the job. Raises ConfigError with Slurm's words."""
    try:
        answer = call("sbatch", "--parsable", *options, str(script))
        return int(answer.split(";")[0].split()[-1])
    except (SlurmError, ValueError, IndexError) as error:
        text = str(error) if isinstance(error, SlurmError) else "did not answer with the number of a job"
        raise ConfigError(f"hardware=slurm: sbatch refuses: {text}") from None
