"""``task=repeat``: train a finished run again from its directory and compare the two."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from acmix_exp.child import Job, own_variables, require, run_child, unpickling
from acmix_exp.config import Config, from_plain
from acmix_exp.console import console, print_line, text_table
from acmix_exp.data import inspect, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.files import write_json
from acmix_exp.run import devices, provenance
from acmix_exp.run.directory import Run
from acmix_exp.run.supervise import DONE, Command, supervise
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.live_view import View
from acmix_exp.sweep.planning import Cell, Plan, prepare
from acmix_exp.sweep.run_key import identity, older_optimizer, sampling
from acmix_exp.tasks import comparison
from acmix_exp.tasks.comparison import Finding, changes
from acmix_exp.tasks.finished_run import finished, require_safe, require_unchanged
from acmix_exp.yolo.arguments import rank_count
from acmix_exp.yolo.sampling import PROTOCOL


def repeat(composed: Composed) -> int:
    """Train the run again in RUN/repeat/, outside of every table; exit code 0 if both are the same, 1 if not.

    An interrupted repeat is not resumed: the next one is another. Raises ConfigError, before anything is written, if
    the data set, the block, the pretrained file or the weights are not those of the run.
    """
    command = composed.config
    first, config = finished(composed)
    with console(stderr=True).status("checking the network"):
        answer = run_child("preflight", first.path, {"networks": [asdict(config)]}, variables=_unpickling(config))
    found = require(answer, "the preflight")
    if found["faults"]:
        raise ConfigError(*found["faults"])
    require_safe(command, config, *_kept(first), own=found["names"])
    recorded = first.provenance()
    inspection = inspect(resolve(config.dataset, config.model.task))
    require_unchanged(composed, first, config, inspection.fingerprint, pretrained=True)
    config = _same_hardware(config, command, recorded, composed.keys)
    parts = identity(config, inspection.fingerprint)
    label = str((first.status() or {}).get("arm"))
    folder = first.path / "repeat"
    second = Run(next(path for n in count(1) if not (path := folder / f"{first.name}-repeat{n}").exists()))
    cell = Cell(config, label, parts, inspection.name, {}, second)
    plan = Plan(f"repeat of {first.name}", folder, [cell], inspections=[])  # their statistics are beside the run
    prepare(plan)
    write_json(second.path / "provenance.json", {**second.provenance(), "repeat_of": first.name})
    _print_changes(first, config, parts)
    view = View(plan, lambda: 1).start()
    try:
        outcome = supervise(second, Command())
    except (KeyboardInterrupt, SystemExit):
        print(
            "acmix_exp: a repeat that was interrupted is not resumed; the same command starts another", file=sys.stderr
        )
        raise
    finally:
        view.stop()
    if outcome != DONE:
        error = (second.status() or {}).get("error")
        print(f"acmix_exp: the repeat failed: {error}; see {second.log}", file=sys.stderr)
        return 1
    return _verdict(first, second, config)


def _same_hardware(config: Config, command: Config, recorded: dict[str, Any], keys: Collection[str]) -> Config:
    """The run's config with the type of device and the precision that it was trained with, and without W&B.

    Raises ConfigError if one of ``keys``, those that the command sets, asks for a GPU and the run had none.
    """
    original = recorded["identity"]["hardware"]
    hardware = replace(config.hardware, executor="local", device="cpu", precision="auto", runs_at_once=1)
    if original["device"] == "cuda":
        hardware.device = command.hardware.device
        if devices.gpus(hardware):
            hardware.precision = original["precision"]
    elif {"hardware", "hardware.device"} & set(keys) and devices.gpus(command.hardware):
        raise ConfigError(
            f"hardware.device={command.hardware.device}: the run was trained on a CPU, so its repeat is; leave it out"
        )
    train = replace(config.train, keep="both")
    return replace(config, hardware=hardware, train=train, logger=replace(config.logger, mode="disabled"))


def _print_changes(first: Run, config: Config, parts: dict[str, Any]) -> None:
    gpus = devices.gpus(config.hardware)
    changed = own_variables(config.hardware.threads, gpus[: rank_count(config.hardware)] or None)
    variables = provenance.environment({**os.environ, **changed})
    hardware = {key: fact for key, fact in provenance.hardware("cpu").items() if key in ("platform", "cpu", "cores")}
    now = {"versions": provenance.versions(), "git": provenance.commit(), "environment": variables}
    now["hardware"] = hardware
    recorded = first.provenance()
    lines = changes(recorded, now)
    original = recorded["identity"]
    lines += [f"{key}: {original.get(key)}, now {parts[key]}" for key in parts if parts[key] != original.get(key)]
    if older_optimizer(original, parts):
        lines.append(
            "the run was trained by an older rule for optimizer groups or bias warm-up: its repeat will differ"
        )
    if sampling(original) != PROTOCOL:
        lines.append(f"samples were drawn by protocol {sampling(original)}, now by {PROTOCOL}: its repeat will differ")
    changes_in_between = recorded.get("resumed_with")
    if (first.status() or {}).get("resumed") and (sampling(original) == 1 or changes_in_between):
        why = f"under other conditions ({', '.join(changes_in_between)})" if changes_in_between else "not bit-exactly"
        lines.append(f"the run was interrupted and resumed {why}: its repeat will differ")
    for line in lines or ["nothing differs in versions, commit, hardware, environment and data"]:
        print(f"acmix_exp: {line}", file=sys.stderr)


def _verdict(first: Run, second: Run, config: Config) -> int:
    tolerance = comparison.tolerance(first.provenance())
    findings = comparison.outcomes(first, second, tolerance)
    findings += comparison.weights(_weights(first, second, config), tolerance)
    facts = second.provenance().get("hardware") or {}
    # The facts that only the training process records.
    hardware = {key: facts[key] for key in ("cpu_capability", "gpu", "cuda") if key in facts}
    findings += [Finding("hardware", None, line) for line in changes(first.provenance(), {"hardware": hardware})]
    same = all(finding.same is not False for finding in findings)
    write_json(
        second.path / "repeat.json",
        {
            "of": first.name,
            "device": config.hardware.device,
            "same": same,
            "tolerance": tolerance,
            "tolerance_of_metrics": comparison.metric_tolerance(tolerance),
            "findings": [asdict(finding) for finding in findings],
        },
    )
    words = {True: "same", False: "different", None: "–"}
    rows = [(finding.what, words[finding.same], finding.text) for finding in findings]
    console().print(text_table(f"{first.name} and its repeat", ("", "verdict", ""), [], rows))
    word = "the same" if same else "different"
    if tolerance:
        word += f": metrics may differ by {comparison.metric_tolerance(tolerance):g}, other numbers by {tolerance:g} x "
        word += "max(1, value), because sums on a GPU have no fixed order"
    elif same:
        word += ", bit for bit"
    print_line(word)
    print_line(f"written to {second.path}/repeat.json")
    return int(not same)


def _unpickling(config: Config) -> dict[str, str]:
    return unpickling(config.allow_unsafe_checkpoint)


def _kept(run: Run) -> list[Path]:
    return [path for name in ("best.pt", "last.pt") if (path := run.path / "weights" / name).is_file()]


def _weights(first: Run, second: Run, config: Config) -> dict[str, Any]:
    """Differences of every checkpoint that both runs kept, computed in a child process."""
    names = [path.name for path in _kept(first)]
    if not names:
        return {}
    folders = [str((run.path / "weights").resolve()) for run in (first, second)]
    request = {"names": names, "folders": folders, "config": asdict(config)}
    options = {"threads": config.hardware.threads, "variables": _unpickling(config)}
    figures: dict[str, Any] = require(run_child("repeat", second.path, request, **options), "the comparison")
    return figures


def work(job: Job) -> dict[str, Any]:
    """Compare the checkpoints ``names`` of two ``folders`` in the child process."""
    from acmix_exp.yolo.run import prepare

    prepare(from_plain(job.request["config"]))
    from acmix_exp.yolo.transfer import compare_weights

    first, second = map(Path, job.request["folders"])
    return {name: compare_weights(first / name, second / name) for name in job.request["names"]}
