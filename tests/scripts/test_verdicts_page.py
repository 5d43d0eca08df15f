"""docs/verdicts.md is what the published runs say; a block without published runs has no verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.sweep.compose import compose_cells
from scripts import verdicts_page
from scripts.verdicts_page import page, verdicts, wanted

NOT_RUN = "| not run |"
STOCK = {"arm": "baseline", "n": 6, "verdict": "reference", "delta_mean": None}
COST = {"parameters": 3_000_000, "gflops": 8.0, "latency_ms_b1": 20.0}


def row(arm: str, verdict: str | None, points: float | None = 0.1, *, n: int = 6, **keys: Any) -> dict[str, Any]:
    """Half a point to both sides of the difference; ``excludes`` is 0.6 points."""
    found = {"arm": arm, "n": n, "verdict": verdict, "delta_mean": None}
    if points is not None:
        found |= {"delta_mean": points / 100, "delta_low": points / 100 - 0.005, "delta_high": points / 100 + 0.005}
        found["excludes"] = 0.006
    return found | COST | keys


def identity(slot: str = "", verdict: str = "harness_ok") -> dict[str, Any]:
    arm = f"identity_{slot}" if slot else "identity"
    return row(arm, verdict, 0.0, delta_low=0.0, delta_high=0.0, excludes=0.0, latency_ms_b1=20.4)


def publish(results: Path, name: str, *tables: list[dict[str, Any]], **settings: Any) -> None:
    """As a published folder of ``+experiment=wanted`` has it: a table for each slot, each with the baseline."""
    shared = {
        "dataset": "thermal",
        "pretrained": ".../yolov8n.pt",
        "model": {"name": "yolov8", "scale": "n"},
        "train": {"epochs": 15, "imgsz": 224},
        **settings,
    }
    rows = [[STOCK | COST, *table] for table in tables]
    content = [{"settings": shared, "swept_keys": [], "reference": "baseline", "rows": table} for table in rows]
    (results / name).mkdir()
    (results / name / "summary.json").write_text(json.dumps({"tables": content}), encoding="utf-8")


def lines(results: Path, beginning: str) -> list[str]:
    return [line for line in page(results).splitlines() if line.startswith(beginning)]


def found_in(results: Path) -> str:
    return page(results).partition("## What was found\n\n")[2].partition("\n\n")[0]


def test_the_page_is_written_by_the_script() -> None:
    assert verdicts_page.PAGE.read_text(encoding="utf-8") == page(), "run: python -m scripts.verdicts_page"


def test_without_published_runs_it_says_so(tmp_path: Path) -> None:
    assert page(tmp_path).count(NOT_RUN) == len(wanted())
    assert found_in(tmp_path) == (
        f"- None of the {len(wanted())} blocks of `+experiment=wanted` has published runs yet: nothing can be said of "
        "them."
    )


def test_a_published_run_is_on_the_page(tmp_path: Path) -> None:
    publish(tmp_path, "thermal_wanted", [row("simam", "no_difference", latency_ms_b1=20.6)])
    (found,) = verdicts(tmp_path)
    assert (found.points, found.excludes) == ("+0.10 (-0.40 to +0.60)", 0.6)
    assert found.cost == "+0.00 M, +0.00 GFLOPs, 1.03 x latency"
    data = "thermal, yolov8n from yolov8n.pt, 15 epochs, 224 px"
    (line,) = lines(tmp_path, "| simam ")
    assert line == (
        f"| simam | after | {data} | 6 | no difference | +0.10 (-0.40 to +0.60) | ±0.60 | "
        "+0.00 M, +0.00 GFLOPs, 1.03 x latency |"
    )
    assert page(tmp_path).count(NOT_RUN) == len(wanted()) - 1


def test_the_finding_of_a_whole_experiment(tmp_path: Path) -> None:
    """Counts are of the blocks: a control is in a table of its own, and what was not run is named."""
    publish(
        tmp_path,
        "thermal_wanted",
        [identity(), row("simam", "no_difference"), row("timm-se", "better", 1.2)],
        [identity("down"), row("spd_conv", "worse", -1.5), row("conv3x3_matched_down", "no_difference", 0.3)],
        [identity("up"), row("carafe", "no_difference", excludes=0.011)],
        [identity("loss"), row("wiou", "no_difference", latency_ms_b1=20.9)],
    )
    found, not_run = found_in(tmp_path).splitlines()
    assert not_run == (
        "- Not run, 14 of the 19 blocks of `+experiment=wanted`: coordinate_attention, timm-eca, timm-cbam, gam, "
        "triplet_attention, mlca, rfaconv, wtconv, pconv, dysample, bifpn, mpdiou, inner_iou, shape_iou."
    )
    assert found == (
        "- [thermal_wanted](results/thermal_wanted/README.md), thermal, yolov8n from yolov8n.pt, 15 epochs, 224 px, "
        "6 seeds. 5 blocks: 1 better (timm-se), 1 worse (spd_conv), 3 without a significant difference (simam, "
        "carafe, wiou); excluded are differences beyond ±0.60 to ±1.10 points."
    )
    blocks, controls = page(tmp_path).partition("## Every published block")[2].split("## Controls")
    assert [name in blocks for name in ("wiou", "identity", "conv3x3_matched_down")] == [True, False, False]
    assert [name in controls for name in ("identity_loss", "conv3x3_matched_down", "simam")] == [True, True, False]
    assert "bilinear" not in wanted(), "a control of dysample"


def test_a_loss_and_identity_cost_nothing_whatever_the_clock_says(tmp_path: Path) -> None:
    publish(tmp_path, "losses", [identity("loss"), row("wiou", "no_difference", latency_ms_b1=20.9)])
    assert {each.cost for each in verdicts(tmp_path)} == {"none: the stock network"}


def test_a_failed_check_of_the_harness_is_in_the_finding_and_beside_the_verdicts(tmp_path: Path) -> None:
    publish(
        tmp_path,
        "thermal_wanted",
        [identity("up", "harness_fault"), row("carafe", "better", 1.0)],
        [identity("fuse"), row("bifpn", "no_difference")],
    )
    assert found_in(tmp_path).splitlines()[0] == (
        "- **The harness check failed** in [thermal_wanted](results/thermal_wanted/README.md): identity_up differs "
        "from the stock network."
    )
    assert "better; the harness check failed" in lines(tmp_path, "| carafe ")[0]
    assert "failed" not in lines(tmp_path, "| bifpn ")[0]


@pytest.mark.parametrize(
    ("given", "words", "sentence"),
    [
        (row("simam", "too_few_seeds", n=2), "too few seeds", "1 block: 1 with too few seeds for any verdict (simam)"),
        (row("simam", "interim", n=7), "interim", "1 block: 1 not judged yet, for want of planned seeds (simam)"),
        (
            row("simam", "diverged", None, n_diverged=2),
            "diverged, 2 diverged",
            "1 block: 1 diverged in some runs (simam)",
        ),
        (
            row("simam", None, None),
            "no baseline to compare with",
            "1 block: 1 without a reference to compare with (simam)",
        ),
        (
            row("simam", "no_difference", seeds_verdict="better"),
            "no difference (better on these test images only)",
            "1 block: none better, none worse, 1 without a significant difference (simam); excluded are "
            "differences beyond ±0.60 points",
        ),
        (
            row("simam", "equivalent"),
            "equivalent",
            "1 block: none better, none worse, 1 equivalent within the margin (simam)",
        ),
    ],
    ids=["too few seeds", "interim", "diverged", "no reference", "by seeds alone", "equivalent"],
)
def test_every_sort_of_verdict(given: dict[str, Any], words: str, sentence: str, tmp_path: Path) -> None:
    publish(tmp_path, "wanted", [given])
    assert f"| {words} |" in lines(tmp_path, "| simam ")[0]
    assert found_in(tmp_path).splitlines()[0].endswith(f" seeds. {sentence}.")


def test_swept_values_and_arms_without_a_block_of_their_own_are_named(tmp_path: Path) -> None:
    publish(tmp_path, "wanted", [row("mixed", "no_difference")], pretrained=None, dataset="shapes")
    (found,) = verdicts(tmp_path)
    assert found.arm == "acmix-mixed"
    assert found.data == "shapes (drawn images), yolov8n from scratch, 15 epochs, 224 px"
    table = {"settings": {"dataset": None, "model": {}, "train": {}}, "swept_keys": ["dataset", "block.reduction"]}
    swept = row("simam", "better", dataset="bccd", **{"block.reduction": 4, "model.pretrained": None})
    folder = tmp_path / "swept"
    folder.mkdir()
    content = {"tables": [{**table, "reference": "baseline", "rows": [swept]}]}
    (folder / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    assert next(each.data for each in verdicts(tmp_path)) == "bccd, from scratch, block.reduction=4"


def test_the_cost_is_that_over_the_reference_of_the_same_network(tmp_path: Path) -> None:
    models = {"yolo12": 2_600_000, "yolo26": 2_400_000}
    stock = [STOCK | COST | {"model": model, "parameters": number} for model, number in models.items()]
    arms = [row("simam", "better", model=model, parameters=number + 10_000) for model, number in models.items()]
    table = {"settings": {"dataset": "bccd", "model": {}, "train": {}}, "swept_keys": ["model", "block.reduction"]}
    content = {"tables": [{**table, "reference": "baseline", "rows": [*stock, *arms]}]}
    (tmp_path / "wanted").mkdir()
    (tmp_path / "wanted" / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    assert {each.cost for each in verdicts(tmp_path)} == {"+0.01 M, +0.00 GFLOPs, 1.00 x latency"}


@pytest.mark.slow
def test_wanted_is_what_its_command_trains() -> None:
    cells = compose_cells(["+experiment=wanted", "hardware=cpu", "task=plan", "seed=0"])
    slots = {cell.config.model.placement.mode for cell in cells}
    assert slots == {"after", "replace", "down", "up", "fuse", "loss"}
    assert len(cells) == 3 * len([*wanted(), "bilinear"])
