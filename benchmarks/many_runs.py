"""What a sweep of many runs costs beside the training: planning, preparing, watching, summaries and the report.

    python -m benchmarks.many_runs --runs 500 1000 2000 10000 --output many.json

Run directories are prepared by the package itself and then filled with the files of finished runs, copies of
docs/results/bccd_full (pictures included) with other results. Each step is measured in a process of its own: CPU
seconds of its own part, and the peak of the process's memory.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from acmix_exp.files import read_json, write_json

ARMS = ("baseline", "conv", "attention", "mixed")
SEEDS = 8  # of the shape ``grid``
CHANGED = 4  # runs that end an epoch between two looks
TEMPLATES = Path(__file__).parent.parent / "docs" / "results" / "bccd_full" / "runs.tar.xz"


def arguments(folder: Path, runs: int, shape: str) -> list[str]:
    """A command line of ``runs`` runs. seeds: four arms, many seeds. grid: four arms, eight seeds, many rates."""
    if shape == "seeds":
        axes = [f"seed=range(0,{runs // len(ARMS)})"]
    else:
        rates = [f"{0.001 + 0.00001 * number:.5f}" for number in range(runs // len(ARMS) // SEEDS)]
        axes = [f"seed=range(0,{SEEDS})", f"train.lr0={','.join(rates)}"]
    fixed = ["dataset=shapes", "hardware=cpu", "logger=disabled", "train.epochs=60", "name=many"]
    return ["-m", f"arm={','.join(ARMS)}", *axes, *fixed, f"runs_dir={folder}"]


class Steps:
    """The steps, each called in a process of its own; ``measure`` takes what a step does beside its preparation."""

    def __init__(self, folder: Path, runs: int, shape: str, finished: float) -> None:
        self.folder, self.runs, self.shape, self.finished = folder, runs, shape, finished
        self.measured: dict[str, dict[str, float]] = {}

    def measure(self, name: str, step: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        value = step()
        self.measured[name] = {
            "cpu_s": round(time.process_time() - cpu, 4),
            "wall_s": round(time.perf_counter() - wall, 4),
            "rss_mb": _peak_mb(),
        }
        return value

    def _plan(self) -> Any:
        from acmix_exp.sweep import planning
        from acmix_exp.sweep.compose import compose_cells

        return planning.build(compose_cells(arguments(self.folder, self.runs, self.shape)))

    def prepare(self) -> None:
        """Composing, planning, and the run directories with three files each."""
        from acmix_exp.sweep.planning import prepare

        plan = self.measure("compose and plan", self._plan)
        self.measure("prepare", lambda: prepare(plan))

    def fill(self) -> None:
        fill(self.folder, self.finished, templates(self.folder.parent / "templates"))

    def watch(self) -> None:
        """What the same command does again before the first run starts; then looks at the runs while they train."""
        from acmix_exp import executors
        from acmix_exp.sweep.live_view import View
        from acmix_exp.sweep.planning import prepare

        started = time.perf_counter(), time.process_time()
        plan = self._plan()
        self.measure("prepare again", lambda: prepare(plan))
        self.measure("create executor", lambda: executors.create(plan.runs, plan.cells[0].config.hardware))
        view = View(plan, plan.runs_at_once)
        self.measure("first look", view._survey.rows)
        self.measured["attach"] = {
            "cpu_s": round(time.process_time() - started[1], 4),
            "wall_s": round(time.perf_counter() - started[0], 4),
        }
        self.measure("look, nothing changed", view._survey.rows)
        rows = view._survey.rows()
        self.measure("draw", lambda: list(view.console.render(view._table(rows))))
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            view.console.file = nowhere
            self.measure("first lines", lambda: view._print_changes(rows))
            self.measure("lines, nothing changed", lambda: view._print_changes(rows))
        for run in plan.runs[:CHANGED]:
            run.set_status(resumed=False)
        self.measure("look, four changed", view._survey.rows)

    def summary(self) -> None:
        """The tables, for the first time in a process, and again after four runs more have ended."""
        from acmix_exp.report.write import write_summary
        from acmix_exp.run.directory import runs_in

        folder = self.folder / "many"
        self.measure("summary", lambda: write_summary(folder))
        for run in runs_in(folder)[:CHANGED]:
            run.set_status(resumed=False)
        self.measure("summary again", lambda: write_summary(folder))


def _peak_mb() -> int:
    """Of this process since it was executed; what getrusage tells holds the memory of the parent that forked it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024)


def commands(folder: Path, runs: int, shape: str) -> Iterator[tuple[str, list[str]]]:
    """Whole commands that are measured from outside, as one types them."""
    yield "task=plan", [*arguments(folder, runs, shape), "task=plan"]
    yield "task=report", ["task=report", "name=many", f"runs_dir={folder}"]


def command_cost(words: list[str]) -> dict[str, float]:
    """A command's costs, with those of its child processes."""
    wall = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "acmix_exp", *words], stdout=subprocess.DEVNULL)
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    return {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
        "rss_mb": round(usage.ru_maxrss / 1024),
        "exit": process.returncode,
    }


def templates(folder: Path) -> dict[str, list[Path]]:
    """Unpacked finished runs by arm; ``train.epochs`` of them is 60."""
    with tarfile.open(TEMPLATES) as archive:
        archive.extractall(folder, filter="data")
    found: dict[str, list[Path]] = {}
    for status in sorted(folder.glob("*/*/status.json")):
        found.setdefault(status.parent.name.rsplit("-s", 1)[0], []).append(status.parent)
    return found


def fill(folder: Path, finished: float, by_arm: dict[str, list[Path]]) -> None:
    """Give the prepared runs the files of finished ones; all but ``finished`` of them stay pending."""
    from acmix_exp.run.directory import runs_in
    from acmix_exp.run.replicates import replicates

    made: set[Path] = set()
    for number, run in enumerate(runs_in(folder / "many")):
        status, provenance = run.status() or {}, run.provenance()
        if number % 100 >= 100 * finished:
            continue
        template = by_arm[status["arm"]][status["seed"] % len(by_arm[status["arm"]])]
        identity = provenance["identity"]
        if template not in made:  # runs make them when they train
            replicates(template, identity["data"], (read_json(template / "result.json") or {})["metrics"]["split"])
            made.add(template)
        for name in ("history.csv", "outcomes.npz", "replicates.npz"):
            os.link(template / name, run.path / name)
        if (template / "images").is_dir() and status["seed"] == 0:
            shutil.copytree(template / "images", run.path / "images")
        old = read_json(template / "provenance.json") or {}
        (run.path / "provenance.json").write_text(json.dumps({**old, **provenance, "identity": identity}))
        result = read_json(template / "result.json") or {}
        noise = random.Random(number).gauss(0, 0.01)
        result["metrics"]["map50_95"] += noise
        result |= {"seed": status["seed"], "arm": status["arm"], "swept": status["swept"]}
        (run.path / "result.json").write_text(json.dumps(result))
        changes = {"status": "done", "attempt": 1, "started": 1.0 + number, "diverged": 0}
        (run.path / "status.json").write_text(json.dumps({**status, **changes}))


def measure(runs: int, shape: str, finished: float) -> Iterator[dict[str, dict[str, float]]]:
    """The costs of all steps with ``runs`` runs, some at a time."""
    with tempfile.TemporaryDirectory(prefix="many-runs-") as scratch:
        folder = Path(scratch) / "runs"
        for step in ("prepare", "fill", "watch", "summary"):
            yield _in_process(step, folder, runs, shape, finished)
        for name, words in commands(folder, runs, shape):
            yield {name: command_cost(words)}


def _in_process(step: str, folder: Path, runs: int, shape: str, finished: float) -> dict[str, Any]:
    answer = folder.parent / "answer.json"
    words = ["--runs", str(runs), "--shape", shape, "--finished", str(finished), "--step", step]
    words += ["--folder", str(folder), "--output", str(answer)]
    subprocess.run([sys.executable, "-m", "benchmarks.many_runs", *words], check=True, stdout=subprocess.DEVNULL)
    return read_json(answer) or {}


SHAPES = {"seeds": "four arms, many seeds", "grid": "four arms, eight seeds, many values of a key"}
WORDS = {
    "compose and plan": "compose the cells and plan the runs",
    "prepare": "make the run directories",
    "prepare again": "the same again, finished runs included",
    "first look": "first look of the live view",
    "attach": "**the same command again, to the first look**",
    "look, nothing changed": "a later look, nothing changed",
    "look, four changed": "a later look, four runs changed",
    "draw": "drawing",
    "summary": "summary files, first time",
    "summary again": "summary files again, four runs changed",
    "task=plan": "`task=plan`, the whole command",
    "task=report": "**`task=report`, the whole command**",
}


def tables(results: list[dict[str, Any]]) -> str:
    """Markdown: for each shape CPU seconds, and megabytes at the peak, by step and number of runs."""
    lines = []
    for shape, meaning in SHAPES.items():
        of_shape = {entry["runs"]: entry["steps"] for entry in results if entry["shape"] == shape}
        if not of_shape:
            continue
        lines += ["", f"| {meaning} | {' | '.join(f'{runs:,d}' for runs in of_shape)} |"]
        lines.append("| --- |" + " ---: |" * len(of_shape))
        for step, words in WORDS.items():
            costs = [steps.get(step) for steps in of_shape.values()]
            lines.append(f"| {words} | {' | '.join(map(_cost, costs))} |")
    return "\n".join(lines[1:]) + "\n"


def _cost(cost: dict[str, float] | None) -> str:
    if cost is None:
        return ""
    seconds = f"{cost['cpu_s']:.0f} s" if cost["cpu_s"] >= 10 else f"{cost['cpu_s']:.2g} s"
    return f"{seconds}, {cost['rss_mb']:.0f} MB" if "rss_mb" in cost else seconds


def _provenance() -> dict[str, Any]:
    """Collected in a child: it imports torch, whose memory would count as that of every process started here."""
    code = "import json, sys; from benchmarks.provenance import collect; print(json.dumps(collect('cpu')))"
    words = [sys.executable, "-c", code, *sys.argv[1:]]
    facts: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {**facts, "command": facts["command"].replace("benchmarks.-c", "benchmarks.many_runs")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[500, 1000, 2000, 10000])
    parser.add_argument("--shape", nargs="+", choices=("seeds", "grid"), default=["seeds", "grid"])
    parser.add_argument("--finished", type=float, default=0.95, help="share of the runs that have finished")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        steps = Steps(options.folder, options.runs[0], options.shape[0], options.finished)
        getattr(steps, options.step)()
        write_json(options.output, steps.measured)
        return
    content: dict[str, Any] = {"provenance": _provenance(), "finished": options.finished, "results": []}
    for shape in options.shape:
        for runs in options.runs:
            steps: dict[str, dict[str, float]] = {}
            content["results"].append({"shape": shape, "runs": runs, "steps": steps})
            print(shape, runs, flush=True)
            for costs in measure(runs, shape, options.finished):
                steps |= costs
                write_json(options.output, content)
                for name, cost in costs.items():
                    words = "  ".join(f"{key} {value:>9}" for key, value in cost.items())
                    print(f"  {name:<28}{words}", flush=True)
    print(tables(content["results"]))


if __name__ == "__main__":
    main()
