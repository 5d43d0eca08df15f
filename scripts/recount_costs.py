"""Count the parameters and GFLOPs of finished runs anew, without training: the networks are built from their configs.

    python -m scripts.recount_costs runs/NAME

Only ``parameters*`` and ``gflops*`` change, in result.json and profile.json. provenance.json, and profile.json itself,
get ``costs_recounted``: the figures that were there and the versions and commit that counted. A run that cannot be
built again as it was trained is left as it is and named; the exit code is then 1. A second call changes nothing.

For a published result: unpack its archive, recount, publish again.

    tar -xf docs/results/FOLDER/runs.tar.xz -C runs
    python -m scripts.recount_costs runs/FOLDER
    python scripts/publish_results.py runs/FOLDER docs/results/FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from acmix_exp.config import Config, load
from acmix_exp.errors import one_line
from acmix_exp.files import read_json, write_json
from acmix_exp.run import fingerprints, provenance
from acmix_exp.run.directory import Run, runs_in

COUNTED = ("parameters", "gflops")  # how the keys begin that are counted and not measured


def recount(folder: Path) -> tuple[list[str], list[str]]:
    """Recount the finished runs of an experiment's folder and its profile.json.

    Returns lines on what was counted, and one line for each run that was left as it is.
    """
    networks: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    runs = [run for run in runs_in(folder) if run.is_done()]
    changed = 0
    for run in runs:
        try:
            costs = _counted(run, networks)
        except Exception as error:
            faults.append(f"{run.name}: left as it is: {one_line(error)}")
            continue
        result = read_json(run.path / "result.json") or {}
        rows[_row(result, costs)] = costs
        changed += _replace(run, result, costs)
    _recount_profile(folder / "profile.json", rows)
    return [f"{folder}: {len(runs)} finished runs, {len(networks)} networks, {changed} runs changed"], faults


def complexity_of(config: Config, classes: int) -> dict[str, Any]:
    """The counted costs of the network of a config, as a run of this version records them."""
    os.environ.setdefault("YOLO_VERBOSE", "false")
    from acmix_exp.yolo.run import prepare

    prepare(config.block.get("target"))
    from acmix_exp.profile import complexity
    from acmix_exp.yolo.model import build_model

    return complexity(build_model(config, classes).eval())[0]


def _counted(run: Run, networks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The costs of a run's network; ``networks``: those counted before. Raises ValueError if it is another network."""
    facts, config = run.provenance(), load(run.path / "config.yaml")
    if lines := fingerprints.code_changes(config, {"block": facts["identity"]["block"]}):
        raise ValueError(f"changed since: {'; '.join(lines)}")
    classes = len(facts["dataset"]["names"])
    network = json.dumps(
        [config.arm.insert, config.arm.match, config.block, str(config.model), classes], sort_keys=True
    )
    if network not in networks:
        networks[network] = complexity_of(config, classes)
    costs, recorded = networks[network], (run.result() or {})["cost"]["parameters"]
    if costs["parameters"] != recorded:
        raise ValueError(f"its config gives a network of {costs['parameters']} parameters, {recorded} were trained")
    return costs


def _replace(run: Run, result: dict[str, Any], costs: dict[str, Any]) -> bool:
    """Write the costs of a run, first its provenance; returns whether there was something to change."""
    before = _figures(result["cost"])
    if before == costs:
        return False
    path = run.path / "provenance.json"
    facts = read_json(path) or {}
    write_json(path, {**facts, "costs_recounted": _remark(facts, before)})
    write_json(run.path / "result.json", {**result, "cost": {**result["cost"], **costs}})
    return True


def _recount_profile(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    profile = read_json(path)
    if not profile:
        return
    before = [_figures(entry["cost"]) for entry in profile["rows"]]
    for entry in profile["rows"]:
        entry["cost"] |= rows.get(_row(entry, entry["cost"]), {})
    if before != [_figures(entry["cost"]) for entry in profile["rows"]]:
        write_json(path, {**profile, "costs_recounted": _remark(profile, before)})


def _remark(facts: dict[str, Any], before: Any) -> dict[str, Any]:
    """What stands under ``costs_recounted``; of several recounts the figures before the first are kept."""
    was = (facts.get("costs_recounted") or {}).get("was", before)
    return {"was": was, "versions": provenance.versions(), "git": provenance.commit()}


def _figures(cost: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cost.items() if key.startswith(COUNTED)}


def _row(entry: dict[str, Any], cost: dict[str, Any]) -> str:
    return json.dumps([entry["arm"], entry.get("swept") or {}, entry["imgsz"], cost["parameters"]], sort_keys=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="the experiment's folder: runs/NAME")
    folder = parser.parse_args().folder
    if not runs_in(folder):
        parser.error(f"{folder} holds no run; it must be an experiment's folder such as runs/demo")
    lines, faults = recount(folder)
    print("\n".join([*faults, *lines]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
