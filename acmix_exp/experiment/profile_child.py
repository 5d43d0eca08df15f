"""The child process of ``task=profile``: REQUEST RESULT DEVICE PARENT_PID; DEVICE is cpu or cuda."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from acmix_exp.config import Config, to_object
from acmix_exp.experiment import checkout, provenance
from acmix_exp.experiment.output import console
from acmix_exp.experiment.process import die_with_parent
from acmix_exp.experiment.store import read_json, write_json
from acmix_exp.report.costs import cost_tables

UNFUSED = " unfused"


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    die_with_parent(int(arguments[3]))
    request = read_json(Path(arguments[0])) or {}
    where: int | str = 0 if arguments[2] == "cuda" else "cpu"
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console(stderr=True)
    ) as progress:
        line = progress.add_task("importing torch")

        def say(text: str) -> None:
            progress.update(line, description=text)

        profile = measured(request["cells"], request["seconds"], where, say)
    profile |= {"versions": provenance.versions(), "hardware": provenance.hardware(where), "git": checkout.commit()}
    profile["seconds"] = round(time.monotonic() - began, 1)
    write_json(Path(arguments[1]), profile)
    out = console()
    out.print(cost_tables(profile))
    out.print(f"written to {arguments[1]}", soft_wrap=True, markup=False, highlight=False)
    return 0


def measured(
    cells: Sequence[dict[str, Any]], seconds: float, device: int | str, say: Callable[[str], None]
) -> dict[str, Any]:
    """Rows of costs, one a network, built from scratch: counted at 640 px, timed at the run's own image size.

    ``seconds`` is what the timing may take over all networks, as fused networks at batch 1, as built at batch 1, and
    fused at batch 32; batch 32 is left out (None) where it would not fit.
    """
    from acmix_exp.profile import complexity, fused
    from acmix_exp.yolo.model import build_model

    rows, networks, sizes = [], {}, []
    for number, cell in enumerate(cells):
        config = to_object(OmegaConf.merge(OmegaConf.structured(Config), cell["config"]))  # type: ignore[arg-type]
        say(f"counting {cell['arm']} ({number + 1} of {len(cells)})")
        model = build_model(config, cell["classes"]).eval()
        figures, sites = complexity(model)
        names = {id(block): site for site, block in getattr(model, "blocks", dict)().items()}
        places = {name: names.get(id(module), name) for name, module in model.named_modules()}
        described = [_described(site, places[site.name]) for site in sites]
        rows.append({"arm": cell["arm"], "swept": cell["swept"], "cost": figures, "sites": described})
        networks[number] = (fused(model), model)
        sizes.append(config.train.imgsz)
    threads = config.hardware.threads
    for imgsz in sorted(set(sizes)):
        chosen = {number: networks[number] for number, size in enumerate(sizes) if size == imgsz}
        share = seconds * len(chosen) / len(cells)
        for number, figures in _timed(chosen, imgsz, share, device, threads, say).items():
            rows[number]["cost"] |= figures
            rows[number]["imgsz"] = imgsz
    return {"rows": rows, "device": "cuda" if device != "cpu" else "cpu", "threads": threads}


def _described(site: Any, name: str) -> dict[str, Any]:
    stages = {stage: figures._asdict() for stage, figures in site.stages.items()}
    return {**site._asdict(), "name": name, "stages": stages}


def _timed(
    networks: dict[int, tuple[Any, Any]],
    imgsz: int,
    seconds: float,
    device: int | str,
    threads: int,
    say: Callable[[str], None],
) -> dict[int, dict[str, Any]]:
    import torch

    from acmix_exp.profile import BATCHES, latencies, named

    torch.set_num_threads(threads)
    each = seconds / len(networks)
    say(f"timing {len(networks)} networks at {imgsz} px, batch 1")
    quick = {str(number): pair[0] for number, pair in networks.items()}
    single = latencies(quick, imgsz, 1, device, seconds=each / 4, fewest=BATCHES[1])
    say(f"timing {len(networks)} networks at {imgsz} px, batch 1, not fused")
    plain = latencies({str(number): pair[1] for number, pair in networks.items()}, imgsz, 1, device, seconds=each / 8)
    figures: dict[int, dict[str, Any]] = {
        number: {**named(1, single[str(number)]), "latency_ms_b1_unfused": plain[str(number)].median}
        for number in networks
    }
    # a warm-up pass and those that count
    expected = sum((1 + BATCHES[32]) * 32 * found.median for found in single.values()) / 1e3
    many = {}
    if expected <= seconds or device != "cpu":
        say(f"timing {len(networks)} networks at {imgsz} px, batch 32, about {expected:.0f} s")
        try:
            many = latencies(quick, imgsz, 32, device, seconds=each / 4, fewest=BATCHES[32])
        except (MemoryError, RuntimeError) as error:
            print(f"batch 32 was not timed: {str(error).splitlines()[0]}", file=sys.stderr)
    else:
        why = f"it takes about {expected:.0f} s at {imgsz} px, for which profile.seconds leaves {seconds:.0f}"
        print(f"batch 32 was not timed: {why}", file=sys.stderr)
    for number in networks:
        figures[number] |= named(32, many.get(str(number)))
    return figures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
