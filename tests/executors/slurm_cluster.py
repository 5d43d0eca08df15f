"""A real Slurm of two nodes on this machine, for tests: its own munge, no accounting, no cgroups, no systemd.

Nodes of one machine differ only in name and port. A device file stands for a GPU, of which each node has two: its
number becomes CUDA_VISIBLE_DEVICES, though there is no CUDA. A requeued job is held for ``cred_expire``, here 10 s.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo")
SECONDS = 30.0

CONFIG = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
ReturnToService=1
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
KillWait=10
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MaxArraySize=4
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={n1} CPUs=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={n2} CPUs=1 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=low Nodes=n[1-2] Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=high Nodes=n[1-2] MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""
GPUS = "NodeName=n[1-2] Name=gpu File=/dev/null\nNodeName=n[1-2] Name=gpu File=/dev/zero\n"


def missing() -> str | None:
    """Why no cluster can be started here; None if one can."""
    found = [name for name in (*DAEMONS, *COMMANDS) if not shutil.which(name, path=_path())]
    if found:
        return f"Slurm is not installed ({', '.join(found)})"
    return None if os.getuid() == 0 else "slurmd starts jobs as root only"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster and yield the variables that its commands need. Raises RuntimeError if it does not come up."""
    for name in ("munge", "state", "spool-n1", "spool-n2"):
        (folder / name).mkdir(parents=True)
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o600)
    (folder / "gres.conf").write_text(GPUS)
    controller, n1, n2 = _free_ports(3)
    host, user = socket.gethostname().partition(".")[0], "root"
    facts = {"folder": folder, "controller": controller, "n1": n1, "n2": n2, "host": host, "user": user}
    (folder / "slurm.conf").write_text(CONFIG.format(**facts))
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
    try:
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        munge = [f"--{option}={folder / 'munge' / name}" for option, name in files.items()]
        _call(variables, "munged", "--force", *munge)
        _call(variables, "slurmctld", "-c")
        for node in ("n1", "n2"):
            _call(variables, "slurmd", "-N", node)
        until = time.monotonic() + SECONDS
        while _call(variables, "sinfo", "--noheader", "--states=idle", "--format=%D").strip() != "2":
            if time.monotonic() > until:
                raise RuntimeError((folder / "slurmctld.log").read_text())
            time.sleep(0.2)
        yield variables
    finally:
        with suppress(RuntimeError):
            _call(variables, "scancel", f"--user={os.getuid()}")
            time.sleep(1)
        for pid in (*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "munge" / "pid"):
            with suppress(OSError, ValueError):
                _end(int(pid.read_text()))


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _call(variables: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
