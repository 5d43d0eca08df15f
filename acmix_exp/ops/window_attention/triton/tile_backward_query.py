"""Variant "tile", gradient of the query: the forward loop again, with probabilities from log-sum-exp."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.launch import SIZES
from acmix_exp.ops.window_attention.triton.primitives import LOG2_E, addresses, is_tap, load_weight, product, reflect


@triton.jit(do_not_specialize=SIZES)
def tile_query_kernel(
    query, key, value, weight, out, grad, lse, delta, grad_query, grad_weight,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    o_b, o_h, o_c, o_y, o_x, g_b, g_h, g_c, g_y, g_x, dq_b, dq_h, dq_c, dq_y, dq_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK: tl.constexpr, POSITION: tl.constexpr, ONCE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of the query, this tile's part of the position weight's, and delta = grad . out for the key kernel."""
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
    q_row, q_column = (row * STRIDE)[:, None], (column * STRIDE)[:, None]

    at = addresses(query + image * q_b + head_of_image * q_h, channel[None, :], q_row, q_column, q_c, q_y, q_x)
    q = tl.load(at, mask=is_query, other=0.0)
    g_head, o_head = grad + image * g_b + head_of_image * g_h, out + image * o_b + head_of_image * o_h
    at = addresses(g_head, channel[None, :], row[:, None], column[:, None], g_c, g_y, g_x)
    g = tl.load(at, mask=is_query, other=0.0)
    at = addresses(o_head, channel[None, :], row[:, None], column[:, None], o_c, o_y, o_x)
    o = tl.load(at, mask=is_query, other=0.0)
    number = head * rows * columns + row * columns + column
    log_total = tl.load(lse + number, mask=is_site, other=0.0)
    mean_grad = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
    rest = tl.zeros([TILE_Y * TILE_X], tl.float32)

    scale2 = scale * LOG2_E
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        u_x = tl.sum(q.to(tl.float32) * along_x[None, :], 1) * scale2
        u_y = tl.sum(q.to(tl.float32) * along_y[None, :], 1) * scale2
        t_x = tl.zeros([TILE_Y * TILE_X], tl.float32)
        t_y = tl.zeros([TILE_Y * TILE_X], tl.float32)
        mean_x = tl.zeros([TILE_Y * TILE_X], tl.float32)
        mean_y = tl.zeros([TILE_Y * TILE_X], tl.float32)
    dq = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    for first in range(0, KEYS, BLOCK):
        n = first + tl.arange(0, BLOCK)
        n_y, n_x = n // SPAN_X, n % SPAN_X
        y = reflect(top * STRIDE - REACH + n_y, height, ONCE)
        x = reflect(left * STRIDE - REACH + n_x, width, ONCE)
        is_key = (n < KEYS)[:, None] & is_channel[None, :]
        k_at = addresses(k_head, channel[None, :], y[:, None], x[:, None], k_c, k_y, k_x)
        k = tl.load(k_at, mask=is_key, other=0.0)
        v_at = addresses(v_head, channel[None, :], y[:, None], x[:, None], v_c, v_y, v_x)
        v = tl.load(v_at, mask=is_key, other=0.0)
        logits = product(q, tl.trans(k), PRECISION) * scale2
        p_x, p_y = x * step_x - 1.0, y * step_y - 1.0
        if POSITION:
            logits -= u_x[:, None] * p_x[None, :] + u_y[:, None] * p_y[None, :]
        down = n_y[None, :] - (site_y * STRIDE)[:, None]
        across = n_x[None, :] - (site_x * STRIDE)[:, None]
        p = tl.where(is_tap(down, across, KERNEL, DILATION), tl.exp2(logits - log_total[:, None]), 0.0)
        ds = p * (product(g, tl.trans(v), PRECISION) - mean_grad[:, None])
        rest += tl.sum(ds, 1)
        if POSITION:
            t_x += tl.sum(ds * p_x[None, :], 1)
            t_y += tl.sum(ds * p_y[None, :], 1)
            mean_x += tl.sum(p * p_x[None, :], 1)
            mean_y += tl.sum(p * p_y[None, :], 1)
        dq += product(ds.to(k.dtype), k, PRECISION)

    # The gradients of the logits of a query sum to zero; the rest is the error of delta, because out was rounded.
    tl.store(delta + number, mean_grad + rest, mask=is_site)
    if POSITION:
        t_x -= rest * mean_x
        t_y -= rest * mean_y
        dq -= t_x[:, None] * along_x[None, :] + t_y[:, None] * along_y[None, :]
        part = grad_weight + tl.program_id(0).to(tl.int64) * 2 * D + channel * 2
        tl.store(part, -scale * tl.sum(q.to(tl.float32) * t_x[:, None], 0), mask=is_channel)
        tl.store(part + 1, -scale * tl.sum(q.to(tl.float32) * t_y[:, None], 0), mask=is_channel)
    dq_head = grad_query + image * dq_b + head_of_image * dq_h
    at = addresses(dq_head, channel[None, :], q_row, q_column, dq_c, dq_y, dq_x)
    tl.store(at, (dq * scale).to(grad_query.dtype.element_ty), mask=is_query)
