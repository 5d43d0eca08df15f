"""The exported forms give the results of torch; needs the packages onnx and onnxruntime."""

from __future__ import annotations

import pytest

from benchmarks import export
from benchmarks.shapes import Case
from benchmarks.verify import WrongResult, verify

CASE = Case(1, 8, 8, 5)


@pytest.mark.parametrize("name", ["published", "acmix_exp", export.FUSED])
def test_a_session_is_verified(name: str) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    contender = export.build(name, CASE)
    assert verify(contender, export.reference(CASE), CASE.output_gradient()).errors["output"] < 1e-5
    with pytest.raises(WrongResult):
        verify(contender, export.reference(Case(1, 8, 8, 3)), CASE.output_gradient())
