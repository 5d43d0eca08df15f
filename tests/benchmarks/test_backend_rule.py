"""The measured cases are on both sides of every change of the rule."""

from __future__ import annotations

import torch

from acmix_exp.ops.window_attention.api import choose_backend
from benchmarks import backend_rule


def test_every_window_has_cases_of_both_choices() -> None:
    chosen: dict[int, list[str]] = {}
    for case in backend_rule.cases():
        query = torch.empty(case.batch, case.heads, 1, case.side, case.side)
        chosen.setdefault(case.kernel, []).append(choose_backend(query, case.kernel))
    for kernel, choices in chosen.items():
        assert choices == sorted(choices, reverse=True), kernel  # tile up to some side, then shift
        assert set(choices) == {"tile", "shift"}, kernel


def test_the_forms_are_those_of_the_operator() -> None:
    case = backend_rule.cases()[0].small()
    for name in backend_rule.names("cpu", False):
        assert backend_rule.THEME.build(name, case).forward().shape == case.shape
