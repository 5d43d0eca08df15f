"""What is timed of the blocks: each in two forms with the same weights, proved before."""

from __future__ import annotations

import pytest

from acmix_exp.nn import block_names, build_block
from acmix_exp.nn.ema import EMAttention
from benchmarks import blocks
from benchmarks.straightforward import forwards
from benchmarks.verify import WrongResult


def test_every_block_with_a_straightforward_form_is_timed() -> None:
    used = {name: {type(module) for module in build_block(name, 64).modules()} for name in block_names()}
    assert set(blocks.timed()) == {name for name, classes in used.items() if classes & set(forwards())}
    assert len(blocks.timed()) >= 10
    assert {case.block for case in blocks.cpu_cases()} == set(blocks.timed()) - {"acmix"}


@pytest.mark.parametrize("name", blocks.timed())
def test_both_forms_pass(name: str) -> None:
    case = blocks.BlockCase(name, 2, 16, 8)
    for form in blocks.names("cpu", False):
        assert blocks.prove(form, case).name == form


def test_a_wrong_form_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = EMAttention.forward
    monkeypatch.setattr(EMAttention, "forward", lambda self, x: 1.0001 * right(self, x))
    with pytest.raises(WrongResult):
        blocks.prove(blocks.OURS, blocks.BlockCase("ema", 2, 16, 8))
