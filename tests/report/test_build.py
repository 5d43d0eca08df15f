"""The whole report, from folders as they are: finished, partial, copied, merged, stopped in the middle."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acmix_exp.report.build import build, is_current
from acmix_exp.report.columns import Output, columns
from acmix_exp.report.planned import Asked
from acmix_exp.report.write import write_summary
from tests.report import builders

VECTORS = ("forest", "learning_curves", "latency", "losses", "class_deltas", "rates", "rate_ratio", "placements")
PHOTOGRAPHS = ("predictions", "windows-attention", "windows-mixed", "heads-attention", "heads-mixed")


class Page(HTMLParser):
    """tables: by class and number, rows of cells (attributes, text). tags: every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[tuple[str, str], list[list[tuple[dict[str, Any], str]]]] = {}
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[Any] = []
        self.cell: list[Any] | None = None
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self.rows = self.tables[(str(found["class"]), str(found.get("data-table", "")))] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.cell = [found, ""]

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell:
            self.rows[-1].append(tuple(self.cell))
            self.cell = None

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.cell:
            self.cell[1] += data


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms with eight seeds each, reported."""
    folder = tmp_path_factory.mktemp("whole") / "runs" / "ablation"
    builders.add_runs(folder, ("baseline", "conv", "attention", "mixed"), seeds=8, epochs=4)
    build(folder)
    return folder


@pytest.fixture(scope="module")
def text(whole: Path) -> str:
    return (whole / "report.html").read_text()


def summary(folder: Path) -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = json.loads((folder / "summary.json").read_text())["tables"]
    return tables


def test_every_file_is_there_and_nothing_else(whole: Path) -> None:
    names = [f"{stem}.png" for stem in (*VECTORS, *PHOTOGRAPHS)] + [f"{stem}.svg" for stem in VECTORS]
    assert sorted(path.name for path in (whole / "figures").iterdir()) == sorted(names)
    for path in (whole / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 200
    files = {path.name for path in whole.iterdir() if path.is_file()}
    assert files - {".summary.lock", ".report.lock"} == {
        *("report.html", "table.tex", "summary.json", "summary.csv", "summary.md")
    }
    assert not list(whole.glob(".report-*"))
    assert is_current(whole)


def test_a_page_of_other_tables_is_not_current(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ablation"
    shutil.copytree(whole, folder)
    write_summary(folder)
    assert is_current(folder)
    write_summary(folder, Asked("conv"))
    assert not is_current(folder), "another reference"
    write_summary(folder)
    assert is_current(folder)
    (folder / "profile.json").write_text('{"rows": [{}], "hardware": {"cpu": "a laptop"}}')
    assert not is_current(folder), "a profile of later"
    os.utime(folder / "profile.json", (0, 0))
    assert is_current(folder)
    write_summary(folder)
    assert not is_current(folder), "a note on the profile"


def test_the_page_needs_nothing_else(text: str) -> None:
    outside = {
        value
        for _, found in Page(text).tags
        for name, value in found.items()
        if name in ("src", "href", "xlink:href", "data", "action", "srcset") and not value.startswith(("#", "data:"))
    }
    assert outside == set()
    assert not re.search(r"url\((?!#)", text)
    assert len(text) < 4_000_000


def check_numbers(rows: list[list[tuple[dict[str, Any], str]]], table: dict[str, Any], output: Output = "html") -> None:
    """Every cell of the page's table against summary.json: the raw values, and the first as it is rounded."""
    forms = {" ".join(column.numbers): column.form for column in columns(output)}
    assert [row[0][1] for row in rows[1:]] == [row["arm"] for row in table["rows"]]
    for cells, row in zip(rows[1:], table["rows"], strict=True):
        assert [found["data-key"] for found, _ in cells[1:]] == [*table["swept_keys"], *forms]
        for found, words in cells[1:]:
            values = [row[key] for key in found["data-key"].split(" ")]
            assert json.loads(found["data-value"]) == values
            form = forms.get(found["data-key"], "")
            if values[0] is None:
                assert words == "–"
            elif form[-1:] in ("f", "d"):
                assert words.split(" ")[0] == format(values[0], form)


def test_a_number_has_the_same_text_everywhere(whole: Path, text: str) -> None:
    """Every cell of summary.md is a cell of the page, and every number of table.tex one of summary.md's."""
    shown = {words for table in Page(text).tables.values() for row in table for _, words in row}
    written = {
        cell.strip() for line in (whole / "summary.md").read_text().splitlines() for cell in line.split("|")[1:-1]
    }
    written = {cell for cell in written if not cell.startswith("---")}
    assert {"95 % CI (images)", "parameters (M)", "0.350"} - written == {"0.350"}
    assert written <= shown
    numbers = set(re.findall(r"[\d.]*\d\.\d+", " ".join(shown)))
    tabular = re.sub(r"(?m)^[%\\].*$", "", (whole / "table.tex").read_text())
    assert set(re.findall(r"[\d.]*\d\.\d+", tabular)) <= numbers


def test_the_tables_numbers_are_those_of_summary_json(whole: Path, text: str) -> None:
    (table,) = summary(whole)
    check_numbers(Page(text).tables[("results", "0")], table)
    check_numbers(Page(text).tables[("evidence", "0")], table, "evidence")
    with open(whole / "summary.csv", newline="") as file:
        assert [row["arm"] for row in csv.DictReader(file)] == ["baseline", "conv", "attention", "mixed"]


def test_the_verdict_comes_first_and_the_command_is_included(text: str) -> None:
    words = Page(text).words
    first = "mixed (+0.030) is better than baseline; conv (-0.017) is worse than baseline; attention does not differ"
    parts = (first, "95 % CI (simultaneous)", "Better than baseline: mixed.", "Provenance\n")
    places = [words.index(part) for part in parts]
    assert places == sorted(places)
    assert "python -m acmix_exp +experiment=ablation_full dataset=yolo dataset.path=data.yaml" in words
    assert "3e6d5164acd3ca98579c513590e91a54718079a8" in words
    assert "32 runs done" in words


def test_names_of_users_are_escaped(text: str) -> None:
    assert "<b>" not in text
    assert "Platelets &amp; &lt;b&gt;rest&lt;/b&gt;" in text


def test_the_page_is_accessible(text: str) -> None:
    page = Page(text)
    tags = dict(page.tags)
    assert tags["html"]["lang"] == "en"
    assert "viewport" in [found.get("name") for tag, found in page.tags if tag == "meta"]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    for tag, found in page.tags:
        if tag == "img":
            assert found["alt"]
        if tag == "svg":
            assert found["role"] == "img"
            assert found["aria-label"]
    drawings = [found for tag, found in page.tags if tag == "svg"]
    assert {found["class"] for found in drawings if "class" in found} == {"axis", "line"}
    assert sum("class" in found for found in drawings) == 1 + 4, "an axis and a line for every arm"
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert sum(tag == "img" for tag, _ in page.tags) == len(PHOTOGRAPHS)
    assert sum("class" not in found for found in drawings) == len(VECTORS)


def run_task(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys; from acmix_exp.cli import main; code = main();"
        "heavy = {'torch', 'ultralytics', 'torchvision'} & set(sys.modules);"
        "print('heavy', sorted(heavy)); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, "task=report", "logger=disabled", *arguments]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=200, check=False)


def messy(folder: Path) -> None:
    """One arm of four done on another machine, one failed, one never begun, files missing and torn."""
    builders.add_runs(folder, ("baseline", "mixed"), seeds=2, epochs=3)
    builders.add_run(folder, "attention", 0, 3, hardware=builders.GPU)
    (folder / "notes").mkdir()  # no run: no config
    failed = builders.add_run(folder, "conv", 0, 3)
    (failed / "result.json").unlink()
    status = json.loads((failed / "status.json").read_text())
    status |= {"status": "failed", "error": "out of memory & <more>", "attempt": 2}
    (failed / "status.json").write_text(json.dumps(status))
    waiting = builders.add_run(folder, "conv", 1, 3)
    for path in waiting.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (sorted(folder.glob("mixed-*"))[0] / "images" / "images.json").write_text("{torn")
    (next(folder.glob("attention-*/images")) / "windows.json").write_text('{"sites": 3}')
    (sorted(folder.glob("baseline-*"))[0] / "history.csv").unlink()


@pytest.mark.slow
def test_a_copied_folder_partial_and_of_two_machines(tmp_path: Path) -> None:
    messy(tmp_path / "theirs" / "runs" / "mixed")
    shutil.copytree(tmp_path / "theirs" / "runs", tmp_path / "mine" / "elsewhere")
    done = run_task(tmp_path / "mine", "name=mixed", "runs_dir=elsewhere")
    assert done.returncode == 0, done.stderr
    assert "heavy []" in done.stdout
    assert "written to elsewhere/mixed: report.html" in done.stdout
    assert "windows could not be drawn: " in done.stdout
    page = Page((tmp_path / "mine" / "elsewhere" / "mixed" / "report.html").read_text())
    assert "more than one kind of machine: AMD EPYC (4 runs), NVIDIA H200 (attention-s0-" in page.words
    assert "Times and memory are those of the runs on AMD EPYC (2 cores)" in page.words
    assert "1 run failed" in page.words
    assert "1 run pending" in page.words
    runs = {row[0][1].split("-s")[0] + row[1][1]: row for row in page.tables[("runs", "")][1:]}
    assert runs["convfailed"][-1][1] == "attempt 2, out of memory & <more>"
    assert "Too few seeds (6 needed): attention, mixed." in page.words
    costs = {row[0][1]: [text for _, text in row[1:]] for row in page.tables[("costs", "0")][1:]}
    assert costs["mixed"][0] == "3.290"
    assert costs["conv"][0] == "–"
    assert not list((tmp_path / "theirs").rglob("report.html"))


@pytest.mark.parametrize("arm", ["baseline", "mixed"])
def test_one_run_is_enough(tmp_path: Path, arm: str) -> None:
    folder = tmp_path / "one"
    builders.add_run(folder, arm, 0, epochs=1, pictures=False)
    report = build(folder)
    assert [entry for entry in report.figures if entry.error] == []
    drawn = {path.stem for path in (folder / "figures").glob("*.svg")}
    of_blocks = {"rates", "rate_ratio", "placements"}
    assert drawn == {"learning_curves", "latency", "losses"} | (of_blocks if arm == "mixed" else set())
    assert "There is nothing to compare with" in (folder / "report.html").read_text()


def test_figures_of_two_tables_and_removal_of_old_ones(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    builders.add_runs(folder, ("baseline", "mixed"), seeds=1, epochs=2, pictures=False)
    (folder / "figures").mkdir()
    (folder / "figures" / "old.png").write_bytes(b"")
    (folder / "figures" / "mine.txt").write_text("kept")
    short = builders.add_run(folder, "baseline", 1, epochs=3, pictures=False)
    assert short.is_dir()
    build(folder)
    drawn = {path.name for path in (folder / "figures").iterdir()}
    assert {"forest-1.svg", "latency-1.png", "latency-2.png", "mine.txt"} <= drawn
    assert "old.png" not in drawn
    assert "forest-2.svg" not in drawn
    page = Page((folder / "report.html").read_text())
    for place, table in enumerate(summary(folder)):
        check_numbers(page.tables[("results", str(place))], table)


def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    builders.add_run(tmp_path / "runs" / "real", "baseline", 0, 1, pictures=False)
    done = run_task(tmp_path, "name=reel")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["acmix_exp: name=reel: no runs in runs/reel; must be one of real"]
    assert not (tmp_path / "runs" / "reel").exists()


@pytest.mark.slow
def test_stopped_in_the_middle(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "ablation"
    shutil.copytree(whole, folder)
    before = {path: path.read_bytes() for path in (*folder.glob("figures/*"), folder / "report.html")}
    command = [sys.executable, "-m", "acmix_exp", "task=report", "name=ablation", "logger=disabled"]
    process = subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(folder.glob(".report-*/*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not list(folder.glob(".report-*"))
    assert {path: path.read_bytes() for path in before} == before
    assert set(folder.glob("figures/*")) == {path for path in before if path.parent.name == "figures"}


@pytest.mark.slow
def test_sixty_runs_in_twenty_seconds(tmp_path: Path) -> None:
    builders.add_runs(tmp_path / "big", seeds=10, epochs=50)
    start = time.process_time()
    report = build(tmp_path / "big")
    assert time.process_time() - start < 20
    assert [entry for entry in report.figures if entry.error] == []
