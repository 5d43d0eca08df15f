"""docs/results/: the archive of each publication is complete, and its report is the page beside it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from acmix_exp.report.write import digest

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.glob("*/runs.tar.xz"))
TEXTS = ("summary.md", "summary.csv", "summary.json", "table.tex")
RUN_FILES = {"config.yaml", "history.csv", "outcomes.npz", "provenance.json", "result.json", "status.json"}

pytestmark = pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)


def undated(page: Path) -> str:
    return re.sub(r"Made [\d-]+ [\d:]+ UTC", "Made", page.read_text(encoding="utf-8"))


def test_the_archive_holds_every_run_of_the_table(folder: Path) -> None:
    with tarfile.open(folder / "runs.tar.xz") as archive:
        paths = [Path(name) for name in archive.getnames()]
    assert {path.parts[0] for path in paths} == {folder.name}
    beside = {path.name for path in paths if len(path.parts) == 2}
    assert {name for name in beside if not name.startswith("labels-")} == {"profile.json"}
    runs: dict[str, set[str]] = {}
    for path in (path for path in paths if len(path.parts) > 2):
        runs.setdefault(path.parts[1], set()).add(path.parts[2])
    assert all(files - {"images", "provenance.diff"} == RUN_FILES for files in runs.values())
    counts: Counter[str] = Counter()
    for number, table in enumerate(json.loads((folder / "summary.json").read_text())["tables"]):
        for row in table["rows"]:
            if not number or row["arm"] != table["reference"]:  # tables share the runs of the reference
                counts[row["arm"]] += row["n"]
    assert Counter(name.rsplit("-", 2)[0] for name in runs) == counts
    assert {name.rsplit("-", 2)[1] for name, files in runs.items() if "images" in files} == {"s0"}


def test_the_page_is_of_the_tables_beside_it(folder: Path) -> None:
    tables = json.loads((folder / "summary.json").read_text())["tables"]
    assert digest(tables) in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_report_of_the_unpacked_archive_is_the_page(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(folder / "runs.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    arguments = ("task=report", f"name={folder.name}", f"runs_dir={tmp_path}", "logger=disabled")
    made = subprocess.run(
        [sys.executable, "-m", "acmix_exp", *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    for name in TEXTS:
        assert (tmp_path / folder.name / name).read_bytes() == (folder / name).read_bytes(), name
    assert undated(tmp_path / folder.name / "report.html") == undated(folder / "report.html")
    for path in (folder / "figures").iterdir():
        assert (tmp_path / folder.name / "figures" / path.name).read_bytes() == path.read_bytes(), path.name
