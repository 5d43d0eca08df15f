"""The page of blocks speaks of every block, and its numbers are those that are counted."""

from __future__ import annotations

import re

from acmix_exp.nn import block_names
from benchmarks import block_costs, blocks

PAGE = block_costs.PAGE.read_text(encoding="utf-8")


def test_the_table_is_up_to_date() -> None:
    assert block_costs.BEGIN in PAGE
    assert block_costs.with_table(PAGE) == PAGE, "run: python -m benchmarks.block_costs"


def test_a_number_that_was_changed_is_noticed() -> None:
    changed = PAGE.replace("| acmix | **mixed** | 17,822", "| acmix | **mixed** | 17,823")
    assert changed != PAGE
    assert block_costs.with_table(changed) == PAGE


def test_every_block_is_on_the_page() -> None:
    """Every block is in the table of costs; a paragraph and a straightforward form come together."""
    headings = {name for names in re.findall(r"^## (.*?)(?::|$)", PAGE, re.MULTILINE) for name in names.split(", ")}
    assert set(block_names()) <= set(re.findall(r"^\| (\w+) \|", block_costs.table(), re.MULTILINE))
    assert headings & set(block_names()) == {*blocks.timed(), "conv3x3", "identity"}
