"""Real trainings whose loss stops being finite: the run has diverged, and the same command leaves it so."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from acmix_exp.files import read_json
from tests.robustness.cases import Row, add
from tests.robustness.commands import finish, only_run, tiny_data

SECTION = "Figures and numbers"
BLOCK = """
import torch
from torch import nn

class Fails(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.batches = 0  # of 4 images, in training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches += self.training and len(x) == 4 and torch.is_grad_enabled()
        factor = float("{value}") if self.batches >= {batch} else 1.0
        return x * self.weight.view(1, -1, 1, 1) * factor
"""
MOMENTS = {  # with 2 batches an epoch, of 3 epochs
    "NaN in the first epoch": ("nan", 1, 1),
    "NaN in the middle": ("nan", 3, 2),
    "NaN in the last batch": ("nan", 6, 3),
    "an infinite loss": ("inf", 4, 2),
}
for have in MOMENTS:
    add(
        Row(
            SECTION,
            f"a training with {have}",
            "verdict `diverged`, exit code 1; the same command does not train it again",
        )
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.parametrize("have", MOMENTS)
def test_a_training_that_diverges_is_left_so(tmp_path, data, have):
    value, batch, epoch = MOMENTS[have]
    (tmp_path / "fails.py").write_text(textwrap.dedent(BLOCK.format(value=value, batch=batch)))
    line = ("arm=configured", "block=custom", "block.target=fails.Fails", "train.epochs=3", "report.auto=true")
    for _ in range(2):
        code, out, err = finish(tmp_path, data, *line)
        assert code == 1, err
        assert "Traceback" not in err
        run = only_run(tmp_path)
        assert run.status()["error"].endswith(f"in epoch {epoch}")
        assert (run.state(), run.status()["attempt"], run.status()["diverged"]) == ("failed", 1, 1)
        assert "it is not trained again unless its folder is deleted" in err
        assert "diverged" in out
        (table,) = read_json(tmp_path / "runs" / "default" / "summary.json")["tables"]
        assert [(row["n"], row["n_diverged"]) for row in table["rows"]] == [(0, 1)]
        assert run.provenance()["versions"], "the record of the attempt stays"
