"""Variant "tile": a tile of queries times the rectangle of keys that contains its windows, on matrix units."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.primitives import (
    LOG2_E,
    MASKED,
    MIRRORS,
    SIZES,
    is_tap,
    load,
    load_weight,
    locate,
    product,
    query_range,
    reflect,
    store,
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
    head, image, head_of_image, top, left, site_y, site_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + site_y, left + site_x
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]

    q_head = query + image * q_b + head_of_image * q_h
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    q = load(q_head, channel, row * STRIDE, column * STRIDE, q_c, q_y, q_x, is_query)
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
        k_at = k_head + channel[:, None] * k_c + y[None, :] * k_y + x[None, :] * k_x
        k = tl.load(k_at, mask=is_channel[:, None] & is_key[None, :], other=0.0)
        logits = product(q, k, PRECISION) * scale2
        if POSITION:
            logits -= u_x[:, None] * (x * step_x - 1.0)[None, :] + u_y[:, None] * (y * step_y - 1.0)[None, :]
        # A key with number KEYS or more is below the rectangle, so below every window.
        down = n_y[None, :] - (site_y * STRIDE)[:, None]
        across = n_x[None, :] - (site_x * STRIDE)[:, None]
        logits = tl.where(is_tap(down, across, KERNEL, DILATION), logits, MASKED)
        higher = tl.maximum(highest, tl.max(logits, 1))
        shrink = tl.exp2(highest - higher)
        p = tl.exp2(logits - higher[:, None])
        total = total * shrink + tl.sum(p, 1)
        highest = higher
        v = load(v_head, channel, y, x, v_c, v_y, v_x, is_key[:, None] & is_channel[None, :])
        mean = mean * shrink[:, None] + product(p.to(v.dtype), v, PRECISION)

    o_head = out + image * o_b + head_of_image * o_h
    store(mean / total[:, None], o_head, channel, row, column, o_c, o_y, o_x, is_query)
    tl.store(lse + head * rows * columns + row * columns + column, highest + tl.log2(total), mask=is_site)


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
    head, image, head_of_image, top, left, site_y, site_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + site_y, left + site_x
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]
    q_row, q_column = row * STRIDE, column * STRIDE

    q = load(query + image * q_b + head_of_image * q_h, channel, q_row, q_column, q_c, q_y, q_x, is_query)
    g_head, o_head = grad + image * g_b + head_of_image * g_h, out + image * o_b + head_of_image * o_h
    g = load(g_head, channel, row, column, g_c, g_y, g_x, is_query)
    o = load(o_head, channel, row, column, o_c, o_y, o_x, is_query)
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
        k = load(k_head, channel, y, x, k_c, k_y, k_x, is_key)
        v = load(v_head, channel, y, x, v_c, v_y, v_x, is_key)
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
    store(dq * scale, dq_head, channel, q_row, q_column, dq_c, dq_y, dq_x, is_query)


@triton.jit(do_not_specialize=(*SIZES, *MIRRORS))
def tile_key_value_kernel(
    query, key, value, weight, grad, lse, delta, grad_key, grad_value,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    g_b, g_h, g_c, g_y, g_x, dk_b, dk_h, dk_c, dk_y, dk_x, dv_b, dv_h, dv_c, dv_y, dv_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    images_y, first_y, images_x, first_x,
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
    head, image, head_of_image, top, left, key_y, key_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + key_y, left + key_x
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_key = ((row < height) & (column < width))[:, None] & is_channel[None, :]
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    k = load(k_head, channel, row, column, k_c, k_y, k_x, is_key)
    v = load(v_head, channel, row, column, v_c, v_y, v_x, is_key)
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
                q = load(q_head, channel, site_y * STRIDE, site_x * STRIDE, q_c, q_y, q_x, is_query)
                g = load(g_head, channel, site_y, site_x, g_c, g_y, g_x, is_query)
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
    store(dk * scale, dk_head, channel, row, column, dk_c, dk_y, dk_x, is_key)
    dv_head = grad_value + image * dv_b + head_of_image * dv_h
    store(dv, dv_head, channel, row, column, dv_c, dv_y, dv_x, is_key)
