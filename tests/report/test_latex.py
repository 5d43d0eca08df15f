"""table.tex: what is bold, and what LaTeX would choke on."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from acmix_exp.report.columns import PRESETS, chosen
from acmix_exp.report.latex import escape, latex
from acmix_exp.report.records import Cost, Row, Spread
from acmix_exp.report.statistics import Verdict
from tests.report.rows import row, table

PAPER = r"""\documentclass{article}\usepackage{booktabs}
\begin{document}\input{table.tex}\ref{tab:first-1}\end{document}"""
REFERENCE, BETTER, WORSE = Verdict.REFERENCE, Verdict.BETTER, Verdict.WORSE
NO_DIFFERENCE, TOO_FEW_SEEDS = Verdict.NO_DIFFERENCE, Verdict.TOO_FEW_SEEDS


def test_a_table() -> None:
    rows = [
        row("baseline", 0.3, REFERENCE, swept={"block.head": None}),
        row("my_arm", 0.4, BETTER, swept={"block.head": 4}),
    ]
    text = latex("first_try", [table(rows, "50 % of\nCOCO", ("100 %\nshared",))])
    lines = text.splitlines()
    assert r"\caption{50 \% of COCO. Means over 8 seeds; mAP50-95 with its standard deviation.}" in lines
    assert lines.count(r"\label{tab:first-try}") == 1
    assert [line for line in lines if "{table}" in line] == [r"\begin{table}[tbp]", r"\end{table}"]
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


def test_several_tables_have_labels_of_their_own() -> None:
    rows = [row("baseline", 0.3, REFERENCE)]
    text = latex("a_b 50%", [table(rows), table(rows)])
    assert re.findall(r"\\label\{(.+)\}", text) == ["tab:a-b-50-1", "tab:a-b-50-2"]


def test_the_thesis_table_has_the_columns_that_theses_have() -> None:
    cost = replace(COST, latency_from="profile", profiled_on="NVIDIA H200")
    scores = {"precision": Spread(0.812, None), "recall": Spread(0.604, None)}
    rows = [replace(row("baseline", 0.3, REFERENCE, cost=cost), **scores), row("mixed", 0.4, BETTER)]
    text = latex("t", [replace(table(rows), columns=chosen("thesis"))])
    lines = text.splitlines()
    assert "arm & P & R & mAP50 & mAP50-95 & params & FLOPs & FPS" in text
    assert r"baseline & $0.812$ & $0.604$ & $0.500$ & $0.300 \pm 0.012$ & $43.123$ & $165.74$ & $9.6$ \\" in lines
    assert r"mixed & -- & -- & $0.500$ & $\mathbf{0.400 \pm 0.012}$ & $3.011$ & $8.08$ & -- \\" in lines
    legend = [line for line in lines if line.startswith(r"\multicolumn")]
    assert legend == [r"\multicolumn{8}{@{}l}{FPS: one image at a time, float32, on NVIDIA H200.} \\"]


def test_words_and_large_numbers_of_any_column() -> None:
    cost = replace(COST, peak_memory_mb=2008.9, latency_from="run")
    names = ("memory", "latency_from", "in_family")
    text = latex("t", [replace(table([row("a", 0.3, REFERENCE, cost=cost)]), columns=names)])
    assert r"a & $2{,}009$ & run & False \\" in text


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
    tables = [replace(table(rows, name), columns=chosen(preset)) for name, rows in SETS.items() for preset in PRESETS]
    (tmp_path / "table.tex").write_text(latex("first", tables))
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
