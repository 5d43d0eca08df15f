"""Device functions that the kernels share."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import os

import triton
import triton.language as tl

# Arguments that Triton must not specialise on: a network trained at several sizes then compiles each kernel once.
SIZES = ("heads", "height", "width", "rows", "columns", "tiles", "tiles_x")
MIRRORS = ("images_y", "first_y", "images_x", "first_x")  # of the gradient kernels of key and value
LOG2_E = tl.constexpr(1.4426950408889634)
MASKED = tl.constexpr(-1.0e30)  # a logit of weight zero; -inf would make NaN of a tile without a key
INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """Matrix product summed in float32."""
    if INTERPRETED:
        # The interpreter's product misreads bfloat16; the conversion to float32 is exact.
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def reflect(position, size, ONCE: tl.constexpr):
    """Reflect positions into 0 .. size - 1; with ``ONCE`` one reflection, valid up to size - 1 outside, then clamp."""
    if ONCE:
        once = tl.abs(position)
        once = size - 1 - tl.abs(size - 1 - once)
        return tl.maximum(once, 0)
    else:  # noqa: RET505 - both branches are compiled, one of them away
        period = tl.maximum(2 * size - 2, 1)
        remainder = ((position % period) + period) % period  # % keeps the sign of the position
        return tl.minimum(tl.minimum(remainder, period - remainder), size - 1)


@triton.jit
def locate(heads, tiles, tiles_x, TILE_Y: tl.constexpr, TILE_X: tl.constexpr):
    """The program's head, its image and number in it, the tile's first row and column, and the sites in the tile."""
    tile = tl.program_id(0) % tiles
    head = (tl.program_id(0) // tiles).to(tl.int64)
    site = tl.arange(0, TILE_Y * TILE_X)
    top, left = tile // tiles_x * TILE_Y, tile % tiles_x * TILE_X
    return head, head // heads, head % heads, top, left, site // TILE_X, site % TILE_X


@triton.jit
def load(head, channel, row, column, s_c, s_y, s_x, mask):
    """Pixels (positions, channels) of a head of an image, zero outside the mask."""
    at = head + channel[None, :] * s_c + row[:, None] * s_y + column[:, None] * s_x
    return tl.load(at, mask=mask, other=0.0)


@triton.jit
def store(pixels, head, channel, row, column, s_c, s_y, s_x, mask):
    """The inverse of ``load``, in the dtype of the memory."""
    at = head + channel[None, :] * s_c + row[:, None] * s_y + column[:, None] * s_x
    tl.store(at, pixels.to(head.dtype.element_ty), mask=mask)


@triton.jit
def is_tap(rows, columns, KERNEL: tl.constexpr, DILATION: tl.constexpr):
    """Whether offsets in pixels from the first tap of a window belong to one of its taps."""
    LAST: tl.constexpr = (KERNEL - 1) * DILATION
    hit = (rows >= 0) & (rows <= LAST) & (columns >= 0) & (columns <= LAST)
    if DILATION > 1:
        hit = hit & (rows % DILATION == 0) & (columns % DILATION == 0)
    return hit


@triton.jit
def load_weight(weight, channel, inside):
    """The columns of the position weight (d, 2): factors of the column and of the row coordinate."""
    along_x = tl.load(weight + channel * 2, mask=inside, other=0.0)
    along_y = tl.load(weight + channel * 2 + 1, mask=inside, other=0.0)
    return along_x, along_y


@triton.jit
def query_range(first, size, sites, sign, low, REACH: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr):
    """Queries along one axis whose windows contain a mirror image of the keys ``low`` .. ``low + TILE - 1``.

    Returns the first and last key that has an image, the first query, the number of queries, and the first and last
    position of the images. The image of key y is at first + sign * y. A border key has no second image at its own
    position.
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
def tap_range(from_image, to_image, sites, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr):
    """First tap that can lie over one of the images ``from_image`` .. ``to_image``, and one past the last such tap."""
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    first = tl.maximum(from_image + REACH - (sites - 1) * STRIDE + DILATION - 1, 0) // DILATION
    last = tl.minimum(tl.maximum(to_image + REACH, 0) // DILATION, KERNEL - 1)
    return first, last + 1
