"""Variant "tile", gradients of key and value: each key gathers from the queries whose window contains it."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.launch import SIZES
from acmix_exp.ops.window_attention.triton.primitives import (
    LOG2_E,
    addresses,
    is_tap,
    load_weight,
    product,
    query_range,
)


@triton.jit(do_not_specialize=(*SIZES, "images_y", "images_x", "first_y", "first_x"))
def tile_key_value_kernel(
    query, key, value, weight, grad, lse, delta, grad_key, grad_value,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    g_b, g_h, g_c, g_y, g_x, dk_b, dk_h, dk_c, dk_y, dk_x, dv_b, dv_h, dv_c, dv_y, dv_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale, images_y, first_y, images_x,
    first_x,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK: tl.constexpr, POSITION: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """For a tile of keys, loop over its mirror images and, per image, over the queries whose windows contain it.

    A reflected window is a plain window on the map mirrored without end, in which the images of pixel y are at
    period * a + y and period * a - y for every integer a. So each key gathers its whole gradient, and no sums are
    accumulated in global memory.
    """
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    tile = tl.program_id(0) % tiles
    head = (tl.program_id(0) // tiles).to(tl.int64)
    image, head_of_image = head // heads, head % heads
    top, left = tile // tiles_x * TILE_Y, tile % tiles_x * TILE_X

    place = tl.arange(0, TILE_Y * TILE_X)
    row, column = top + place // TILE_X, left + place % TILE_X
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_key = ((row < height) & (column < width))[:, None] & is_channel[None, :]
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    at = addresses(k_head, channel[None, :], row[:, None], column[:, None], k_c, k_y, k_x)
    k = tl.load(at, mask=is_key, other=0.0)
    at = addresses(v_head, channel[None, :], row[:, None], column[:, None], v_c, v_y, v_x)
    v = tl.load(at, mask=is_key, other=0.0)
    scale2 = scale * LOG2_E
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        p_x, p_y = column * step_x - 1.0, row * step_y - 1.0

    dk = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    dv = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    q_head, g_head = query + image * q_b + head_of_image * q_h, grad + image * g_b + head_of_image * g_h
    for i in range(images_y):
        sign_y = 1 - 2 * (i % 2)
        at_y = (i // 2 - first_y) * tl.maximum(2 * height - 2, 1)
        from_row, to_row, from_y, count_y, _, _ = query_range(at_y, height, rows, sign_y, top, REACH, STRIDE, TILE_Y)
        has_row = (row >= from_row) & (row <= to_row)
        for j in range(tl.where(count_y > 0, images_x, 0)):
            sign_x = 1 - 2 * (j % 2)
            at_x = (j // 2 - first_x) * tl.maximum(2 * width - 2, 1)
            from_column, to_column, from_x, count_x, _, _ = query_range(
                at_x, width, columns, sign_x, left, REACH, STRIDE, TILE_X
            )
            has_image = has_row & (column >= from_column) & (column <= to_column)
            for first in range(0, count_y * count_x, BLOCK):
                n = first + tl.arange(0, BLOCK)
                site_y, site_x = from_y + n // count_x, from_x + n % count_x
                is_site = n < count_y * count_x
                is_query = is_site[:, None] & is_channel[None, :]
                q_row, q_column = (site_y * STRIDE)[:, None], (site_x * STRIDE)[:, None]
                q_at = addresses(q_head, channel[None, :], q_row, q_column, q_c, q_y, q_x)
                q = tl.load(q_at, mask=is_query, other=0.0)
                g_at = addresses(g_head, channel[None, :], site_y[:, None], site_x[:, None], g_c, g_y, g_x)
                g = tl.load(g_at, mask=is_query, other=0.0)
                number = head * rows * columns + site_y * columns + site_x
                log_total = tl.load(lse + number, mask=is_site, other=0.0)
                mean_grad = tl.load(delta + number, mask=is_site, other=0.0)
                logits = product(k, tl.trans(q), PRECISION) * scale2
                if POSITION:
                    u_x = tl.sum(q.to(tl.float32) * along_x[None, :], 1) * scale2
                    u_y = tl.sum(q.to(tl.float32) * along_y[None, :], 1) * scale2
                    logits -= p_x[:, None] * u_x[None, :] + p_y[:, None] * u_y[None, :]
                down = (at_y + sign_y * row + REACH)[:, None] - (site_y * STRIDE)[None, :]
                across = (at_x + sign_x * column + REACH)[:, None] - (site_x * STRIDE)[None, :]
                taken = is_tap(down, across, KERNEL, DILATION) & has_image[:, None] & is_site[None, :]
                p = tl.where(taken, tl.exp2(logits - log_total[None, :]), 0.0)
                dv += product(p.to(g.dtype), g, PRECISION)
                ds = p * (product(v, tl.trans(g), PRECISION) - mean_grad[None, :])
                dk += product(ds.to(q.dtype), q, PRECISION)

    dk_head = grad_key + image * dk_b + head_of_image * dk_h
    at = addresses(dk_head, channel[None, :], row[:, None], column[:, None], dk_c, dk_y, dk_x)
    tl.store(at, (dk * scale).to(grad_key.dtype.element_ty), mask=is_key)
    dv_head = grad_value + image * dv_b + head_of_image * dv_h
    at = addresses(dv_head, channel[None, :], row[:, None], column[:, None], dv_c, dv_y, dv_x)
    tl.store(at, dv.to(grad_value.dtype.element_ty), mask=is_key)
