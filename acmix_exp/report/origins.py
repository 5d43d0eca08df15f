"""Where a table's runs come from, as far as they differ: runs of several versions may be compared, not unawares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from acmix_exp.report.records import Record

MOST_NAMES = 3


def origins(records: Sequence[Record]) -> list[str]:
    """Packages, commits and machines of which the runs have more than one, and uncommitted changes."""
    facts: dict[str, dict[str, str]] = {}
    for record in records:
        for kind, value in made_with(record.provenance):
            facts.setdefault(kind, {})[record.run.name] = value
    found = []
    for kind, values in facts.items():
        values = {record.run.name: values.get(record.run.name, "not recorded") for record in records}
        counts = Counter(values.values())
        if len(counts) > 1:
            parts = [f"{value} ({_members(values, value)})" for value, _ in counts.most_common()]
            found.append(f"The runs were made with more than one {kind}: {', '.join(parts)}")
    dirty = {r.run.name: "dirty" for r in records if (r.provenance.get("git") or {}).get("dirty")}
    if dirty:
        found.append(f"Made from a checkout with changes that are in no commit: {_members(dirty, 'dirty')}")
    return found


def made_with(provenance: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Kind and value of what a run was made with; the changes that its checkout had are told by their hash."""
    for name, version in (provenance.get("versions") or {}).items():
        yield f"version of {name}", str(version)
    git = provenance.get("git") or {}
    if git.get("commit"):
        changes = f" with changes {str(git['diff_sha256'])[:8]}" if git.get("diff_sha256") else ""
        yield "commit", f"{str(git['commit'])[:8]}{changes}"
    hardware = provenance.get("hardware") or {}
    if hardware:
        yield "kind of machine", str(hardware.get("gpu") or hardware.get("cpu"))


def _members(values: dict[str, str], value: str) -> str:
    """The runs with a value: by name where they are few."""
    names = [name for name, own in values.items() if own == value]
    return ", ".join(names) if len(names) <= MOST_NAMES else count(len(names), "run")


def listed(names: Iterable[str]) -> str:
    """The first few by name, for who has to look at them, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
