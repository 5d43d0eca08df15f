"""What was planned before the first run, and what is asked of a report now: reference, margin and pairs.

A reference or a margin that is chosen when results are known can make a finding of any arm. So the run that was started
first decides: its provenance.json holds ``report`` as the command that planned it had it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acmix_exp.config import ReportConfig
from acmix_exp.files import read_json
from acmix_exp.report.columns import chosen
from acmix_exp.report.language import ENGLISH, tr
from acmix_exp.report.records import Record

REFERENCE = "baseline"
PAIRS = ("reference", "all")


@dataclass(frozen=True)
class Asked:
    """``report.reference``, ``margin``, ``pairs``, ``columns`` and ``language`` of a command.

    columns: by the names of ``columns.py``. They and the language change no finding, and so are in no history.
    """

    reference: str = REFERENCE
    margin: float | None = None
    pairs: str = PAIRS[0]
    columns: tuple[str, ...] = ()
    language: str = ENGLISH

    @classmethod
    def of(cls, config: ReportConfig) -> Asked:
        """Raises ConfigError for columns that do not exist."""
        return cls(config.reference, config.margin, config.pairs, chosen(config.columns), config.language)


DEFAULT = Asked()


def planned(records: Iterable[Record]) -> dict[str, Any] | None:
    """``report`` of the run that was started first; None if it recorded none, or no run was started."""
    started = [record for record in records if record.state != "pending"]
    if not started:
        return None
    first = min(started, key=start)
    recorded = first.provenance.get("report") or first.config.get("report")
    return dict(recorded) if isinstance(recorded, dict) else None


def start(record: Record) -> tuple[float, str]:
    """Orders runs by their start; those without a start time come last, by name."""
    started = record.status.get("started")
    return started if isinstance(started, (int, float)) else math.inf, record.name


def fixed_margin(asked: Asked, records: Iterable[Record]) -> tuple[float | None, str]:
    """The margin that counts for a family of these runs, and a note if it is not the one asked for.

    Without a finished or started run the margin asked for counts.
    """
    records = list(records)
    if all(record.state == "pending" for record in records):
        return asked.margin, ""
    margin = (planned(records) or {}).get("margin")
    margin = float(margin) if isinstance(margin, (int, float)) and margin > 0 else None
    if asked.margin in (None, margin):
        return margin, ""
    before = tr("without a margin") if margin is None else tr("with {margin}, which counts", margin=f"{margin:g}")
    text = (
        "report.margin={margin} is not used: the first run was planned {before}, and a margin that is chosen when "
        "results are known shows nothing"
    )
    return margin, tr(text, margin=f"{asked.margin:g}", before=before)


def reference_note(folder: Path, asked: Asked, records: Iterable[Record]) -> str:
    """A note if the reference is not the one planned or, where no run recorded that, not the one first reported."""
    before = (planned(records) or {}).get("reference")
    first = next((entry.get("reference") for entry in history(folder)), None)
    known = before or first
    if known in (None, asked.reference):
        return ""
    how = tr("planned with {reference}" if before else "first reported with {reference}", reference=known)
    text = (
        "report.reference={asked} was chosen afterwards: the runs were {how}. Against a reference that is chosen when "
        "results are known, verdicts are no evidence"
    )
    return tr(text, asked=asked.reference, how=how)


def history(folder: Path) -> list[dict[str, Any]]:
    """Every distinct :class:`Asked` that the folder was reported with, the first one first, from summary.json."""
    content = read_json(folder / "summary.json")
    entries = content.get("asked") if isinstance(content, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def with_asked(entries: list[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
    entry = {key: value for key, value in asdict(asked).items() if key not in ("columns", "language")}
    return entries if entry in entries else [*entries, entry]
