"""table.tex: what is bold, and what LaTeX would choke on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.latex import escape, latex

PAPER = r"""\documentclass{article}\usepackage{booktabs}
\begin{document}\begin{table}\centering\input{table.tex}\end{table}\end{document}"""


def row(arm: str, mean: float | None, verdict: str | None, **changes: Any) -> dict[str, Any]:
    compared = verdict not in ("reference", None)
    values = {"map50_95_mean": mean, "map50_95_std": 0.0123, "map50_mean": 0.5, "n": 8, "verdict": verdict}
    deltas = {"delta_mean": 0.01, "delta_low": -0.002, "delta_high": 0.022, "p_adjusted": 0.375} if compared else {}
    empty = dict.fromkeys(("delta_mean", "delta_low", "delta_high", "p_adjusted"))
    costs = {"parameters": 3_011_433, "gflops": 8.08, "latency_ms_b1": None}
    seeds = [{"seed": seed, "map50_95": (mean or 0) + seed / 100} for seed in range(8)]
    return {"arm": arm, **values, **empty, **deltas, "in_family": compared, **costs, "values": seeds, **changes}


def table_of(rows: list[dict[str, Any]], swept: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"swept_keys": list(swept), "reference": "baseline", "rows": rows, "notes": list(notes)}


def test_a_table() -> None:
    rows = [
        row("baseline", 0.3, "reference", **{"block.head": None}),
        row("my_arm", 0.4, "better", **{"block.head": 4}),
    ]
    text = latex("first_try", [table_of(rows, ("block.head",), ("100 %\nshared",))], ["50 % of\nCOCO"])
    lines = text.splitlines()
    assert "% 50 % of COCO" in lines
    assert "% 100 % shared" in lines
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1
    assert r"baseline & -- & 8 & $0.300 \pm 0.012$ & -- & -- & -- & -- & 3.01 & 8.08 & -- \\" in lines
    assert (
        r"my\_arm & 4 & 8 & $\mathbf{0.400 \pm 0.012}$ & $+0.010$ & $[-0.002, 0.022]$ & 0.375 & better & 3.01 & 8.08"
        r" & -- \\" in lines
    )
    columns = re.search(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", text)
    assert columns
    cells = [line for line in lines if line.endswith(r"\\") and not line.startswith(r"\multicolumn")]
    assert all(line.count(" & ") == len(columns[1]) - 1 for line in cells)


def test_short_verdicts_are_explained_once() -> None:
    few = "n too small to tell ({} seeds would do)".format
    rows = [
        row("baseline", 0.3, "reference"),
        row("identity", 0.3, few(6), in_family=False),
        *(row(arm, 0.3, few(8)) for arm in ("conv", "mixed")),
    ]
    text = latex("first", [table_of(rows)], ["one"])
    assert text.count("& few &") == 3
    assert text.count("too few seeds to tell; enough would be 8, 6 for identity.") == 1
    assert "n.s." not in text
    rows = [row("baseline", 0.3, "reference"), row("conv", 0.3, "no difference shown", p_adjusted=0.00002)]
    text = latex("first", [table_of(rows)], ["one"])
    assert "& $<$0.001 & n.s. &" in text
    assert text.count("n.s.: no difference shown.") == 1
    assert "few" not in text


COSTS = {"parameters": 43_123_456, "gflops": 165.74, "latency_ms_b1": 104.3}
SIX = ("identity", "conv3x3", "conv", "attention", "mixed")
SETS = {
    "few": [
        row("baseline", 0.3, "reference"),
        *(row(arm, 0.3, "n too small to tell (8 seeds would do)") for arm in SIX),
    ],
    "bold": [row("baseline", 0.5, "reference"), *(row(arm, 0.3, "worse", p_adjusted=0.0002) for arm in SIX)],
    "letters": [
        row("base_line", 0.3, "reference"),
        row("a&b", 0.4, "better"),
        row("50%", None, None, map50_95_std=None),
    ],
    "long": [row("baseline", 0.3, "reference"), row("polarized_sequential", 0.3, "no difference shown", **COSTS)],
    "swept": [
        row("baseline", 0.3, "reference", **{"block.kernel_att": None}),
        row("acmix-mixed", 0.3, "no difference shown", **COSTS, **{"block.kernel_att": 7}),
    ],
}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_it_fits_the_text_of_an_article(tmp_path: Path) -> None:
    tables = [table_of(rows, ("block.kernel_att",) if name == "swept" else ()) for name, rows in SETS.items()]
    (tmp_path / "table.tex").write_text(latex("first", tables, list(SETS)))
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
