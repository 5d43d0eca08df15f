"""Variant "tap", gradient of the query: the forward loop again, with probabilities from log-sum-exp."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.launch import SIZES
from acmix_exp.ops.window_attention.triton.primitives import LOG2_E, addresses, load_weight, reflect


@triton.jit(do_not_specialize=SIZES)
def tap_query_kernel(
    query, key, value, weight, out, grad, lse, delta, grad_query, grad_weight,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    o_b, o_h, o_c, o_y, o_x, g_b, g_h, g_c, g_y, g_x, dq_b, dq_h, dq_c, dq_y, dq_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, POSITION: tl.constexpr, ONCE: tl.constexpr,
):  # fmt: skip
    """Gradient of the query, this tile's part of the position weight's, and delta = grad . out for the key kernel."""
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    tile = tl.program_id(0) % tiles
    head = (tl.program_id(0) // tiles).to(tl.int64)
    image, head_of_image = head // heads, head % heads

    site = tl.arange(0, TILE_Y * TILE_X)
    row, column = tile // tiles_x * TILE_Y + site // TILE_X, tile % tiles_x * TILE_X + site % TILE_X
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]
    q_row, q_column = (row * STRIDE)[:, None], (column * STRIDE)[:, None]

    at = addresses(query + image * q_b + head_of_image * q_h, channel[None, :], q_row, q_column, q_c, q_y, q_x)
    q = tl.load(at, mask=is_query, other=0.0).to(tl.float32)
    g_head, o_head = grad + image * g_b + head_of_image * g_h, out + image * o_b + head_of_image * o_h
    at = addresses(g_head, channel[None, :], row[:, None], column[:, None], g_c, g_y, g_x)
    g = tl.load(at, mask=is_query, other=0.0).to(tl.float32)
    at = addresses(o_head, channel[None, :], row[:, None], column[:, None], o_c, o_y, o_x)
    mean_grad = tl.sum(g * tl.load(at, mask=is_query, other=0.0).to(tl.float32), 1)
    number = head * rows * columns + row * columns + column
    log_total = tl.load(lse + number, mask=is_site, other=0.0)
    rest = tl.zeros([TILE_Y * TILE_X], tl.float32)

    scale2 = scale * LOG2_E
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        u_x = tl.sum(q * along_x[None, :], 1) * scale2
        u_y = tl.sum(q * along_y[None, :], 1) * scale2
        t_x = tl.zeros([TILE_Y * TILE_X], tl.float32)
        t_y = tl.zeros([TILE_Y * TILE_X], tl.float32)
        mean_x = tl.zeros([TILE_Y * TILE_X], tl.float32)
        mean_y = tl.zeros([TILE_Y * TILE_X], tl.float32)
    dq = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    for i in range(KERNEL):
        y = reflect(row * STRIDE + i * DILATION - REACH, height, ONCE)
        for j in range(KERNEL):
            x = reflect(column * STRIDE + j * DILATION - REACH, width, ONCE)
            k_at = addresses(k_head, channel[None, :], y[:, None], x[:, None], k_c, k_y, k_x)
            k = tl.load(k_at, mask=is_query, other=0.0).to(tl.float32)
            v_at = addresses(v_head, channel[None, :], y[:, None], x[:, None], v_c, v_y, v_x)
            v = tl.load(v_at, mask=is_query, other=0.0).to(tl.float32)
            logit = tl.sum(q * k, 1) * scale2
            p_x, p_y = x * step_x - 1.0, y * step_y - 1.0
            if POSITION:
                logit -= u_x * p_x + u_y * p_y
            p = tl.exp2(logit - log_total)
            ds = p * (tl.sum(g * v, 1) - mean_grad)
            rest += ds
            if POSITION:
                t_x += ds * p_x
                t_y += ds * p_y
                mean_x += p * p_x
                mean_y += p * p_y
            dq += ds[:, None] * k

    # The gradients of the logits of a query sum to zero; the rest is the error of delta, because out was rounded.
    tl.store(delta + number, mean_grad + rest, mask=is_site)
    if POSITION:
        t_x = tl.where(is_site, t_x - rest * mean_x, 0.0)
        t_y = tl.where(is_site, t_y - rest * mean_y, 0.0)
        dq -= t_x[:, None] * along_x[None, :] + t_y[:, None] * along_y[None, :]
        part = grad_weight + tl.program_id(0).to(tl.int64) * 2 * D + channel * 2
        tl.store(part, -scale * tl.sum(q * t_x[:, None], 0), mask=is_channel)
        tl.store(part + 1, -scale * tl.sum(q * t_y[:, None], 0), mask=is_channel)
    dq_head = grad_query + image * dq_b + head_of_image * dq_h
    at = addresses(dq_head, channel[None, :], q_row, q_column, dq_c, dq_y, dq_x)
    tl.store(at, (dq * scale).to(grad_query.dtype.element_ty), mask=is_query)
