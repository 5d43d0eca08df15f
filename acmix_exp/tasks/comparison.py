"""A run and its repeat: what differs in what they were made with, and in what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from acmix_exp.run.directory import Run

# On a GPU sums have no fixed order, and training makes small differences grow. Chosen, not measured.
GPU_TOLERANCE = 0.02
OF_METRICS = 0.5  # what is left of it for a metric: an ablation is about differences of a few hundredths of mAP
METRICS = ("map50", "map50_95", "precision", "recall")
UNTIMED = ("seconds",)  # columns of history.csv that no two runs share


def tolerance(provenance: Mapping[str, Any]) -> float:
    """Of a run's repeat: none where the run was trained on a CPU; one of a GPU has it wherever it is repeated."""
    return GPU_TOLERANCE if provenance["identity"]["hardware"]["device"] == "cuda" else 0.0


@dataclass(frozen=True)
class Finding:
    """One row of the verdict; ``same`` is None where nothing could be compared."""

    what: str
    same: bool | None
    text: str


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each thing that differs in what two runs were made with, as their provenance has it.

    Only what ``now`` holds is compared.
    """
    lines = []
    for key in ("versions", "environment", "hardware"):
        if key not in now:
            continue
        if key not in then:
            lines.append(f"{key}: not recorded in the run")
            continue
        before, after = then[key] or {}, now[key] or {}
        names = [name for name in {**before, **after} if key != "hardware" or name in after]
        lines += [
            f"{key}: {name} {before.get(name, 'unset')}, now {after.get(name, 'unset')}"
            for name in names
            if before.get(name) != after.get(name)
        ]
    if "git" in now:
        before, after = then.get("git") or {}, now["git"] or {}
        if before.get("commit") != after.get("commit"):
            lines.append(f"commit: {_commit(before)}, now {_commit(after)}")
        elif (before.get("dirty"), before.get("diff_sha256")) != (after.get("dirty"), after.get("diff_sha256")):
            lines.append(f"changes without a commit: {_dirty(before)}, now {_dirty(after)}")
    return lines


def _commit(git: Mapping[str, Any]) -> str:
    return str(git["commit"])[:12] if git.get("commit") else "none"


def _dirty(git: Mapping[str, Any]) -> str:
    if not git.get("dirty"):
        return "none"
    return str(git["diff_sha256"])[:12] if git.get("diff_sha256") else "not recorded"


def outcomes(first: Run, second: Run, tolerance: float) -> list[Finding]:
    """Seed proof, history and metrics of two finished runs. A metric, which lies between 0 and 1, may differ by
    ``of_metrics(tolerance)``, any other number by ``tolerance * max(1, |first|)``."""
    return [
        _proof(first, second),
        _numbers("history.csv", _history(first), _history(second), tolerance),
        _numbers("metrics", _metrics(first), _metrics(second), tolerance),
    ]


def of_metrics(tolerance: float) -> float:
    return OF_METRICS * tolerance


def weights(report: Mapping[str, Mapping[str, Any]], tolerance: float) -> list[Finding]:
    """Of the figures of ``compare_weights`` by file. With a tolerance weights are shown, not judged."""
    if not report:
        return [Finding("weights", None, "not kept by the run (train.keep)")]
    found = []
    for name, figures in report.items():
        if not figures["different"]:
            found.append(Finding(name, True, f"{figures['tensors']} tensors, bit for bit"))
            continue
        gap = "other shapes" if figures["largest"] is None else f"by up to {figures['largest']:.1e}"
        text = f"{figures['different']} of {figures['tensors']} tensors differ, {gap}"
        found.append(Finding(name, None if tolerance else False, text))
    return found


def _proof(first: Run, second: Run) -> Finding:
    before, after = (str(run.provenance().get("seed_proof")) for run in (first, second))
    if before == "None":
        return Finding("seed proof", None, "not recorded in the run")
    text = "the first batches" if before == after else f"the first batches were {before[:12]}, now {after[:12]}"
    return Finding("seed proof", before == after, text)


def _numbers(what: str, before: Mapping[str, float], after: Mapping[str, float], tolerance: float) -> Finding:
    wrong = [name for name in {**before, **after} if not _close(name, before.get(name), after.get(name), tolerance)]
    if not wrong:
        return Finding(what, True, f"{len(before)} numbers" + (", within the tolerance" if tolerance else ", exactly"))
    name = wrong[0]
    first = f"first {name}: {before.get(name, 'missing')}, now {after.get(name, 'missing')}"
    return Finding(what, False, f"{len(wrong)} of {len({**before, **after})} differ, {first}")


def _close(name: str, before: float | None, after: float | None, tolerance: float) -> bool:
    if before is None or after is None:
        return False
    if before == after or (math.isnan(before) and math.isnan(after)):
        return True
    metric = name.split(" of epoch ")[0].rsplit(".", 1)[-1] in METRICS
    return abs(before - after) <= (of_metrics(tolerance) if metric else tolerance * max(1.0, abs(before)))


def _history(run: Run) -> dict[str, float]:
    return {
        f"{name} of epoch {row['epoch']}": float(value)
        for row in run.history()
        for name, value in row.items()
        if name not in (*UNTIMED, "epoch") and value
    }


def _metrics(run: Run) -> dict[str, float]:
    result = run.result() or {}
    return dict(_flat({key: result.get(key) for key in ("metrics", "val_best", "val_last")}, ""))


def _flat(node: Any, prefix: str) -> Iterator[tuple[str, float]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, (int, float)) and not isinstance(node, bool):
        yield prefix, float(node)
