"""The child process of ``task=evaluate``: RUN_DIR CONFIG SPLIT WEIGHTS DEVICE PARENT_PID; DEVICE is cpu or cuda."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table

from acmix_exp.config import load
from acmix_exp.console import console
from acmix_exp.data import inspect, report_table, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.files import write_json, write_text
from acmix_exp.run import devices
from acmix_exp.run.child import child_environment, die_with_parent
from acmix_exp.run.devices import gpu_slot
from acmix_exp.sweep.planning import Plan, checked
from acmix_exp.tasks.finished_run import finished, kept_weights, names_dataset
from acmix_exp.tasks.plan import show_plan
from acmix_exp.tasks.profile import profile


def before_training(plan: Plan, runs_at_once: int) -> None:
    """Show the data; for ``task=plan`` and ``task=profile`` their tables too, and then end the program."""
    for inspection in plan.inspections:
        console(stderr=True).print(report_table(inspection))
    if plan.cells[0].config.task == "plan":
        show_plan(plan, runs_at_once)
        raise SystemExit(0)
    if plan.cells[0].config.task == "profile":
        raise SystemExit(profile(plan))


def evaluate(master: DictConfig) -> int:
    """``task=evaluate``: score a finished run on another split or data set, in a child process; its exit code.

    The data set is the run's own unless the command names one. The figures go to RUN/evaluations/.
    """
    overrides = list(master.hydra.overrides.task)
    asked = checked(master, overrides)
    run, config = finished(asked)
    if names_dataset(overrides):
        config.dataset = asked.dataset
    config.hardware, config.split = asked.hardware, asked.split
    dataset = resolve(config.dataset)
    inspection = inspect(dataset)
    split = config.split or ("test" if "test" in dataset.splits else "val")
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: the data set has {', '.join(dataset.splits)}")
    names = (run.provenance().get("dataset") or {}).get("names")
    if names is not None and names != {str(key): name for key, name in dataset.names.items()}:
        raise ConfigError(
            f"dataset.name={dataset.name}: its classes are {', '.join(dataset.names.values())}; "
            f"the run knows {', '.join(names.values())}"
        )
    weights = kept_weights(run, asked, config)
    console(stderr=True).print(report_table(inspection))
    folder = run.path / "evaluations"
    folder.mkdir(exist_ok=True)
    request = folder / f"{dataset.name}-{split}-{inspection.fingerprint[:8]}.yaml"
    write_text(request, OmegaConf.to_yaml(OmegaConf.structured(config)))
    with gpu_slot(devices.gpus(config.hardware), config.hardware.runs_at_once) as gpu:
        command = [sys.executable, "-m", "acmix_exp.tasks.evaluate", str(run.path), str(request), split]
        command += [str(weights), "cpu" if gpu is None else "cuda", str(os.getpid())]
        environment = child_environment(run.path, config, gpu)
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        finally:
            request.unlink(missing_ok=True)
            shutil.rmtree(run.path / ".ultralytics", ignore_errors=True)
    if code < 0:
        print(f"acmix_exp: the evaluation was killed by {signal.Signals(-code).name}", file=sys.stderr)
    return int(code != 0)


def main(arguments: list[str]) -> int:
    from acmix_exp.yolo.run import evaluate

    run_dir, request, split, weights = (
        Path(arguments[0]),
        Path(arguments[1]),
        arguments[2],
        Path(arguments[3]),
    )
    die_with_parent(int(arguments[5]))
    config = load(request)
    where: int | str = 0 if arguments[4] == "cuda" else "cpu"
    dataset = resolve(config.dataset)
    metrics = evaluate(weights, dataset, split, config, device=where)
    write_json(request.with_suffix(".json"), metrics)
    title = f"{run_dir.name} ({weights.name}) on {dataset.name}, {split}"
    table = Table(title=escape(title), title_justify="left")
    for name in ("class", "mAP50", "mAP50-95"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, row in {"all": metrics, **metrics["per_class"]}.items():
        table.add_row(escape(name), f"{row['map50']:.3f}", f"{row['map50_95']:.3f}")
    out = console()
    out.print(table)
    out.print(f"written to {request.with_suffix('.json')}", soft_wrap=True, markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
