"""dtypes, memory formats, autocast, and properties of the operator beyond its formula."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from acmix_exp.ops.window_attention import dispatch, reflected_window_attention
from acmix_exp.ops.window_attention.api import choose_backend
from tests.ops.tolerances import TOLERANCE, assert_all_close, random_inputs, with_gradients

BACKENDS = ("auto", "reference", "shift", "tile")
OPTIONS = {"kernel_size": 5, "heads": 2}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_dtype(dtype: torch.dtype, backend: str) -> None:
    inputs = random_inputs(2, 2, 8, 9, 6, dtype)
    actual = with_gradients(partial(reflected_window_attention, **OPTIONS, backend=backend), inputs)
    assert all(tensor.dtype == dtype for tensor in actual)
    exact = [tensor.double() for tensor in inputs]
    expected = with_gradients(partial(reflected_window_attention, **OPTIONS, backend="reference"), exact)
    assert_all_close(actual, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("backend", BACKENDS)
def test_position_weight_of_another_dtype(backend: str) -> None:
    query, key, value, weight = random_inputs(1, 2, 4, 5, 6, torch.bfloat16)
    out = reflected_window_attention(query, key, value, weight.float(), **OPTIONS, backend=backend)
    same = reflected_window_attention(query, key, value, weight, **OPTIONS, backend=backend)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, same)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_leaves_float32_alone(backend: str) -> None:
    inputs = random_inputs(1, 2, 4, 6, 5, torch.float32)
    function = partial(reflected_window_attention, **OPTIONS, backend=backend)
    expected = with_gradients(function, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        actual = with_gradients(function, inputs)
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stride", [1, 2])
def test_channels_last(stride: int, backend: str) -> None:
    inputs = random_inputs(2, 2, 4, 6, 7)
    expected = with_gradients(partial(reflected_window_attention, **OPTIONS, stride=stride, backend=backend), inputs)
    last = [t.contiguous(memory_format=torch.channels_last) for t in inputs[:3]]
    out = reflected_window_attention(*last, inputs[3], **OPTIONS, stride=stride, backend=backend)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert not out.is_contiguous()
    actual = with_gradients(
        partial(reflected_window_attention, **OPTIONS, stride=stride, backend=backend), [*last, inputs[3]]
    )
    assert_all_close(actual, expected, TOLERANCE[torch.float64])


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_and_split_heads(backend: str) -> None:
    query, key, value, weight = random_inputs(2, 2, 4, 6, 7)
    expected = reflected_window_attention(query, key, value, weight, **OPTIONS, backend=backend)
    strided = [torch.stack([t, t], dim=-1)[..., 0] for t in (query, key, value)]
    out = reflected_window_attention(*strided, weight, **OPTIONS, backend=backend)
    torch.testing.assert_close(out, expected)
    packed = torch.stack([t.unflatten(1, (2, 4)) for t in (query, key, value)], dim=1)
    packed = packed.permute(0, 3, 1, 2, 4, 5).contiguous().permute(0, 2, 3, 1, 4, 5)
    out = reflected_window_attention(*packed.unbind(1), weight.flatten(1), **OPTIONS, backend=backend)
    assert out.shape == (2, 2, 4, 6, 7)
    torch.testing.assert_close(out.flatten(1, 2), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_single_pixel_attends_to_itself(backend: str) -> None:
    inputs = random_inputs(3, 2, 4, 1, 1)
    out = reflected_window_attention(*inputs, **OPTIONS, backend=backend)
    torch.testing.assert_close(out, inputs[2])


@pytest.mark.parametrize("backend", BACKENDS)
def test_dilation_is_a_window_over_every_other_pixel(backend: str) -> None:
    """On a map whose odd rows and columns are left out, dilation 2 is dilation 1."""
    query, key, value, _ = random_inputs(1, 2, 4, 9, 11)
    wide = reflected_window_attention(query, key, value, **OPTIONS, dilation=2, stride=2, backend=backend)
    picked = [t[..., ::2, ::2].contiguous() for t in (query, key, value)]
    torch.testing.assert_close(wide, reflected_window_attention(*picked, **OPTIONS, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_inputs_are_not_changed(backend: str) -> None:
    inputs = random_inputs(1, 2, 4, 5, 6)
    before = [t.clone() for t in inputs]
    with_gradients(partial(reflected_window_attention, **OPTIONS, backend=backend), inputs)
    reflected_window_attention(*inputs, **OPTIONS, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


@pytest.mark.parametrize("backend", ["shift", "tile"])
def test_a_nan_stays_local(backend: str) -> None:
    """shift: within the windows that contain it. tile: within the tiles whose keys contain it, as documented."""
    query, key, value, _ = random_inputs(1, 1, 4, 60, 60, torch.float32)
    value[..., 30, 30] = float("nan")
    bad = reflected_window_attention(query, key, value, kernel_size=3, heads=1, backend=backend).isnan()
    reach = 1 if backend == "shift" else 34
    rows, columns = bad.any(1)[0].nonzero().unbind(1)
    assert bad[0, :, 29:32, 29:32].all()
    assert rows.min() >= 30 - reach
    assert columns.max() <= 30 + reach
    if backend == "shift":
        assert bad.sum() == 4 * 9


@pytest.mark.parametrize(("kernel", "largest"), [(3, 9), (5, 15), (7, 24), (9, 50), (11, 500)])
def test_the_backend_that_auto_chooses(kernel: int, largest: int) -> None:
    """On a CPU by the measured rule: tile for small maps and large windows, else shift."""

    def choice(kernel: int, height: int, width: int) -> str:
        return choose_backend(torch.empty(1, 1, 1, height, width), kernel)

    assert choice(kernel, 1, 1) == choice(kernel, largest, largest) == "tile"
    if kernel < 11:
        assert choice(kernel, largest + 1, largest + 1) == choice(kernel, 1, (largest + 1) ** 2) == "shift"
    assert choice(1, 1, 1) == choice(1, 80, 80) == "shift"


def test_the_environment_variable_replaces_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = random_inputs(1, 2, 4, 5, 6)
    called = []
    monkeypatch.setattr(dispatch, "attend", lambda backend, query, *_: called.append(backend) or query)
    for name in ("shift", "tile"):
        monkeypatch.setenv("ACMIX_EXP_BACKEND", name)
        reflected_window_attention(*inputs, **OPTIONS)
        reflected_window_attention(*inputs, **OPTIONS, backend="tile")
    monkeypatch.setenv("ACMIX_EXP_BACKEND", "")
    reflected_window_attention(*inputs, **OPTIONS)
    assert called == ["shift", "tile", "tile", "tile", "tile"]
    monkeypatch.setenv("ACMIX_EXP_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"^ACMIX_EXP_BACKEND must be one of auto, .*, triton, got 'fast'$"):
        reflected_window_attention(*inputs, **OPTIONS)


def test_the_position_term_of_float16_is_computed_in_float32() -> None:
    """Coordinates and logits of a large position weight would not survive half precision."""
    query, key, value, weight = random_inputs(1, 1, 8, 12, 12, torch.float16)
    out = reflected_window_attention(query, key, value, weight * 30, kernel_size=7, heads=1, backend="tile")
    exact = [t.double() for t in (query, key, value, weight * 30)]
    expected = reflected_window_attention(*exact, kernel_size=7, heads=1, backend="reference")
    assert (out.double() - expected).abs().max() <= TOLERANCE[torch.float16] * expected.abs().max()
