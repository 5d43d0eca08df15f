"""The child process of ``task=evaluate``: RUN_DIR CONFIG SPLIT WEIGHTS DEVICE PARENT_PID; DEVICE is cpu or cuda."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from acmix_exp.config import load
from acmix_exp.data import resolve
from acmix_exp.experiment.output import console
from acmix_exp.experiment.process import die_with_parent
from acmix_exp.experiment.store import write_json


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
