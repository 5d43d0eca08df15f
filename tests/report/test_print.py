"""The page on paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from acmix_exp.report.figure_data import view
from acmix_exp.report.html import page
from acmix_exp.report.read_runs import collect
from acmix_exp.report.write import digest, write_summary
from tests.report import made
from tests.report.browser import Browser, executable

A4 = 718  # CSS pixels between margins of a centimetre


@pytest.mark.skipif(executable() is None, reason="no Chromium here: the page was not opened in a browser")
def test_the_table_fits_a_page_with_verdicts_of_two_lines(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    made.make(folder, seeds=2, epochs=1, pictures=False)
    tables = write_summary(folder)
    for row in tables[0]["rows"]:
        row |= {"image_low": -0.0123, "image_high": 0.0123}
    groups, _ = collect(folder)
    shown = {**view(folder, tables, groups), "drawn": []}
    file = tmp_path / "report.html"
    file.write_text(page(folder, shown, tmp_path, digest(tables)))
    with Browser() as browser:
        browser.open(file, width=A4)
        browser.call("Emulation.setEmulatedMedia", media="print")
        assert browser.evaluate("document.documentElement.scrollWidth") == A4
        verdicts = "[...document.querySelectorAll('.results td.wrap')]"
        assert "8 seeds would do" in browser.evaluate(f"{verdicts}.at(-1).textContent")
        lines = f"{verdicts}.map(cell => cell.clientHeight / parseFloat(getComputedStyle(cell).lineHeight))"
        assert max(browser.evaluate(lines)) < 3
