"""Variant "tile", output and log-sum-exp: a tile of queries loops over the keys of its windows, online softmax."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.launch import SIZES
from acmix_exp.ops.window_attention.triton.primitives import (
    LOG2_E,
    MASKED,
    addresses,
    is_tap,
    load_weight,
    product,
    reflect,
)


@triton.jit(do_not_specialize=SIZES)
def tile_forward_kernel(
    query, key, value, weight, out, lse,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    o_b, o_h, o_c, o_y, o_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK: tl.constexpr, POSITION: tl.constexpr, ONCE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    SPAN_X: tl.constexpr = (TILE_X - 1) * STRIDE + 2 * REACH + 1
    KEYS: tl.constexpr = ((TILE_Y - 1) * STRIDE + 2 * REACH + 1) * SPAN_X
    tile = tl.program_id(0) % tiles
    head = (tl.program_id(0) // tiles).to(tl.int64)
    image, head_of_image = head // heads, head % heads
    top, left = tile // tiles_x * TILE_Y, tile % tiles_x * TILE_X

    site = tl.arange(0, TILE_Y * TILE_X)
    site_y, site_x = site // TILE_X, site % TILE_X
    row, column = top + site_y, left + site_x
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]

    q_head = query + image * q_b + head_of_image * q_h
    k_head = key + image * k_b + head_of_image * k_h
    v_head = value + image * v_b + head_of_image * v_h
    at = addresses(q_head, channel[None, :], (row * STRIDE)[:, None], (column * STRIDE)[:, None], q_c, q_y, q_x)
    q = tl.load(at, mask=is_query, other=0.0)
    scale2 = scale * LOG2_E  # exp2 is what the hardware has
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        u_x = tl.sum(q.to(tl.float32) * along_x[None, :], 1) * scale2
        u_y = tl.sum(q.to(tl.float32) * along_y[None, :], 1) * scale2

    highest = tl.full([TILE_Y * TILE_X], MASKED, tl.float32)
    total = tl.zeros([TILE_Y * TILE_X], tl.float32)
    mean = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    for first in range(0, KEYS, BLOCK):
        n = first + tl.arange(0, BLOCK)
        n_y, n_x = n // SPAN_X, n % SPAN_X
        y = reflect(top * STRIDE - REACH + n_y, height, ONCE)
        x = reflect(left * STRIDE - REACH + n_x, width, ONCE)
        is_key = n < KEYS
        k_at = addresses(k_head, channel[:, None], y[None, :], x[None, :], k_c, k_y, k_x)
        k = tl.load(k_at, mask=is_channel[:, None] & is_key[None, :], other=0.0)
        logits = product(q, k, PRECISION) * scale2
        if POSITION:
            logits -= u_x[:, None] * (x * step_x - 1.0)[None, :] + u_y[:, None] * (y * step_y - 1.0)[None, :]
        # A key with number KEYS or more is below the rectangle, so below every window.
        taken = is_tap(
            n_y[None, :] - (site_y * STRIDE)[:, None], n_x[None, :] - (site_x * STRIDE)[:, None], KERNEL, DILATION
        )
        logits = tl.where(taken, logits, MASKED)
        higher = tl.maximum(highest, tl.max(logits, 1))
        shrink = tl.exp2(highest - higher)
        p = tl.exp2(logits - higher[:, None])
        total = total * shrink + tl.sum(p, 1)
        highest = higher
        v_at = addresses(v_head, channel[None, :], y[:, None], x[:, None], v_c, v_y, v_x)
        v = tl.load(v_at, mask=is_key[:, None] & is_channel[None, :], other=0.0)
        mean = mean * shrink[:, None] + product(p.to(v.dtype), v, PRECISION)

    o_head = out + image * o_b + head_of_image * o_h
    at = addresses(o_head, channel[None, :], row[:, None], column[:, None], o_c, o_y, o_x)
    tl.store(at, (mean / total[:, None]).to(out.dtype.element_ty), mask=is_query)
    tl.store(lse + head * rows * columns + row * columns + column, highest + tl.log2(total), mask=is_site)
