"""The W&B run of an experiment's report, in the same group as the runs of its training runs.

It is logged in a child process, because wandb reads its folders from environment variables.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acmix_exp.child import Job
from acmix_exp.tracking.tracker import Tracker

JOB_TYPE = "report"
LOG_SECONDS = 20.0
FINISH_SECONDS = 40.0  # figures and page are some megabytes


def work(job: Job) -> list[str]:
    """Log a report as one row of the experiment's W&B run, in the child process; returns the warnings.

    Later reports resume the same run. The request: ``mode``; ``init``, arguments of ``wandb.init``; ``tables``,
    ``{columns, data}`` by key; ``figures``, PNG file and caption by key; ``page``, the HTML file; ``summary``, scalars.
    """
    before = set(job.folder.glob("wandb/offline-run-*"))

    def arguments(run_id: str) -> dict[str, Any]:
        return {**job.request["init"], "job_type": JOB_TYPE, "id": run_id, "resume": "allow", "reinit": "create_new"}

    tracker = Tracker.open(
        job.request["mode"],
        job.folder,
        arguments,
        resumed=True,
        unaffected="the report is not affected",
        finish_seconds=FINISH_SECONDS,
    )
    tracker.log(lambda: _values(job.request), LOG_SECONDS)
    tracker.end()
    if not tracker.warnings and tracker.folder is not None:
        # An older report that was not uploaded would become one more row of the same run.
        for old in before - {tracker.folder}:
            shutil.rmtree(old, ignore_errors=True)
    return tracker.warnings


def _values(request: Mapping[str, Any]) -> dict[str, Any]:
    import wandb

    values: dict[str, Any] = dict(request["summary"])
    for key, table in request["tables"].items():
        values[key] = wandb.Table(columns=table["columns"], data=table["data"], allow_mixed_types=True)
    for key, (path, caption) in request["figures"].items():
        values[f"figures/{key}"] = wandb.Image(path, caption=caption)
    page = Path(request["page"]).read_text(encoding="utf-8")
    values["report"] = wandb.Html(page, inject=False, data_is_not_path=True)
    return values
