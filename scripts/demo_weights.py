"""Train the initial weights of the demo, acmix_exp/shipped/yolov8_mini.pt: some minutes of one CPU core.

python -m scripts.demo_weights

The images are drawn as those of the embedded data set, from other random seeds: none of them is in its train or val
split. The file holds the last weights in half precision; nothing is chosen by a score. Another machine gives other
bytes, and with them the runs of the demo get other keys: do it again only where the network or the images change.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from acmix_exp.data.shapes import write_data_yaml, write_split

SEEDS = {"train": range(1_000_000, 1_002_400), "val": range(2_000_000, 2_000_032)}  # the embedded set's: below 30 000
TARGET = Path(__file__).resolve().parents[1] / "acmix_exp" / "shipped" / "yolov8_mini.pt"
SETTINGS = (
    *("name=weights", "arm=baseline", "model.yaml=yolov8_mini.yaml", "hardware=cpu", "logger=disabled"),
    *("train=quick", "train.epochs=2", "train.batch=16", "train.lr0=0.003", "train.keep=last", "report.auto=false"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data, runs = Path(scratch, "images"), Path(scratch, "runs")
        for split, seeds in SEEDS.items():
            write_split(data, split, seeds)
        write_data_yaml(data)
        place = f"runs_dir={runs}", "dataset=yolo", f"dataset.path={data / 'data.yaml'}"
        subprocess.run([sys.executable, "-m", "acmix_exp", *SETTINGS, *place], check=True)
        (last,) = runs.glob("weights/*/weights/last.pt")
        save_weights(last, TARGET)
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


def save_weights(checkpoint: Path, target: Path) -> None:
    """The network of a checkpoint in half precision, without the settings of its training, which name local paths."""
    import torch
    from ultralytics.nn.tasks import load_checkpoint

    network, _ = load_checkpoint(checkpoint)
    for name in ("args", "pt_path"):
        vars(network).pop(name, None)
    torch.save({"model": network.half(), "train_args": {}}, target)


if __name__ == "__main__":
    main()
