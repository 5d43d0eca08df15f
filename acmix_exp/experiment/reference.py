"""The arm that ``report.reference`` names: refused before the first job where it can only be a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterable

from acmix_exp.config import ConfigError, options
from acmix_exp.experiment.plan import Plan
from acmix_exp.experiment.store import runs_in

OF_ACMIX = ("acmix-conv", "acmix-attention", "acmix-mixed")


def check_reference(plan: Plan) -> None:
    """Raises ConfigError where no arm is called so: not of the plan, not of the folder's runs, and none that we ship.

    One of these may be the reference though this command doesn't plan it, for an experiment may be run in parts.
    """
    reference = plan.cells[0].config.report.reference
    here = [name for cell in plan.cells for name in (cell.label, cell.asked) if name]
    here += [str(status["arm"]) for run in runs_in(plan.folder) if (status := run.status() or {}).get("arm")]
    arms = [name for name in options("arm") if name != "configured"]
    if reference.split(" (")[0] not in {*here, *arms, *options("block"), *OF_ACMIX}:
        raise ConfigError(fault(reference, [*here, *arms]))


def fault(reference: str, arms: Iterable[str]) -> str:
    """The line that refuses it."""
    return f"report.reference={reference}: no arm is called so; must be one of {', '.join(dict.fromkeys(arms))}"
