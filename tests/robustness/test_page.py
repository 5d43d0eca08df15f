"""docs/robustness.md is the table of this folder's tests."""

from __future__ import annotations

import pytest

from scripts.robustness_page import PAGE, page
from tests.robustness import cases


def test_the_page_is_the_table_of_the_tests():
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(cases.all_rows()), "run python -m scripts.robustness_page"


def test_a_case_is_in_the_table_once(monkeypatch):
    monkeypatch.setattr(cases, "ROWS", [])
    cases.case("Images", have="an empty file", here="left out and named")
    with pytest.raises(ValueError, match="already"):
        cases.case("Images", have="an empty file", here="background")
    with pytest.raises(ValueError, match="no section"):
        cases.case("Films", have="an empty file", here="left out")
