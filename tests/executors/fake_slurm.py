"""Programs that answer as sbatch, squeue, scontrol and sinfo do, from a JSON file that tests read and change."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PROGRAM = r"""#!{python} -S
import fcntl, json, re, sys
STATE = {state!r}
with open(STATE, "r+") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    state = json.load(file)
    name, arguments, out, code = sys.argv[0].rsplit("/", 1)[1], sys.argv[1:], "", 0
    options = dict(a[2:].partition("=")[::2] for a in arguments if a.startswith("--"))
    state["calls"].append([name, *arguments])
    refusal = next((text for key, text in state["refuse"].items() if key in " ".join([name, *arguments])), None)
    if refusal:
        print(refusal, file=sys.stderr)
        code = 1
    elif name == "sbatch" and "test-only" not in options:
        array = state["next"]
        spec = re.fullmatch(r"0-(\d+)%\d+", options.get("array", ""))
        count = int(spec[1]) + 1 if spec else 1
        state["next"] = array + count
        for index in range(count):
            job = dict(array=array, index=index, number=array + index, name=options["job-name"])
            state["jobs"].append(dict(job, state="PENDING", reason="Priority"))
        out = str(array)
    elif name == "squeue":
        wanted = options.get("jobs")
        for job in state["jobs"]:
            i = "%d_%d" % (job["array"], job["index"])
            parts = dict(i=i, A=job["number"], F=job["array"], K=job["index"], T=job["state"], r=job["reason"])
            parts["j"] = job["name"]
            if wanted in (None, str(job["number"])):
                out += re.sub("%(.)", lambda found: str(parts[found[1]]), options["format"]) + "\n"
    elif name == "sinfo":
        out = state["nodes"]
    elif arguments[:2] == ["show", "config"]:
        out = "MaxArraySize            = %d\n" % state["max_array_size"]
    elif "partition" in arguments:
        asked = arguments[arguments.index("partition") + 1:]
        out = "\n".join(line for line in state["partitions"] if not asked or "Name=" + asked[0] + " " in line)
        if not out:
            out, code = "Partition %s not found" % asked[0], 1
    elif arguments[:2] == ["show", "job"]:
        out = state["job"]
    file.seek(0)
    file.truncate()
    json.dump(state, file)
print(out)
sys.exit(code)
"""
START = {
    "next": 100,
    "jobs": [],
    "calls": [],
    "refuse": {},
    "nodes": "idle\nmixed\n",
    "max_array_size": 1001,
    "partitions": [
        "PartitionName=gpu Default=YES MaxTime=1-00:00:00 State=UP",
        "PartitionName=long Default=NO MaxTime=UNLIMITED State=UP",
        "PartitionName=short Default=NO MaxTime=00:30:00 State=UP",
    ],
    "job": "JobId=100 JobState=RUNNING Reason=None\n   PreemptEligibleTime=Unknown PreemptTime=None\n",
}


class FakeSlurm:
    """A cluster whose jobs do nothing: tests set their states."""

    def __init__(self, folder: Path) -> None:
        self.bin, self._state = folder / "bin", folder / "state.json"
        self.bin.mkdir(parents=True)
        self._state.write_text(json.dumps(START))
        for name in ("sbatch", "squeue", "scontrol", "sinfo"):
            program = self.bin / name
            program.write_text(PROGRAM.replace("{python}", sys.executable).replace("{state!r}", repr(str(self._state))))
            program.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        value = json.loads(self._state.read_text())
        assert isinstance(value, dict)
        return value

    def set(self, **values: Any) -> None:
        self._state.write_text(json.dumps({**self.state, **values}))

    def jobs(self, state: str, *indices: int, reason: str = "None") -> None:
        """Set the state of the jobs of these places in the queue, of all if none is given."""
        jobs = self.state["jobs"]
        for place in indices or range(len(jobs)):
            jobs[place] |= {"state": state, "reason": reason}
        self.set(jobs=jobs)

    def forget(self) -> None:
        self.set(jobs=[])

    def calls(self, program: str) -> list[list[str]]:
        return [arguments for name, *arguments in self.state["calls"] if name == program]

    def submitted(self) -> list[dict[str, str]]:
        """The options of each array submitted, by name."""
        calls = [call for call in self.calls("sbatch") if "--test-only" not in call]
        return [dict(option[2:].partition("=")[::2] for option in call if option.startswith("--")) for call in calls]

    def on_path(self) -> str:
        return os.pathsep.join([str(self.bin), os.environ["PATH"]])
