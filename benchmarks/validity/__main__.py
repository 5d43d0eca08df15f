"""``python -m benchmarks.validity``: run every simulation, check the bounds, and write the result and docs/validity.md.

python -m benchmarks.validity                     # all repeats: under ten minutes on two cores
python -m benchmarks.validity --share 0.05 --output /tmp/quick    # a twentieth of them; the page is left as it is
python -m benchmarks.validity --page              # the page anew from the committed result
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.validity.page import PAGE, RESULTS, latest, rewritten
from benchmarks.validity.scenarios import Scenario, scenarios

ERRORS = 2  # standard errors of the simulation


def simulate(scenario: Scenario, share: float) -> dict[str, Any]:
    """One scenario with a share of its repeats. Its random numbers depend on its words alone."""
    repeats = max(1, round(scenario.repeats * share))
    began = time.process_time()
    measures = scenario.run(repeats, zlib.crc32(f"{scenario.group}: {scenario.setting}".encode()))
    return {
        "group": scenario.group,
        "setting": scenario.setting,
        "repeats": repeats,
        "measures": {name: round(value, 5) for name, value in measures.items()},
        "bounds": {name: list(ends) for name, ends in scenario.bounds.items()},
        "cpu_s": round(time.process_time() - began, 1),
    }


def _of_number(number: int, share: float) -> dict[str, Any]:
    return simulate(scenarios()[number], share)


def missed(result: dict[str, Any], errors: float = ERRORS) -> list[str]:
    """What of a scenario's result is outside of its bounds by more than ``errors`` standard errors, in words."""
    lines = []
    for name, (low, high) in result["bounds"].items():
        value, slack = result["measures"][name], errors / result["repeats"] ** 0.5
        if not low - slack * spread(low) <= value <= high + slack * spread(high):
            lines.append(f"{result['setting']}: {name} {value:.3f}, must be from {low:.3g} to {high:.3g}")
    return lines


def spread(share: float) -> float:
    """The standard deviation of one trial."""
    return (share * (1 - share)) ** 0.5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.validity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the repeats; below 1 the page is left as it is")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="only write the page anew from the committed result")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(rewritten(latest()), encoding="utf-8")
        return 0
    from benchmarks import provenance  # imports torch

    facts = provenance.collect("cpu")
    facts["command"] = facts["command"].replace("benchmarks.__main__", "benchmarks.validity")
    began = time.perf_counter()
    with ProcessPoolExecutor(options.processes) as pool:
        tasks = [pool.submit(_of_number, number, options.share) for number in range(len(scenarios()))]
        results = []
        for task in tasks:
            results.append(task.result())
            print(f"{results[-1]['setting']}: {results[-1]['measures']}", flush=True)
    wall = round(time.perf_counter() - began, 1)
    content = {"provenance": facts, "share": options.share, "wall_s": wall, "results": results}
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"validity_cpu_{facts['date'][:10]}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.share == 1 and options.output == RESULTS:
        for other in RESULTS.glob("validity_cpu_*.json"):
            if other != path:
                other.unlink()
        PAGE.write_text(rewritten(path), encoding="utf-8")
    faults = [line for result in results for line in missed(result)]
    for line in faults:
        print(f"outside of its bounds: {line}")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
