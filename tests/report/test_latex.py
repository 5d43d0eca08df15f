"""table.tex: what is bold, and what LaTeX would choke on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.latex import best_row, escape, latex

PAPER = r"""\documentclass{article}\usepackage{booktabs}\usepackage[landscape,margin=1cm]{geometry}
\begin{document}\begin{table}\input{table.tex}\end{table}\end{document}"""


def row(arm: str, mean: float | None, verdict: str | None, **changes: Any) -> dict[str, Any]:
    compared = verdict not in ("reference", None)
    values = {"map50_95_mean": mean, "map50_95_std": 0.0123, "map50_mean": 0.5, "n": 8, "verdict": verdict}
    deltas = {"delta_mean": 0.01, "delta_low": -0.002, "delta_high": 0.022} if compared else {}
    empty = dict.fromkeys(("delta_mean", "delta_low", "delta_high"))
    costs = {"parameters": 3_011_433, "gflops": 8.08, "latency_ms_b1": None}
    return {"arm": arm, **values, **empty, **deltas, "in_family": compared, **costs, **changes}


@pytest.mark.parametrize(
    ("rows", "bold"),
    [
        ([("baseline", 0.3, "reference"), ("a", 0.4, "better"), ("b", 0.35, "better")], 1),
        ([("baseline", 0.3, "reference"), ("a", 0.4, "no difference shown")], None),
        ([("baseline", 0.3, "reference"), ("a", 0.4, "n too small to tell (6 seeds would do)")], None),
        ([("baseline", 0.3, "reference"), ("a", 0.35, "better"), ("b", 0.4, "no difference shown")], None),
        ([("baseline", 0.5, "reference"), ("a", 0.4, "worse"), ("b", 0.3, "worse")], 0),
        ([("baseline", 0.5, "reference"), ("a", 0.4, "worse"), ("b", 0.3, "no difference shown")], None),
        ([("baseline", 0.5, "reference")], None),
        ([("baseline", None, "reference"), ("a", None, None)], None),
    ],
)
def test_bold_only_where_the_verdict_allows_it(rows: list[tuple[str, float | None, str]], bold: int | None) -> None:
    assert best_row([row(*values) for values in rows]) == bold


def test_a_table() -> None:
    rows = [
        row("baseline", 0.3, "reference", **{"block.head": None}),
        row("my_arm", 0.4, "better", **{"block.head": 4}),
    ]
    table = {"swept_keys": ["block.head"], "reference": "baseline", "rows": rows, "notes": ["100 %\nshared"]}
    text = latex("first_try", [table], ["50 % of\nCOCO"])
    lines = text.splitlines()
    assert "% 50 % of COCO" in lines
    assert "% 100 % shared" in lines
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1
    assert r"baseline & -- & 8 & $0.300 \pm 0.012$ & 0.500 & -- & -- & reference & 3.01 & 8.08 & -- \\" in lines
    assert (
        r"my\_arm & 4 & 8 & $\mathbf{0.400 \pm 0.012}$ & 0.500 & $+0.010$ & $[-0.002, +0.022]$ & better & 3.01 & 8.08"
        r" & -- \\" in lines
    )
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert all(line.count(" & ") == len(columns) - 1 for line in lines if line.endswith(r"\\"))


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_latex_takes_it(tmp_path: Path) -> None:
    rows = [row("base_line", 0.3, "reference"), row("a&b", 0.4, "better"), row("50%", None, None, map50_95_std=None)]
    table = {"swept_keys": [], "reference": "base_line", "rows": rows, "notes": []}
    (tmp_path / "table.tex").write_text(latex("first", [table], ["one"]))
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
