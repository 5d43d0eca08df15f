"""Where Hydra hands over: before any job, the whole sweep is planned, checked, and made ready."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from acmix_exp.errors import ChildError, ConfigError
from acmix_exp.files import write_json
from acmix_exp.sweep import planning
from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS, explain

# Names the file that tells the jobs, which a launcher may start in other processes, what each is to run.
JOBS_VARIABLE = "ACMIX_EXP_JOBS"


class PlanCallback(Callback):
    """Hydra's callback. ``plan`` is kept, and ``planned`` called with it, in the process that started the command."""

    plan: planning.Plan | None = None
    planned: Callable[[planning.Plan, int], None] = staticmethod(lambda plan, runs_at_once: None)

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        self._start(config, sweep=False)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        self._start(config, sweep=True)

    def _start(self, config: DictConfig, *, sweep: bool) -> None:
        try:
            self._plan(config, sweep=sweep)
        except CONFIG_ERRORS as error:
            for line in explain(error, config.hydra.overrides.task):
                print(f"acmix_exp: {line}", file=sys.stderr)
            raise SystemExit(2) from None
        except ChildError as error:
            print(f"acmix_exp: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except Exception:
            # Hydra would turn it into a warning and start the jobs
            traceback.print_exc()
            raise SystemExit(1) from None

    def _plan(self, config: DictConfig, *, sweep: bool) -> None:
        from acmix_exp.sweep.planning import check_reference
        from acmix_exp.tasks.evaluate import before_training, evaluate
        from acmix_exp.tasks.export import export
        from acmix_exp.tasks.repeat import repeat

        of_a_run = {"evaluate": evaluate, "export": export, "repeat": repeat}
        if config.task in of_a_run:
            if sweep:
                raise ConfigError(f"task={config.task}: takes one run, so it goes without -m and without an experiment")
            raise SystemExit(of_a_run[config.task](config))
        if config.task == "report":
            from acmix_exp.tasks.report import report

            overrides = list(config.hydra.overrides.task)
            explicit = {item.split("=", 1)[0].lstrip("+~") for item in overrides}
            raise SystemExit(report(planning.checked(config, overrides), explicit))
        plan = planning.build(config, GlobalHydra.instance().config_loader() if sweep else None)
        runs_at_once = plan.cells[0].config.hardware.runs_at_once
        if runs_at_once > 1 and _launcher(config) == "basic":
            raise ConfigError(f"hardware.runs_at_once={runs_at_once}: needs hardware=pool")
        check_reference(plan)
        before_training(plan, runs_at_once)
        planning.prepare(plan)
        runs_at_once = min(runs_at_once, len(plan.runs))
        if _launcher(config) == "joblib":
            config.hydra.launcher.n_jobs = runs_at_once
        os.environ[JOBS_VARIABLE] = str(_write_jobs(plan).resolve())
        PlanCallback.plan = plan
        PlanCallback.planned(plan, runs_at_once)


def _write_jobs(plan: planning.Plan) -> Path:
    """A file and not a variable, which would be too small for some thousand cells."""
    path = plan.folder / f".jobs-{os.getpid()}.json"
    runs = [str(cell.run.path.resolve()) for cell in plan.cells]
    write_json(path, {"owner": os.getpid(), "began": time.time(), "runs": runs})
    return path


def _launcher(config: DictConfig) -> str:
    return str(config.hydra.runtime.choices.get("hydra/launcher", "basic"))
