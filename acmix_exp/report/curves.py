"""Whether the curves of arm identity are the baseline's, epoch by epoch, and what on record may excuse that they
aren't: the harness is at fault only where nothing is."""

from __future__ import annotations

from typing import Any

from acmix_exp.report.origins import count, made_with
from acmix_exp.report.records import Record, Row


def compared(row: Row, plain: Row | None) -> str:
    """What to say of the seeds that both rows have; empty where there is none."""
    equal, without, differing = 0, [], []
    for seed in sorted(row.runs.keys() & plain.runs.keys()) if plain else []:
        assert plain is not None
        pair = row.runs[seed], plain.runs[seed]
        mine, theirs = map(_history, pair)
        if min(len(mine), len(theirs)) < max(map(_epochs, pair)):
            without.append(str(seed))
        elif mine == theirs:
            equal += 1
        else:
            differing.append(f"{seed} ({', '.join(_excuses(*pair)) or 'nothing on record excuses it'})")
    parts = [f"its losses and metrics of every epoch equal the baseline's in {count(equal, 'seed')}"] if equal else []
    parts += [f"its curves are NOT the baseline's for seed {', '.join(differing)}"] if differing else []
    parts += [f"no history to compare for seed {', '.join(without)}"] if without else []
    return f": {'; '.join(parts)}" if parts else ""


def _history(record: Record) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in record.run.history()]


def _epochs(record: Record) -> int:
    """How many rows its history must have: no run here ends early."""
    epochs = (record.identity.get("train") or {}).get("epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else 1


def _excuses(mine: Record, theirs: Record) -> list[str]:
    found = [f"{record.arm} was resumed" for record in (mine, theirs) if record.status.get("resumed")]
    own, other = (dict(made_with(record.provenance)) for record in (mine, theirs))
    found += [f"another {kind}" for kind in own if kind in other and own[kind] != other[kind]]
    if "cuda" in (_device(mine), _device(theirs)):
        found.append("a GPU's rounding")
    return found


def _device(record: Record) -> Any:
    return (record.identity.get("hardware") or {}).get("device")
