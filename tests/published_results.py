"""What docs/results holds of an experiment, and the forms in which numbers of it stand in a text."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from acmix_exp.report.sign_flips import LEVEL

REPO = Path(__file__).resolve().parents[1]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
PLACES = {"backbone_p4": "P4", "backbone_p5": "P5"}


class Published:
    """What was published of an experiment. Rows are named by their arm and swept values: "identity", "mixed yolo12"."""

    def __init__(self, name: str) -> None:
        self.folder = REPO / "docs" / "results" / name
        self.tables = json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))["tables"]
        self.table = self.tables[0]
        # A reference of several tables is the same row.
        self.rows = {
            " ".join([row["arm"], *(str(row[key]) for key in table["swept_keys"])]): row
            for table in self.tables
            for row in table["rows"]
        }
        self.compared = {arm: row for arm, row in self.rows.items() if row["in_family"]}
        self.train = self.table["settings"]["train"]
        with tarfile.open(self.folder / "runs.tar.xz") as archive:
            self.files = {
                name: archive.extractfile(name).read() for name in archive.getnames() if "/images/" not in name
            }
        self.runs = {name.split("/")[1] for name in self.files if name.count("/") == 2}

    @cached_property
    def profile(self) -> dict[str, Any]:
        return {row["arm"]: row["cost"] for row in json.loads(self.one("profile.json"))["rows"]}

    def one(self, file: str) -> bytes:
        """A file of the first run, or the only one of the experiment."""
        return self.files[min(name for name in self.files if name.endswith(f"/{file}"))]

    @cached_property
    def config(self) -> dict[str, Any]:
        return yaml.safe_load(self.one("config.yaml"))

    @cached_property
    def seeds(self) -> int:
        (seeds,) = {row["n"] for row in self.rows.values()}
        return seeds

    @cached_property
    def cores(self) -> int:
        return json.loads(self.one("provenance.json"))["hardware"]["cores"]

    @cached_property
    def places(self) -> str:
        return " and ".join(PLACES[site] for site in self.table["settings"]["placement"]["sites"])

    def interval(self, arm: str, level: float = LEVEL) -> str:
        """The t interval of an arm's differences, computed here from these."""
        deltas = np.array([one["delta"] for one in self.rows[arm]["deltas"]])
        low, high = stats.t.interval(1 - level, len(deltas) - 1, deltas.mean(), stats.sem(deltas))
        if level == LEVEL:
            assert np.allclose((low, high), (self.rows[arm]["delta_low"], self.rows[arm]["delta_high"]))
        return f"{low:+.3f} to {high:+.3f}"

    def times(self, arm: str, key: str = "latency_ms_b1") -> float:
        """How many times the baseline's."""
        if key.startswith("latency"):
            assert self.rows[arm][key] == self.profile[arm][key]
        return self.rows[arm][key] / self.rows["baseline"][key]

    def excluded(self, arm: str) -> float:
        """The farther end of the 90 % t interval, computed here."""
        deltas = np.array([one["delta"] for one in self.rows[arm]["deltas"]])
        ends = stats.t.interval(1 - 2 * LEVEL, len(deltas) - 1, deltas.mean(), stats.sem(deltas))
        assert np.isclose(max(map(abs, ends)), self.rows[arm]["excludes"])
        return float(max(map(abs, ends)))


def ends(row: dict[str, Any], kind: str) -> str:
    return f"{row[f'{kind}_low']:+.3f} to {row[f'{kind}_high']:+.3f}"


def half(row: dict[str, Any], kind: str) -> str:
    return f"{(row[f'{kind}_high'] - row[f'{kind}_low']) / 2:.3f}"


def word(number: int) -> str:
    return WORDS[number]


def names(arms: Iterable[str]) -> str:
    *others, last = arms
    return f"{', '.join(others)} and {last}" if others else last


def span(values: Iterable[float], form: str = ".2f") -> str:
    values = list(values)
    return f"{min(values):{form}} to {max(values):{form}}"
