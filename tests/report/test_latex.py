"""table.tex: what is bold, and what LaTeX would choke on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from acmix_exp.report.latex import escape, latex
from acmix_exp.report.records import Cost, Row
from acmix_exp.report.statistics import Verdict
from tests.report.rows import row, table

PAPER = r"""\documentclass{article}\usepackage{booktabs}
\begin{document}\begin{table}\centering\input{table.tex}\end{table}\end{document}"""
REFERENCE, BETTER, WORSE = Verdict.REFERENCE, Verdict.BETTER, Verdict.WORSE
NO_DIFFERENCE, TOO_FEW_SEEDS = Verdict.NO_DIFFERENCE, Verdict.TOO_FEW_SEEDS


def test_a_table() -> None:
    rows = [
        row("baseline", 0.3, REFERENCE, swept={"block.head": None}),
        row("my_arm", 0.4, BETTER, swept={"block.head": 4}),
    ]
    text = latex("first_try", [table(rows, "50 % of\nCOCO", ("100 %\nshared",))])
    lines = text.splitlines()
    assert "% 50 % of COCO" in lines
    assert "% 100 % shared" in lines
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1
    assert r"baseline & -- & $8$ & $0.300 \pm 0.012$ & -- & -- & -- & -- & $3.011$ & $8.08$ & -- \\" in lines
    assert (
        r"my\_arm & 4 & $8$ & $\mathbf{0.400 \pm 0.012}$ & $+0.010$ & $[-0.007, +0.027]$ & $0.375$ & better"
        r" & $3.011$ & $8.08$ & -- \\" in lines
    )
    columns = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
    assert columns
    cells = [line for line in lines if line.endswith(r"\\") and not line.startswith(r"\multicolumn")]
    assert all(line.count(" & ") == len(columns[1]) - 1 for line in cells)


def test_short_verdicts_are_explained_once() -> None:
    rows = [
        row("baseline", 0.3, REFERENCE),
        row("identity", 0.3, TOO_FEW_SEEDS, seeds_needed=6, in_family=False),
        *(row(arm, 0.3, TOO_FEW_SEEDS) for arm in ("conv", "mixed")),
    ]
    text = latex("first", [table(rows)])
    assert text.count("& few &") == 3
    assert text.count("few: too few seeds; needed are 8, 6 for identity.") == 1
    assert "n.s." not in text
    rows = [row("baseline", 0.3, REFERENCE), row("conv", 0.3, NO_DIFFERENCE, p_adjusted=0.00002)]
    text = latex("first", [table(rows)])
    assert "& $<0.001$ & n.s. &" in text
    assert text.count("n.s.: no significant difference.") == 1
    assert "few" not in text


COST = Cost(43_123_456, 165.74, latency_ms_b1=104.31)
SIX = ("identity", "conv3x3", "conv", "attention", "mixed")
SETS: dict[str, list[Row]] = {
    "few": [row("baseline", 0.3, REFERENCE), *(row(arm, 0.3, TOO_FEW_SEEDS) for arm in SIX)],
    "bold": [row("baseline", 0.5, REFERENCE), *(row(arm, 0.3, WORSE, p_adjusted=0.0002) for arm in SIX)],
    "letters": [row("base_line", 0.3, REFERENCE), row("a&b", 0.4, BETTER), row("50%", None, None, std=None)],
    "harness": [row("baseline", 0.3, REFERENCE), row("identity", 0.3, Verdict.HARNESS_FAULT, cost=COST)],
    "long": [row("baseline", 0.3, REFERENCE), row("polarized_sequential", 0.3, NO_DIFFERENCE, cost=COST)],
    "swept": [
        row("baseline", 0.3, REFERENCE, swept={"block.kernel_att": None}),
        row("acmix-mixed", 0.3, NO_DIFFERENCE, cost=COST, swept={"block.kernel_att": 7}),
    ],
}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_it_fits_the_text_of_an_article(tmp_path: Path) -> None:
    (tmp_path / "table.tex").write_text(latex("first", [table(rows, name) for name, rows in SETS.items()]))
    (tmp_path / "paper.tex").write_text(PAPER)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout


def test_special_letters() -> None:
    assert escape(r"50% a_b & {c} #1 $x^2$ ~\ <|>") == (
        r"50\% a\_b \& \{c\} \#1 \$x\textasciicircum{}2\$ \textasciitilde{}\textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )
