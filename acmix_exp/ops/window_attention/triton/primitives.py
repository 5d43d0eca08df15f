"""Device functions that the kernels share."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import os

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
MASKED = tl.constexpr(-1.0e30)  # a logit of weight zero; -inf would make NaN of a tile without a key

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """Matrix product summed in float32."""
    if INTERPRETED:
        # Its product takes the bits of bfloat16 for numbers. In float32 the factors are the same.
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def reflect(position, size, ONCE: tl.constexpr):
    """Fold positions back into 0 .. size - 1; with ``ONCE`` those up to size - 1 outside, and clamp the others."""
    if ONCE:
        folded = tl.abs(position)
        folded = size - 1 - tl.abs(size - 1 - folded)
        return tl.maximum(folded, 0)
    else:  # noqa: RET505 - both branches are compiled, one of them away
        period = tl.maximum(2 * size - 2, 1)
        folded = ((position % period) + period) % period  # the remainder has the sign of the position
        return tl.minimum(tl.minimum(folded, period - folded), size - 1)


@triton.jit
def places(base, channel, row, column, s_c, s_y, s_x):
    """Addresses of pixels of one head of one image."""
    return base + channel * s_c + row * s_y + column * s_x


@triton.jit
def is_tap(rows, columns, KERNEL: tl.constexpr, DILATION: tl.constexpr):
    """Whether offsets in pixels from the first tap of a window are those of one of its taps."""
    LAST: tl.constexpr = (KERNEL - 1) * DILATION
    hit = (rows >= 0) & (rows <= LAST) & (columns >= 0) & (columns <= LAST)
    if DILATION > 1:
        hit = hit & (rows % DILATION == 0) & (columns % DILATION == 0)
    return hit


@triton.jit
def load_weight(weight, channel, inside):
    """The columns of the position weight (d, 2) that go with the column and with the row coordinate."""
    along_x = tl.load(weight + channel * 2, mask=inside, other=0.0)
    along_y = tl.load(weight + channel * 2 + 1, mask=inside, other=0.0)
    return along_x, along_y


@triton.jit
def queries_of(first, size, sites, sign, low, REACH: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr):
    """Along one axis: first and last of the keys ``low`` .. ``low + TILE - 1`` that have an image, and the first
    query that sees one, and how many queries there are.

    The image of key y lies at first + sign * y. A key on the border has no second image at its own place.
    """
    high = tl.minimum(low + TILE, size) - 1
    from_key = tl.where(sign > 0, low, tl.maximum(low, 1))
    to_key = tl.where(sign > 0, high, tl.minimum(high, size - 2))
    from_image = tl.where(sign > 0, first + from_key, first - to_key)
    to_image = tl.where(sign > 0, first + to_key, first - from_key)
    from_site = tl.maximum(from_image - REACH + STRIDE - 1, 0) // STRIDE
    to_site = tl.minimum((tl.maximum(to_image + REACH, -STRIDE) + STRIDE) // STRIDE - 1, sites - 1)
    count = tl.where(from_key <= to_key, tl.maximum(to_site - from_site + 1, 0), 0)
    return from_key, to_key, from_site, count, from_image, to_image


@triton.jit
def taps_of(from_image, to_image, sites, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr):
    """First tap under which one of the images from .. to can lie in a window of the map, and the one after the last."""
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    first = tl.maximum(from_image + REACH - (sites - 1) * STRIDE + DILATION - 1, 0) // DILATION
    last = tl.minimum(tl.maximum(to_image + REACH, 0) // DILATION, KERNEL - 1)
    return first, last + 1
