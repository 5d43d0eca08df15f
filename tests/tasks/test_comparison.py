"""Comparison of a run with its repeat, and the words for a difference."""

from __future__ import annotations

import json

import pytest

from acmix_exp.files import write_json
from acmix_exp.tasks import comparison

ROWS = "epoch,train/box_loss,map50_95,seconds\n1,3.5,0.1,{seconds}\n2,{loss},0.2,9\n"


@pytest.fixture
def pair(make_run):
    """``pair(loss=..., map=..., proof=...)``: a run, and one with these differences."""

    def fill(name, loss="3.25", seconds="8.0", score=0.2, proof="a" * 64):
        run = make_run(name)
        (run.path / "history.csv").write_text(ROWS.format(loss=loss, seconds=seconds))
        metrics = {"map50_95": score, "map50": 0.5, "per_class": {"disc": {"map50": score}}, "split": "val"}
        write_json(run.path / "result.json", {"metrics": metrics, "cost": {}, "val_best": {"epoch": 2}})
        write_json(run.path / "provenance.json", {"seed_proof": proof})
        return run

    return lambda **changes: (fill("a-s0-00000000"), fill("b-s0-00000000", **changes))


def verdicts(pair, tolerance: float = 0.0) -> dict[str, bool | None]:
    return {finding.what: finding.same for finding in comparison.outcomes(*pair, tolerance)}


def test_equal_runs_are_the_same_for_any_duration(pair):
    assert verdicts(pair(seconds="1.0")) == {"seed proof": True, "history.csv": True, "metrics": True}


def test_a_difference_in_the_last_digit_is_reported(pair):
    runs = pair(loss="3.2500000000000004")
    assert verdicts(runs) == {"seed proof": True, "history.csv": False, "metrics": True}
    text = comparison.outcomes(*runs, 0.0)[1].text
    assert text == "1 of 4 differ, first train/box_loss of epoch 2: 3.25, now 3.2500000000000004"


def test_a_tolerance_is_absolute_for_metrics_and_relative_for_a_loss(pair):
    assert verdicts(pair(loss="3.31", score=0.209), 0.02) == {"seed proof": True, "history.csv": True, "metrics": True}


@pytest.mark.parametrize(("changes", "what"), [({"loss": "3.32"}, "history.csv"), ({"score": 0.211}, "metrics")])
def test_differences_beyond_the_tolerance(pair, changes, what):
    assert verdicts(pair(**changes), 0.02)[what] is False


@pytest.mark.parametrize(("device", "expected"), [("cpu", 0.0), ("cuda", comparison.GPU_TOLERANCE)])
def test_the_tolerance_depends_on_the_device_of_the_first_run(device, expected):
    assert comparison.tolerance({"identity": {"hardware": {"device": device, "precision": "fp32"}}}) == expected


def test_other_batches_and_missing_epochs_are_differences(pair):
    first, second = pair(proof="b" * 64)
    (second.path / "history.csv").write_text("epoch,train/box_loss,map50_95,seconds\n1,3.5,0.1,8\n")
    assert verdicts((first, second), 0.02) == {"seed proof": False, "history.csv": False, "metrics": True}


def test_weights_are_judged_on_a_cpu_and_reported_on_a_gpu():
    same, other = ({"tensors": 9, "different": count, "largest": 1e-3 * count} for count in (0, 2))
    found = comparison.weights({"best.pt": same, "last.pt": other}, 0.0)
    assert [(finding.same, finding.text) for finding in found] == [
        (True, "9 tensors, bit for bit"),
        (False, "2 of 9 tensors differ, by up to 2.0e-03"),
    ]
    assert comparison.weights({"last.pt": other}, 0.02)[0].same is None
    assert comparison.weights({}, 0.0)[0].same is None


def test_checkpoints_are_compared_by_their_bits(tmp_path):
    import torch

    from acmix_exp.yolo.run import prepare
    from tests.yolo.builders import bare, make_config

    prepare()
    from acmix_exp.yolo.model import build_model
    from acmix_exp.yolo.transfer import compare_weights

    model = build_model(bare(make_config()), nc=2)
    for name in ("a", "b", "c"):
        if name == "c":
            model.model[0].bn.running_mean[0] = 0.5
            model.model[0].bn.bias.data.neg_()  # zero, and then minus zero
        torch.save({"model": model, "train_args": {}}, tmp_path / f"{name}.pt")
    same, other = (compare_weights(tmp_path / "a.pt", tmp_path / f"{name}.pt") for name in ("b", "c"))
    assert (same["different"], same["largest"]) == (0, 0.0)
    assert (other["different"], other["largest"]) == (2, 0.5)
    assert json.loads(json.dumps(other))["tensors"] == same["tensors"] == len(model.state_dict())


def test_each_difference_is_one_line():
    then = {
        "versions": {"torch": "2.14.0", "numpy": "2.4.6"},
        "git": {"commit": "a" * 40, "dirty": False},
        "hardware": {"cpu": "one", "cores": 2, "memory_gib": 8},
    }
    now = {
        "versions": {"torch": "2.15.0", "numpy": "2.4.6"},
        "git": {"commit": "b" * 40, "dirty": False},
        "hardware": {"cpu": "other", "cores": 2},
        "environment": {},
    }
    assert comparison.changes(then, now) == [
        "versions: torch 2.14.0, now 2.15.0",
        "environment: not recorded in the run",
        "hardware: cpu one, now other",
        "commit: aaaaaaaaaaaa, now bbbbbbbbbbbb",
    ]
    assert comparison.changes(now, now) == []
    dirty = {"commit": "b" * 40, "dirty": True, "diff_sha256": "c" * 64}
    assert comparison.changes(now, {"git": dirty}) == ["changes without a commit: none, now cccccccccccc"]
