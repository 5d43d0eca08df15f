"""The page on paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.report.html import page
from acmix_exp.report.records import Interval
from acmix_exp.report.write import write_summary
from tests.report import builders
from tests.report.browser import Browser, executable

A4 = 718  # CSS pixels between margins of a centimetre


@pytest.mark.skipif(executable() is None, reason="no Chromium here: the page was not opened in a browser")
def test_the_table_fits_a_page_with_verdicts_of_two_lines(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    builders.add_runs(folder, seeds=2, epochs=1, pictures=False)
    (table,) = write_summary(folder)
    table = replace(table, rows=[replace(row, images=Interval(-0.0123, 0.0123)) for row in table.rows])
    file = tmp_path / "report.html"
    file.write_text(page("runs", [table], [], [], tmp_path))
    with Browser() as browser:
        browser.open(file, width=A4)
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.evaluate("document.documentElement.scrollWidth") == A4
        verdicts = "[...document.querySelectorAll('.results td.wrap')]"
        assert "too few seeds (6 needed)" in browser.evaluate(f"{verdicts}.at(-1).textContent")
        lines = f"{verdicts}.map(cell => cell.clientHeight / parseFloat(getComputedStyle(cell).lineHeight))"
        assert max(browser.evaluate(lines)) < 3
