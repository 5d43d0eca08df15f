"""Variant "tap": each query with the pixel under one of its taps after the other, without matrix units."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl

from acmix_exp.ops.window_attention.triton.primitives import (
    LOG2_E,
    MASKED,
    MIRRORS,
    SIZES,
    load,
    load_weight,
    locate,
    query_range,
    reflect,
    store,
    tap_range,
)


@triton.jit(do_not_specialize=SIZES)
def tap_forward_kernel(
    query, key, value, weight, out, lse,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    o_b, o_h, o_c, o_y, o_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, POSITION: tl.constexpr, ONCE: tl.constexpr,
):  # fmt: skip
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    head, image, head_of_image, top, left, site_y, site_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + site_y, left + site_x
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]

    q_head = query + image * q_b + head_of_image * q_h
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    q = load(q_head, channel, row * STRIDE, column * STRIDE, q_c, q_y, q_x, is_query).to(tl.float32)
    scale2 = scale * LOG2_E  # exp2 is what the hardware has
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        u_x = tl.sum(q * along_x[None, :], 1) * scale2
        u_y = tl.sum(q * along_y[None, :], 1) * scale2

    highest = tl.full([TILE_Y * TILE_X], MASKED, tl.float32)
    total = tl.zeros([TILE_Y * TILE_X], tl.float32)
    mean = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    for i in range(KERNEL):
        y = reflect(row * STRIDE + i * DILATION - REACH, height, ONCE)
        for j in range(KERNEL):
            x = reflect(column * STRIDE + j * DILATION - REACH, width, ONCE)
            k = load(k_head, channel, y, x, k_c, k_y, k_x, is_query).to(tl.float32)
            v = load(v_head, channel, y, x, v_c, v_y, v_x, is_query).to(tl.float32)
            logit = tl.sum(q * k, 1) * scale2
            if POSITION:
                logit -= u_x * (x * step_x - 1.0) + u_y * (y * step_y - 1.0)
            higher = tl.maximum(highest, logit)
            shrink, p = tl.exp2(highest - higher), tl.exp2(logit - higher)
            total = total * shrink + p
            mean = mean * shrink[:, None] + p[:, None] * v
            highest = higher

    o_head = out + image * o_b + head_of_image * o_h
    store(mean / total[:, None], o_head, channel, row, column, o_c, o_y, o_x, is_query)
    tl.store(lse + head * rows * columns + row * columns + column, highest + tl.log2(total), mask=is_site)


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
    head, image, head_of_image, top, left, site_y, site_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + site_y, left + site_x
    is_site = (row < rows) & (column < columns)
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_query = is_site[:, None] & is_channel[None, :]
    q_row, q_column = row * STRIDE, column * STRIDE

    q_head = query + image * q_b + head_of_image * q_h
    q = load(q_head, channel, q_row, q_column, q_c, q_y, q_x, is_query).to(tl.float32)
    g_head, o_head = grad + image * g_b + head_of_image * g_h, out + image * o_b + head_of_image * o_h
    g = load(g_head, channel, row, column, g_c, g_y, g_x, is_query).to(tl.float32)
    mean_grad = tl.sum(g * load(o_head, channel, row, column, o_c, o_y, o_x, is_query).to(tl.float32), 1)
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
            k = load(k_head, channel, y, x, k_c, k_y, k_x, is_query).to(tl.float32)
            v = load(v_head, channel, y, x, v_c, v_y, v_x, is_query).to(tl.float32)
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
    store(dq * scale, dq_head, channel, q_row, q_column, dq_c, dq_y, dq_x, is_query)


@triton.jit(do_not_specialize=(*SIZES, *MIRRORS))
def tap_key_value_kernel(
    query, key, value, weight, grad, lse, delta, grad_key, grad_value,
    q_b, q_h, q_c, q_y, q_x, k_b, k_h, k_c, k_y, k_x, v_b, v_h, v_c, v_y, v_x,
    g_b, g_h, g_c, g_y, g_x, dk_b, dk_h, dk_c, dk_y, dk_x, dv_b, dv_h, dv_c, dv_y, dv_x,
    heads, height, width, rows, columns, tiles, tiles_x, step_y, step_x, scale,
    images_y, first_y, images_x, first_x,
    D: tl.constexpr, BLOCK_D: tl.constexpr, KERNEL: tl.constexpr, STRIDE: tl.constexpr, DILATION: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, POSITION: tl.constexpr,
):  # fmt: skip
    """For a tile of keys, loop over its mirror images and, per image, over the taps that can lie over it.

    Mirror images are explained in ``tile_key_value_kernel``. No sums are accumulated in global memory.
    """
    REACH: tl.constexpr = KERNEL // 2 * DILATION
    head, image, head_of_image, top, left, key_y, key_x = locate(heads, tiles, tiles_x, TILE_Y, TILE_X)

    row, column = top + key_y, left + key_x
    channel = tl.arange(0, BLOCK_D)
    is_channel = channel < D
    is_key = ((row < height) & (column < width))[:, None] & is_channel[None, :]
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    k = load(k_head, channel, row, column, k_c, k_y, k_x, is_key).to(tl.float32)
    v = load(v_head, channel, row, column, v_c, v_y, v_x, is_key).to(tl.float32)
    scale2 = scale * LOG2_E
    if POSITION:
        # The logit of a query with this key is query . (key - position embedding).
        along_x, along_y = load_weight(weight, channel, is_channel)
        p_x, p_y = column * step_x - 1.0, row * step_y - 1.0
        k -= p_x[:, None] * along_x[None, :] + p_y[:, None] * along_y[None, :]

    dk = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    dv = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    q_head, g_head = query + image * q_b + head_of_image * q_h, grad + image * g_b + head_of_image * g_h
    for image_y in range(images_y):
        sign_y = 1 - 2 * (image_y % 2)
        at_y = (image_y // 2 - first_y) * tl.maximum(2 * height - 2, 1)
        from_row, to_row, _, count_y, from_image, to_image = query_range(
            at_y, height, rows, sign_y, top, REACH, STRIDE, TILE_Y
        )
        has_row = (row >= from_row) & (row <= to_row)
        from_i, to_i = tap_range(from_image, to_image, rows, KERNEL, STRIDE, DILATION)
        for image_x in range(tl.where(count_y > 0, images_x, 0)):
            sign_x = 1 - 2 * (image_x % 2)
            at_x = (image_x // 2 - first_x) * tl.maximum(2 * width - 2, 1)
            from_column, to_column, _, count_x, from_image, to_image = query_range(
                at_x, width, columns, sign_x, left, REACH, STRIDE, TILE_X
            )
            has_image = has_row & (column >= from_column) & (column <= to_column)
            from_j, to_j = tap_range(from_image, to_image, columns, KERNEL, STRIDE, DILATION)
            for i in range(from_i, tl.where(count_x > 0, to_i, from_i)):
                down = at_y + sign_y * row + REACH - i * DILATION
                site_y = down // STRIDE
                in_row = has_image & (down >= 0) & (down % STRIDE == 0) & (site_y < rows)
                for j in range(from_j, to_j):
                    across = at_x + sign_x * column + REACH - j * DILATION
                    site_x = across // STRIDE
                    is_under_tap = in_row & (across >= 0) & (across % STRIDE == 0) & (site_x < columns)
                    is_query = is_under_tap[:, None] & is_channel[None, :]
                    q = load(q_head, channel, site_y * STRIDE, site_x * STRIDE, q_c, q_y, q_x, is_query).to(tl.float32)
                    g = load(g_head, channel, site_y, site_x, g_c, g_y, g_x, is_query).to(tl.float32)
                    number = head * rows * columns + site_y * columns + site_x
                    log_total = tl.load(lse + number, mask=is_under_tap, other=0.0)
                    mean_grad = tl.load(delta + number, mask=is_under_tap, other=0.0)
                    p = tl.where(is_under_tap, tl.exp2(tl.sum(q * k, 1) * scale2 - log_total), 0.0)
                    ds = tl.where(is_under_tap, p * (tl.sum(g * v, 1) - mean_grad), 0.0)
                    dv += p[:, None] * g
                    dk += ds[:, None] * q

    dk_head = grad_key + image * dk_b + head_of_image * dk_h
    store(dk * scale, dk_head, channel, row, column, dk_c, dk_y, dk_x, is_key)
    dv_head = grad_value + image * dv_b + head_of_image * dv_h
    store(dv, dv_head, channel, row, column, dv_c, dv_y, dv_x, is_key)
