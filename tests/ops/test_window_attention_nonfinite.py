"""How far an Inf or NaN spreads: in reference, shift and triton's tap variant to the windows that hold it; in tile and
triton's tile variant to the tiles whose keys contain it. The same in the backward pass."""

from __future__ import annotations

import importlib.util
from functools import partial

import pytest
import torch
from torch import Tensor

from acmix_exp.ops.window_attention import reflected_window_attention, tile
from tests.ops.tolerances import random_inputs

SIDE, AT, KERNEL = 24, 12, 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HAS_TRITON = importlib.util.find_spec("triton") is not None
NAN, INF = float("nan"), float("inf")
# Beyond a window's reach of one pixel, a tile's: two tiles of 8 and the reach once more.
EXACT, TILE = 1, 9
FORMS = [
    ("reference", None, EXACT),
    ("shift", None, EXACT),
    ("tile", None, TILE),
    *(
        pytest.param("triton", variant, reach, marks=pytest.mark.skipif(not HAS_TRITON, reason="needs triton"))
        for variant, reach in (("tap", EXACT), ("tile", TILE))
    ),
]

CLEAN: dict[tuple[str, str | None], Tensor] = {}  # the output of finite inputs, by backend and variant


@pytest.fixture
def attend(backend: str, variant: str | None, monkeypatch: pytest.MonkeyPatch) -> partial[Tensor]:
    monkeypatch.setattr(tile, "choose_tile", lambda *_: (8, 8))
    if variant is not None:
        from acmix_exp.ops.window_attention.triton import kernel_config

        monkeypatch.setattr(kernel_config, "choose_variant", lambda *_: variant)
    return partial(reflected_window_attention, kernel_size=KERNEL, heads=1, backend=backend)


def reach_of(bad: Tensor) -> int:
    """Largest distance of a non-finite pixel of (1, d, H, W) from the one that was made non-finite."""
    pixels = bad.any(1)[0].nonzero()
    return int((pixels - AT).abs().max()) if len(pixels) else 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter, that it computes with such numbers
@pytest.mark.parametrize(("spoiled", "number"), [("query", NAN), ("key", NAN), ("value", NAN), ("value", INF)])
@pytest.mark.parametrize(("backend", "variant", "reach"), FORMS)
def test_forward(
    attend: partial[Tensor], spoiled: str, number: float, backend: str, variant: str | None, reach: int
) -> None:
    inputs = dict(zip(("query", "key", "value"), random_inputs(1, 1, 4, SIDE, SIDE, torch.float32), strict=False))
    if (backend, variant) not in CLEAN:
        CLEAN[backend, variant] = attend(*(t.to(DEVICE) for t in inputs.values()))
    clean = CLEAN[backend, variant]
    inputs[spoiled][0, :, AT, AT] = number
    out = attend(*(t.to(DEVICE) for t in inputs.values()))
    bad = ~out.isfinite()
    own = bad[0, :, AT, AT]
    assert own.all()
    assert reach_of(bad) <= (0 if spoiled == "query" and reach == EXACT else reach)
    far = torch.ones(SIDE, SIDE, dtype=torch.bool)
    far[AT - reach : AT + reach + 1, AT - reach : AT + reach + 1] = False
    torch.testing.assert_close(out[..., far.to(DEVICE)], clean[..., far.to(DEVICE)])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("backend", "variant", "reach"), FORMS)
def test_backward(attend: partial[Tensor], backend: str, reach: int) -> None:
    """A NaN in the gradient of one output."""
    leaves = [t.to(DEVICE).requires_grad_() for t in random_inputs(1, 1, 4, SIDE, SIDE, torch.float32)[:3]]
    grad = torch.ones(1, 4, SIDE, SIDE, device=DEVICE)
    grad[..., AT, AT] = float("nan")
    for gradient in torch.autograd.grad(attend(*leaves), leaves, grad):
        bad = ~gradient.isfinite()
        assert bad[..., AT, AT].all()
        assert reach_of(bad) <= reach
