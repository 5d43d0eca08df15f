"""Names of classes and arms as people write them, in every figure and every other output."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from acmix_exp.report.build import Report, build
from acmix_exp.report.terminal import terminal
from acmix_exp.tasks.report import say
from tests.report import builders, conftest
from tests.robustness.cases import case

folder, add = conftest.folder, conftest.add

SECTION = "Figures and numbers"
ODD = ("US$\\5$", "$x_1$", "_hidden", "a|b `c`", "[red]{x}^2 #1 ~%", "<b>&amp;</b> :car:")
CHINESE = ("红细胞", "白细胞", "血小板")


def experiment(folder: Path, monkeypatch: pytest.MonkeyPatch, classes: tuple[str, ...], arm: str = "mixed") -> Path:
    """Two finished runs with pictures, the classes and the inserting arm named so."""
    monkeypatch.setattr(builders, "CLASSES", classes[:3])
    for name in ("baseline", "mixed"):
        path = builders.add_run(folder, name, 0, epochs=3)
        if name == "mixed":
            for file in ("result.json", "status.json"):
                content = json.loads((path / file).read_text())
                (path / file).write_text(json.dumps({**content, "arm": arm}))
            config = yaml.safe_load((path / "config.yaml").read_text())
            config["arm"]["name"] = arm
            (path / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def built(folder: Path) -> tuple[Report, list[str]]:
    """The report, and the warnings that would have been shown."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        report = build(folder)
    assert not [figure for figure in report.figures if figure.error]
    return report, [str(warning.message) for warning in shown]


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Draw these kinds of figures; all of them take seconds."""
    from acmix_exp.report.figures import catalogue

    monkeypatch.setattr(catalogue, "FIGURES", {name: catalogue.FIGURES[name] for name in names})


def texts(folder: Path) -> str:
    """All words of the SVG files, as a reader sees them."""
    from html import unescape

    words = []
    for path in sorted((folder / "figures").glob("*.svg")):
        words += re.findall(r"<text[^>]*>([^<]*)", path.read_text(encoding="utf-8"))
    return "\n".join(map(unescape, words))


@pytest.mark.slow
@case(
    SECTION,
    have="`$`, `_`, `^`, `\\`, `{}`, `[]`, `<>`, `:car:` in the names of classes and arms",
    here="drawn as they are, never as a formula; escaped in table.tex, summary.md, the page and on the terminal",
)
@pytest.mark.parametrize("names", [ODD[:3], ODD[3:]], ids=["dollars", "brackets"])
def test_signs_are_drawn_as_they_are(tmp_path, monkeypatch, capsys, names):
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, names, arm=names[0])
    report, shown = built(folder)
    assert not shown
    drawn = texts(folder)
    for name in names:
        assert name in drawn, "in class_deltas"
    assert {figure.name for figure in report.figures} >= {"class_deltas", "predictions", "windows", "heads", "forest"}
    console = Console(width=250, emoji=False)
    with console.capture() as text:
        console.print(terminal(report.tables, 250))
    assert names[0] in text.get()
    say(report, folder, "en")
    assert names[0] in capsys.readouterr().out


def test_an_arm_with_every_sign_in_each_output(tmp_path, monkeypatch):
    only(monkeypatch, "forest")
    arm = "a|b $x_1$ `c` [red] *"
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, ("a", "b", "c"), arm=arm)
    built(folder)
    markdown = (folder / "summary.md").read_text()
    (row,) = [line for line in markdown.splitlines() if line.startswith("| a\\|b")]
    assert row.startswith(r"| a\|b \$x_1\$ \`c\` \[red\] \* |")
    header = next(line for line in markdown.splitlines() if line.startswith("| arm"))
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", header))
    assert r"a\textbar{}b \$x\_1\$ `c` {[}red{]} {*} &" in (folder / "table.tex").read_text()
    assert json.loads((folder / "summary.json").read_text())["tables"][0]["rows"][1]["arm"] == arm
    assert f'<th scope="row">{arm}</th>' in (folder / "report.html").read_text()


@case(
    SECTION,
    have="an arm called `[x]` or `*`, first in a line of table.tex",
    here="in braces: LaTeX would take it for an option of the line above",
)
@pytest.mark.parametrize(("arm", "cell"), [("[x]", "{[}x{]}"), ("*", "{*}")])
def test_the_first_sign_of_a_line_of_latex(tmp_path, monkeypatch, arm, cell):
    only(monkeypatch, "forest")
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, ("a", "b", "c"), arm=arm)
    built(folder)
    assert f"\n{cell} & " in (folder / "table.tex").read_text()


def has_chinese() -> bool:
    from acmix_exp.report.figures.fonts import _families

    return bool(_families(set("".join(CHINESE))))


@case(
    SECTION,
    have="Chinese, Japanese or Korean class names",
    here="drawn in every figure with any installed font that has them",
)
def test_chinese_names_are_drawn_where_a_font_is_installed(tmp_path, monkeypatch, capsys):
    if not has_chinese():
        pytest.skip("no installed font has Chinese characters")
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, CHINESE, arm="混合")
    report, shown = built(folder)
    assert not shown
    assert all(note.startswith("left out: ") for note in report.notes)
    assert all(name in texts(folder) for name in CHINESE)
    assert (folder / "figures" / "windows-混合.png").is_file()


@case(
    SECTION,
    have="class names in a script that no installed font has",
    here="one line names the characters and the package to install, on the terminal and on the page",
)
@pytest.mark.parametrize(
    ("classes", "package"),
    [
        (CHINESE, "fonts-noto-cjk"),
        (("りんご", "사과", "ＡＢＣ"), "fonts-noto-cjk"),
        (("แมว", "बिल्ली", "c"), "fonts-noto-core"),
        (("🦊", "🦊 a", "b"), "fonts-symbola"),
    ],
    ids=["chinese", "japanese-korean", "thai-hindi", "emoji"],
)
def test_without_a_font_one_line_names_the_package(tmp_path, monkeypatch, capsys, classes, package):
    from acmix_exp.report.figures import fonts

    only(monkeypatch, "class_deltas")
    monkeypatch.setattr(fonts, "_families", lambda characters: [])
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, classes)
    report, shown = built(folder)
    assert not shown
    (note,) = [note for note in report.notes if not note.startswith("left out: ")]
    assert package in note
    assert "\n" not in note
    assert note in (folder / "report.html").read_text()
    say(report, folder, "en")
    out = capsys.readouterr()
    assert out.out.count(package) == 1
    assert not out.err


def test_a_character_of_another_installed_font_is_drawn(tmp_path, monkeypatch):
    """Of a font that comes with matplotlib and is not the usual one, as those that people install."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    from acmix_exp.report.figures.fonts import USUAL

    usual, other = (FT2Font(font_manager.findfont(name)).get_charmap() for name in (USUAL, "STIXGeneral"))
    only(monkeypatch, "class_deltas")
    letters = map(chr, sorted(set(other) - set(usual)))
    letter = next(letter for letter in letters if letter.isalpha())
    folder = experiment(tmp_path / "runs" / "test", monkeypatch, (f"a{letter}", "b", "c"))
    report, shown = built(folder)
    assert not shown
    assert all(note.startswith("left out: ") for note in report.notes)


@pytest.mark.slow
def test_arms_whose_names_have_no_letter_in_common_have_figures_of_their_own(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "test"
    experiment(folder, monkeypatch, ("a", "b", "c"), arm="混合")
    path = builders.add_run(folder, "attention", 0, epochs=3)
    for file in ("result.json", "status.json"):
        (path / file).write_text((path / file).read_text().replace('"attention"', '"混 合"'))
    config = (path / "config.yaml").read_text().replace("name: attention", "name: 混-合")
    (path / "config.yaml").write_text(config)
    (path / "status.json").write_text((path / "status.json").read_text())
    only(monkeypatch, "windows")
    report, _ = built(folder)
    stems = [figure.stem for figure in report.figures]
    assert len(stems) == len(set(stems))
    assert len([stem for stem in stems if stem.startswith("windows-")]) == 2


@case(
    SECTION,
    have="an attention window at the border, where reflection puts several taps onto one cell",
    here="drawn as a ratio to uniform attention of the same cell, so that uniform attention is flat there too",
)
def test_attention_that_is_uniform_is_flat_on_disk(tmp_path, monkeypatch):
    """The picture itself: each panel of uniform attention has one colour over a grey image of one brightness."""
    import cv2
    import numpy as np

    folder = experiment(tmp_path / "runs" / "test", monkeypatch, ("a", "b", "c"))
    images = next(folder.glob("mixed-s0-*")) / "images"
    cv2.imwrite(str(images / "0.jpg"), np.full((320, 320, 3), 128, np.uint8))
    content = json.loads((images / "windows.json").read_text())
    content["points"] = [{"x": 0.02, "y": 0.02, "of": None}]
    for site in content["sites"]:
        rows = [builders._reflect(tap - 3, site["map"][0]) for tap in range(7)]
        window = {"site": [0, 0], "rows": rows, "columns": rows, "mean": np.full((7, 7), 1 / 49).tolist()}
        site["windows"] = [{**window, "heads": None}]
    (images / "windows.json").write_text(json.dumps(content))
    only(monkeypatch, "windows")
    built(folder)
    picture = cv2.imread(str(folder / "figures" / "windows-mixed.png"))
    height = picture.shape[0]
    panel = picture[int(0.05 * height) : int(0.95 * height), : int(0.6 * picture.shape[1])]
    colours, counts = np.unique(panel.reshape(-1, 3), axis=0, return_counts=True)
    large = sorted(zip(counts.tolist(), colours.tolist(), strict=True), reverse=True)[:4]
    levels = {colour[0] // 10 for number, colour in large if number > 0.01 * panel.size}
    assert levels == {11, 19, 25}, "image, window and paper"


@case(
    SECTION,
    have="finished runs of version 0.1, or ones whose outcomes.npz is lost or cut",
    here="figures that need it are left out, a line and the page name them and say why; the others are drawn",
)
@pytest.mark.parametrize("damage", ["lost", "cut"])
def test_figures_without_their_data(folder, add, monkeypatch, damage):
    only(monkeypatch, "precision_recall", "f1_confidence", "confusion", "learning_curves")
    path = add("baseline", 0, 0.3)
    if damage == "cut":
        (path / "outcomes.npz").write_bytes(b"PK")
    report = build(folder)
    assert [figure.error for figure in report.figures if figure.error] == []
    why = "left out: precision_recall, f1_confidence, confusion, because no run has a readable outcomes.npz"
    assert report.notes[0] == why
    assert why in (folder / "report.html").read_text()
