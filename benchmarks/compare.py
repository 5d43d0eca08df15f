"""The loop of every comparison: verify, time, measure memory, write the page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks import measure, memory, page, provenance
from benchmarks.peers import Unavailable
from benchmarks.quiet import Watch
from benchmarks.shapes import SETS, Problem
from benchmarks.targets import assess
from benchmarks.verify import Contender, Tensors, Verified, WrongResult, verify

RESULTS = Path(__file__).parent / "results"

QUIET = 0.1  # cores that other processes may use during a measurement
DISTURBED = "**Disturbed**: others took up to {:.2f} cores of the machine while this was timed. Not to be relied on."


@dataclass(frozen=True)
class Theme:
    """A comparison: the names of the contenders, how each is built, and the expected results in float64.

    ``prove`` verifies a contender by its name, if comparing it with ``reference`` is not enough.
    """

    name: str
    title: str
    baseline: str
    ours: str
    names: Callable[[str, bool], list[str]]
    build: Callable[[str, Any], Contender]
    reference: Callable[[Any], Tensors] | None = None
    prove: Callable[[str, Any], Verified] | None = None
    traffic: Callable[[Any], dict[str, float]] | None = None
    sets: Mapping[str, Callable[[], Sequence[Problem]]] = field(default_factory=lambda: SETS)
    steps: tuple[str, ...] = measure.STEPS
    counts_images: bool = False  # whether the page shows images per second


def run(
    theme: Theme,
    cases: Sequence[Problem],
    *,
    compiled: bool,
    seconds: float,
    say: Callable[[str], None],
    keep: Callable[[dict[str, Any]], object] = lambda _: None,
) -> dict[str, Any]:
    """The results of all cases, which are on one device, as plain data.

    ``keep`` is called with the results after each case, so that an interrupted run keeps the finished ones.
    """
    device = cases[0].device
    results: dict[str, Any] = {
        "theme": theme.name,
        "title": theme.title,
        "baseline": theme.baseline,
        "ours": theme.ours,
    }
    results |= {"steps": list(theme.steps), "counts_images": theme.counts_images}
    results["provenance"] = provenance.collect(device)
    results["copy_gb_s"] = measure.copy_bandwidth(device)
    results["cases"] = []
    for case in cases:
        say(case.label)
        results["cases"].append(_case(theme, case, compiled, seconds, results["copy_gb_s"]))
        results["provenance"]["load_average_after"] = list(os.getloadavg())
        results["targets"] = assess(results)
        taken = max((case["cores_of_others"] or 0.0 for case in results["cases"]), default=0.0)
        results["notes"] = [DISTURBED.format(taken)] if taken > QUIET and device == "cpu" else []
        keep(results)
    return results


def _case(theme: Theme, case: Problem, compiled: bool, seconds: float, copy_gb_s: float) -> dict[str, Any]:
    verified, refused = _verify(theme, case, compiled)
    rows: dict[str, dict[str, Any]] = {each.name: {"error": max(each.errors.values())} for each in verified}
    watch = Watch()
    for step in theme.steps:
        for each, timing in zip(verified, measure.timings(verified, step, case.device, seconds), strict=True):
            rows[each.name][step] = timing
    others = watch.others()
    for each in verified:
        rows[each.name]["memory_mb"] = _memory(theme, case, each)
    traffic = theme.traffic(case) if theme.traffic else None
    for row in rows.values():
        if theme.baseline in rows:
            row["ratios"] = _ratios(theme.steps, row, rows[theme.baseline])
        if traffic:
            row["roofline"] = {s: traffic[s] / row[s]["median_ms"] / copy_gb_s for s in theme.steps}
    return {
        "case": dict(vars(case)),
        "label": case.label,
        "rows": rows,
        "refused": refused,
        "traffic_mb": traffic,
        "cores_of_others": others,
    }


def _verify(theme: Theme, case: Problem, compiled: bool) -> tuple[list[Verified], dict[str, str]]:
    """The contenders to be timed, and why the others are not."""
    if compiled:
        torch._dynamo.reset()
    prove = theme.prove
    if prove is None:
        assert theme.reference is not None
        truth = theme.reference(case)

        def prove(name: str, case: Problem) -> Verified:
            return verify(theme.build(name, case), truth, case.output_gradient())

    verified, refused = [], {}
    for name in theme.names(case.device, compiled):
        try:
            verified.append(prove(name, case))
        except WrongResult as error:
            refused[name] = f"wrong result, {error}"
        except Unavailable as error:
            refused[name] = str(error)
        except torch.OutOfMemoryError:
            refused[name] = "out of memory"
        except Exception as error:  # a peer may fail in any way: that is a result too
            refused[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    return verified, refused


def _memory(theme: Theme, case: Problem, contender: Verified) -> dict[str, float] | None:
    if case.device == "cpu":
        return memory.cpu_peaks(partial(theme.build, contender.name), case)
    return {step: memory.cuda_peak(contender, step) for step in theme.steps}


def _ratios(steps: Sequence[str], row: dict[str, Any], baseline: dict[str, Any]) -> dict[str, float]:
    """Speed and memory relative to the baseline."""
    ratios = {f"{step}_speed": baseline[step]["median_ms"] / row[step]["median_ms"] for step in steps}
    if row["memory_mb"] and baseline["memory_mb"]:
        ratios |= {f"{s}_memory": row["memory_mb"][s] / baseline["memory_mb"][s] for s in steps}
    return ratios


def main(theme: Theme) -> int:
    """The command line of a theme; exit code 1 if a form of this package gave a wrong result."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{theme.name}", description=theme.title)
    parser.add_argument(
        "--set", choices=theme.sets, default="gpu" if "gpu" in theme.sets and torch.cuda.is_available() else "cpu"
    )
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="torch.compile too (default: on a GPU)"
    )
    parser.add_argument("--seconds", type=float, default=measure.SECONDS, help="per contender and step")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the page and its data")
    arguments = parser.parse_args()
    cases = theme.sets[arguments.set]()
    device = cases[0].device
    if device != "cpu" and not torch.cuda.is_available():
        parser.error(f"--set {arguments.set} needs CUDA; --set cpu does not")
    torch.backends.cudnn.allow_tf32 = False  # float32 without TF32 for every contender
    compiled = arguments.set == "gpu" if arguments.compile is None else arguments.compile
    console = Console()
    results = run(
        theme,
        cases,
        compiled=compiled,
        seconds=arguments.seconds,
        say=console.print,
        keep=partial(page.write, folder=arguments.output),
    )
    for table in page.tables(results):
        console.print(page.terminal(table))
    for note in results["notes"]:
        console.print(note, markup=False)
    for path in page.write(results, arguments.output):
        console.print(str(path), soft_wrap=True)
    wrong = [name for case in results["cases"] for name, why in case["refused"].items() if why.startswith("wrong")]
    return 1 if any(name.startswith("acmix_exp") for name in wrong) else 0
