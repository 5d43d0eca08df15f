"""Every sentence of a report has a Chinese one, with the same names in braces; and no Chinese one is left over."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmix_exp.report import build as report
from acmix_exp.report.columns import COLUMNS
from acmix_exp.report.family_notes import CHANGES
from acmix_exp.report.grouping import FORMATS
from acmix_exp.report.language import LANGUAGES, language, messages, speaking, tr
from acmix_exp.report.notes import HEADS
from acmix_exp.report.page_data import METRICS
from acmix_exp.report.planned import Asked
from acmix_exp.report.sentences import BETWEEN, COMPLEMENTS, PREDICATES, VERDICTS
from acmix_exp.report.statistics import Verdict
from acmix_exp.report.write import FOOTER
from acmix_exp.sweep.check import CHOICES
from tests.report import builders

FOLDER = Path(report.__file__).parent
NOUNS = ("seed", "paired seed", "run", "row", "comparison")
OTHERS = (
    *("pending", "running", "done", "failed", "interrupted", "diverged", "transferred", "rebuilt", "new", "unused"),
    "converted",
    *("version of {name}", "value of {name}"),
    *("which is not bit-exact", "parameters", "GFLOPs at 640 px"),
    *("commit", "kind of machine", "machine", "platform", "precision", "data set", "data fingerprint"),
)
TITLES = {
    *("Paired differences to the reference", "Learning curves", "Accuracy against latency"),
    *("The rates of every ACmix over the epochs", "Attention against convolution, by depth"),
    *("Confusion matrices", "Precision over recall", "F1 over confidence", "Labels of the data set"),
    *("Where the blocks sit", "Training and validation losses"),
    *("the folder has no statistics of the labels, which a training stores since 0.2.0",),
    *("no run has an outcomes.npz of version 2, which 0.2.0 began to write",),
    *("Differences class by class", "The same images for every arm", "Where attention looks", "Head by head"),
}

# Units, metrics and signs, which are the same.
UNCHANGED = {
    *("n", "p", "M", "MB", "ms", "±", " ± ", "mAP50", "val mAP", "GFLOPs", "FPS", "Stage I", "Stage II", "ultralytics"),
    *("{value}", "lr0 {value}"),
}


def literals() -> Iterator[str]:
    """The texts that the package passes to tr() in Python, in the template and in the script."""
    for path in FOLDER.rglob("*.py"):
        for function in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)):
            texts = {
                target.id: text
                for node in ast.walk(function)
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
                for text in constants(node.value)
            }
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr":
                    yield from constants(node.args[0])
                    if isinstance(node.args[0], ast.Name) and node.args[0].id in texts:
                        yield from all_assigned(function, node.args[0].id)
    yield from re.findall(r'\btr\("([^"]+)"', (FOLDER / "page.html.j2").read_text())
    for path in FOLDER.glob("page_*.js"):
        yield from re.findall(r'\bt\("([^"]+)"', path.read_text())


def constants(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from (*constants(node.body), *constants(node.orelse))


def all_assigned(function: ast.FunctionDef, name: str) -> Iterator[str]:
    for node in (node for node in ast.walk(function) if isinstance(node, ast.Assign)):
        if name in [each.id for each in node.targets if isinstance(each, ast.Name)]:
            yield from constants(node.value)


def needed() -> set[str]:
    tables = (VERDICTS, COMPLEMENTS, BETWEEN, CHANGES, METRICS, FORMATS, HEADS)
    found = {
        *literals(),
        *(text for table in tables for text in table.values()),
        *(text for forms in PREDICATES.values() for text in forms),
        *(word.replace("_", " ") for word in Verdict),
        *(f"{{number}} {noun}{ending}" for noun in NOUNS for ending in ("", "s")),
        *(text for column in COLUMNS for text in (column.heading, column.unit, column.join) if text),
        *OTHERS,
        *TITLES,
        FOOTER,
    }
    return found - UNCHANGED


def names(text: str) -> list[str]:
    return sorted(set(re.findall(r"\{(\w+)\}", text)))


def test_every_sentence_has_a_chinese_one() -> None:
    chinese = messages("zh")
    assert sorted(needed() - chinese.keys()) == []
    assert sorted(chinese.keys() - needed()) == []
    assert {text: found for text, found in chinese.items() if names(text) != names(found)} == {}


def test_a_language_is_spoken_only_within() -> None:
    assert tr("{number} seeds", number=3) == "3 seeds"
    with speaking("zh"):
        assert tr("{number} seeds", number=3) == "3 个种子"
        assert tr("a sentence of nobody") == "a sentence of nobody"
    assert language() == "en"
    assert CHOICES["report.language"] == LANGUAGES


def test_a_chinese_report(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    builders.add_runs(folder, ("baseline", "identity", "mixed"), seeds=6, epochs=2, pictures=False)
    (folder / "profile.json").write_text('{"rows": [], "hardware": {"cpu": "a laptop"}}')
    report.build(folder, Asked(language="zh"))
    page, markdown = (folder / "report.html").read_text(), (folder / "summary.md").read_text()
    assert '<html lang="zh">' in page
    assert "mixed (+" in page
    assert "优于 baseline" in page
    assert '"single seeds":"单个种子"' in page
    for text in (markdown, re.sub(r"<(script|style|svg|pre|figcaption)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)):
        assert "结论" in text
        assert [words for words in re.findall(r"(?:\b[A-Za-z]{3,} ){4,}", text) if "ablation" not in words] == []
    assert r"\caption" in (folder / "table.tex").read_text()
    assert not re.search(r"[一-鿿]", (folder / "table.tex").read_text())
    assert (folder / "summary.csv").read_text().startswith("arm,n,")


@pytest.mark.parametrize("value", ["de", "ZH"])
def test_an_unknown_language_is_refused(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from acmix_exp.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["acmix_exp", "task=report", f"report.language={value}"])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "report.language=" in line
    assert "en" in line
    assert "zh" in line
