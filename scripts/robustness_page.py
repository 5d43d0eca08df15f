"""Write docs/robustness.md from the table in tests/robustness/.

python -m scripts.robustness_page
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import tests.conftest  # noqa: F401  # the settings of ultralytics are then not the user's
from tests.robustness.cases import Row, all_rows

PAGE = Path(__file__).resolve().parents[1] / "docs" / "robustness.md"
HEAD = """# Odd input, and what happens

Written by `python -m scripts.robustness_page` from the tests in `tests/robustness/`: each row is a test.
Either the input is used as it is meant, or one line names it. Nothing is dropped or replaced without a word.
"""


def page(rows: list[Row]) -> str:
    lines = [HEAD]
    for section, members in groupby(rows, lambda row: row.section):
        lines += [f"## {section}", "", "| what people have | what happens here | reported in |", "| --- | --- | --- |"]
        lines += [f"| {_cell(row.have)} | {_cell(row.here)} | {_cell(row.reported)} |" for row in members]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(all_rows()), encoding="utf-8")
