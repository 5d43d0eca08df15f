"""The timed blocks: two forms each with the same weights, verified before."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_every_block_is_on_the_page_of_blocks() -> None:
    """Every block is in the table of costs; a paragraph and a straightforward form come together."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "blocks.md").read_text(encoding="utf-8")
    headings = {name for names in re.findall(r"^## (.*?)(?::|$)", page, re.MULTILINE) for name in names.split(", ")}
    assert set(block_names()) <= set(re.findall(r"^\| (\w+) \|", page.partition("## Options")[0], re.MULTILINE))
    assert headings & set(block_names()) == {*blocks.timed(), "conv3x3", "conv3x3_matched", "identity", "join"}
