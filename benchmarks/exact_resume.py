"""What the state of exact resume costs: seconds and bytes of each epoch of YOLOv8n, beside those of the epoch.

    python -m benchmarks.exact_resume [--imgsz 320] [--epochs 6] [--output FOLDER]

Trains the built-in data set (200 images, batch 16) on one thread of a CPU. Wall time holds the writing to the disk;
CPU time, of the whole process, is what a loaded machine still tells.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from acmix_exp.config import ArmConfig, Config, DatasetConfig, HardwareConfig, PlacementConfig, TrainConfig
from acmix_exp.data import resolve
from acmix_exp.yolo.run import prepare
from benchmarks import provenance
from benchmarks.compare import RESULTS
from benchmarks.quiet import Watch

LIMIT = 0.03  # of an epoch
ARMS = {
    "stock": PlacementConfig(name="none"),
    "ACmix": PlacementConfig(name="p4p5", sites=["backbone_p4", "backbone_p5"]),
}
ACMIX = {"name": "acmix", "kernel_att": 7, "head": 4, "kernel_conv": 3, "path": "mixed"}


def measure(arm: str, imgsz: int, epochs: int, folder: Path) -> dict[str, Any]:
    """Medians over the epochs in seconds, (wall, CPU) each, and the bytes of the files."""
    from acmix_exp.yolo import training_state
    from acmix_exp.yolo.resume import STATE
    from acmix_exp.yolo.trainer import BlockTrainer

    config = Config(
        arm=ArmConfig(name=arm, insert=arm != "stock"),
        block={} if arm == "stock" else ACMIX,
        dataset=DatasetConfig(name="shapes"),
        hardware=HardwareConfig(device="cpu", workers=0),
        train=TrainConfig(epochs=epochs + 1, imgsz=imgsz),  # no state is written after the last
    )
    config = replace(config, model=replace(config.model, placement=ARMS[arm]))
    saving: list[tuple[float, float]] = []
    ends: list[tuple[float, float]] = []
    sizes: dict[str, int] = {}

    class Timed(BlockTrainer):
        def _handle_nan_recovery(self, epoch: int) -> bool:
            began = _clocks()
            result = super()._handle_nan_recovery(epoch)
            self.gathering = _since(began)
            return result

    write = training_state.write

    def timed(path: Path, trainer: Timed, processes: Any) -> None:
        began = _clocks()
        write(path, trainer, processes)
        saving.append(tuple(a + b for a, b in zip(trainer.gathering, _since(began), strict=True)))  # type: ignore[arg-type]
        sizes.update({name: (path.parent / name).stat().st_size for name in ("last.pt", STATE)})

    training_state.write = timed  # type: ignore[assignment]
    try:
        trainer = Timed(config, resolve(config.dataset), folder, "cpu", lambda row: ends.append(_clocks()))
        trainer.train()
    finally:
        training_state.write = write
    lengths = [_between(first, second) for first, second in itertools.pairwise(ends[:-1])]
    columns = {"epoch": lengths, "state": saving}
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in columns.items()
    }
    share = {"wall": medians["state"][0] / medians["epoch"][0], "cpu": medians["state"][1] / medians["epoch"][1]}
    return {"arm": arm, "imgsz": imgsz, **medians, "share": share, "bytes": sizes, "epochs": columns}


def _clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    return _between(began, _clocks())


def _between(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return second[0] - first[0], second[1] - first[1]


def page(results: dict[str, Any]) -> str:
    rows = [
        f"| YOLOv8n, {case['arm']}, {case['imgsz']} px | {case['epoch'][0]:.1f} s, {case['epoch'][1]:.1f} s "
        f"| {case['state'][0]:.2f} s, {case['state'][1]:.2f} s "
        f"| {case['share']['wall']:.1%}, {case['share']['cpu']:.1%} "
        f"| {case['bytes']['training.state'] / 2**20:.1f} MB | {case['bytes']['last.pt'] / 2**20:.1f} MB |"
        for case in results["cases"]
    ]
    facts = results["provenance"]
    return "\n".join(
        [
            "# The cost of exact resume",
            "",
            "Medians over epochs of 200 images; wall time, then CPU time of the process. Limit: 3 % of an epoch.",
            "",
            "| training | epoch | state | share | training.state | last.pt |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"`{facts['command']}`, {facts['date']}, {facts['hardware']['cpu']}, torch {facts['versions']['torch']}. "
            f"Other processes took {results['cores_of_others']:.2f} cores meanwhile.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--epochs", type=int, default=6, help="that are measured, of each arm")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    prepare()
    watch = Watch()
    results: dict[str, Any] = {"provenance": provenance.collect("cpu"), "cases": []}
    for arm in ARMS:
        with tempfile.TemporaryDirectory(dir=options.output) as folder:  # on the disk of the results, not in memory
            results["cases"].append(measure(arm, options.imgsz, options.epochs, Path(folder)))
    results["cores_of_others"] = watch.others() or 0.0
    name = f"exact_resume_cpu_{results['provenance']['date'][:10]}"
    (options.output / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.output / f"{name}.md").write_text(page(results), encoding="utf-8")
    print(page(results))
    return int(any(case["share"]["cpu"] > LIMIT for case in results["cases"]))


if __name__ == "__main__":
    raise SystemExit(main())
