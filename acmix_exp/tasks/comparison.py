"""Compare a run with its repeat: the conditions of both runs, and their results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acmix_exp.config import dotted
from acmix_exp.run.directory import Run

# On a GPU sums have no fixed order, and training amplifies small differences. Chosen, not measured.
GPU_TOLERANCE = 0.02
METRIC_SHARE = 0.5  # of the tolerance, for metrics: an ablation measures differences of a few hundredths of mAP
METRICS = ("map50", "map50_95", "precision", "recall", "top1", "top5")
NOT_COMPARED = ("seconds",)  # columns of history.csv that differ in any two runs


def tolerance(provenance: Mapping[str, Any]) -> float:
    """Tolerance for the repeat of a run: zero if the run was trained on a CPU, else GPU_TOLERANCE on any device."""
    return GPU_TOLERANCE if provenance["identity"]["hardware"]["device"] == "cuda" else 0.0


@dataclass(frozen=True)
class Finding:
    """One row of the verdict; ``same`` is None if nothing could be compared."""

    what: str
    same: bool | None
    text: str


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per difference between the conditions of two runs, as recorded in their provenance.

    Only the keys of ``now`` are compared.
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
    """Seed proof, history and metrics of two finished runs.

    A metric, which is between 0 and 1, may differ by ``metric_tolerance(tolerance)``, any other number by
    ``tolerance * max(1, |first|)``.
    """
    return [
        _proof(first, second),
        _numbers("history.csv", _history(first), _history(second), tolerance),
        _numbers("metrics", (before := _metrics(first)), _known(_metrics(second), before), tolerance),
    ]


def metric_tolerance(tolerance: float) -> float:
    return METRIC_SHARE * tolerance


def weights(report: Mapping[str, Mapping[str, Any]], tolerance: float) -> list[Finding]:
    """Findings for the results of ``compare_weights`` by file. With a tolerance weights are reported, not judged."""
    if not report:
        return [Finding("weights", None, "not kept by the run (train.keep)")]
    findings = []
    for name, figures in report.items():
        if not figures["different"]:
            findings.append(Finding(name, True, f"{figures['tensors']} tensors, bit for bit"))
            continue
        gap = "other shapes" if figures["largest"] is None else f"by up to {figures['largest']:.1e}"
        text = f"{figures['different']} of {figures['tensors']} tensors differ, {gap}"
        findings.append(Finding(name, None if tolerance else False, text))
    return findings


def _proof(first: Run, second: Run) -> Finding:
    before, after = (str(run.provenance().get("seed_proof")) for run in (first, second))
    if before == "None":
        return Finding("seed proof", None, "not recorded in the run")
    text = "the first batches" if before == after else f"the first batches were {before[:12]}, now {after[:12]}"
    return Finding("seed proof", before == after, text)


def _numbers(what: str, before: Mapping[str, float], after: Mapping[str, float], tolerance: float) -> Finding:
    names = {**before, **after}
    different = [name for name in names if not _close(name, before.get(name), after.get(name), tolerance)]
    if not different:
        return Finding(what, True, f"{len(before)} numbers" + (", within the tolerance" if tolerance else ", exactly"))
    name = different[0]
    first = f"first {name}: {before.get(name, 'missing')}, now {after.get(name, 'missing')}"
    return Finding(what, False, f"{len(different)} of {len(names)} differ, {first}")


def _close(name: str, before: float | None, after: float | None, tolerance: float) -> bool:
    if before is None or after is None:
        return False
    if before == after or (math.isnan(before) and math.isnan(after)):
        return True
    metric = name.split(" of epoch ")[0].rsplit(".", 1)[-1] in METRICS
    return abs(before - after) <= (metric_tolerance(tolerance) if metric else tolerance * max(1.0, abs(before)))


def _history(run: Run) -> dict[str, float]:
    return {
        f"{name} of epoch {row['epoch']}": float(value)
        for row in run.history()
        for name, value in row.items()
        if name not in (*NOT_COMPARED, "epoch") and value
    }


def _known(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """Without the scores of single heads where the first run has none, as those of older versions."""
    return {key: value for key, value in after.items() if key in before or not key.startswith("metrics.heads.")}


def _metrics(run: Run) -> dict[str, float]:
    parts = {key: part for key, part in (run.result() or {}).items() if key in ("metrics", "val_best", "val_last")}
    return {
        key: float(value)
        for key, value in dotted(parts)
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
