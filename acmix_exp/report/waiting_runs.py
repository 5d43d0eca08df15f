"""Notes on runs that have not finished: how many wait, and which an earlier, wider command left.

For callers: :func:`waiting`, which ``notes.py`` calls for each table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from acmix_exp.report.language import tr
from acmix_exp.report.records import ArmRuns, Group, Record

NAMED = 3  # as many waiting runs are named one by one
ROWS = 5  # of a table, that a note counts by name
LONGEST_COMMAND = 120  # letters
Waiting = list[tuple[ArmRuns, Record]]


def waiting(group: Group) -> tuple[list[str], set[str]]:
    """Sentences on runs that wait, and the names of the runs that need no sentence of their own.

    Few runs have one each. More are counted by row. Those of an earlier command are counted in any case: the latest
    one does not name them, and nothing will train them.
    """
    found = [(row, record) for row in group.rows for record in row.unfinished if not record.error]
    last = _last_started(group) if found else None
    left = [(row, record) for row, record in found if _is_left_over(record, last)]
    taken = {record.name for _, record in left}
    others = [pair for pair in found if pair[1].name not in taken]
    counted = others if len(others) > NAMED else []
    sentences = []
    for state in dict.fromkeys(record.state for _, record in counted):
        sentences.append(_counted([pair for pair in counted if pair[1].state == state], state))
    if left:
        command = str(left[0][1].provenance.get("command"))
        shown = command if len(command) <= LONGEST_COMMAND else f"{command[:LONGEST_COMMAND]}..."
        text = (
            "{runs}: an earlier command planned them and the latest does not, so they are not trained; rerun "
            "{command}, or delete their folders"
        )
        sentences.append(tr(text, runs=_counted(left, "pending"), command=shown))
    return sentences, {record.name for _, record in (*counted, *left)}


def _last_started(group: Group) -> Record | None:
    started = [record for row in group.rows for record in row.all_records if _started(record) > -math.inf]
    return max(started, key=_started, default=None)


def _started(record: Record) -> float:
    started = record.status.get("started")
    return float(started) if isinstance(started, (int, float)) else -math.inf


def _is_left_over(record: Record, last: Record | None) -> bool:
    """Whether another command planned the run than the one that started a run last, and before it did.

    A command writes itself into each unfinished run that it plans. Without times that say so, such as in a copied
    folder, no run is left over.
    """
    if last is None or record.state != "pending":
        return False
    command = record.provenance.get("command")
    if command is None or command == last.provenance.get("command"):
        return False
    try:
        planned = (record.run.path / "provenance.json").stat().st_mtime
    except OSError:
        return False
    return planned < _started(last)


def _counted(pairs: Sequence[tuple[ArmRuns, Record]], state: str) -> str:
    """``36 runs pending: conv (3), ema (3) and 7 more rows``."""
    rows = Counter(row.label for row, _ in pairs)
    more = len(rows) - ROWS
    names = ", ".join(f"{label} ({number})" for label, number in list(rows.items())[:ROWS])
    tail = tr(" and {number} more rows" if more > 1 else " and {number} more row", number=more) if more > 0 else ""
    text = "{number} runs {state}: {rows}" if len(pairs) > 1 else "{number} run {state}: {rows}"
    return tr(text, number=len(pairs), state=tr(state), rows=f"{names}{tail}")
