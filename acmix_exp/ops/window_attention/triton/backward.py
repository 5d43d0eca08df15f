"""Gradients, the probabilities computed again from log-sum-exp; every sum is made in one order, without atomics."""
# mypy: allow-untyped-defs, allow-incomplete-defs

import triton
import triton.language as tl
from torch import Tensor

from acmix_exp.ops.window_attention.triton.launch import SIZES, Plan, on_device
from acmix_exp.ops.window_attention.triton.primitives import LOG2_E, is_tap, load_weight, places, product, reflect


@triton.jit(do_not_specialize=SIZES)
def query_kernel(
    query,
    key,
    value,
    weight,
    out,
    grad,
    lse,
    delta,
    grad_query,
    grad_weight,
    q_b,
    q_h,
    q_c,
    q_y,
    q_x,
    k_b,
    k_h,
    k_c,
    k_y,
    k_x,
    v_b,
    v_h,
    v_c,
    v_y,
    v_x,
    o_b,
    o_h,
    o_c,
    o_y,
    o_x,
    g_b,
    g_h,
    g_c,
    g_y,
    g_x,
    dq_b,
    dq_h,
    dq_c,
    dq_y,
    dq_x,
    heads,
    height,
    width,
    rows,
    columns,
    tiles,
    tiles_x,
    step_y,
    step_x,
    scale,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    BLOCK: tl.constexpr,
    POSITION: tl.constexpr,
    ONCE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradient of the query, this tile's part of the position weight's, and delta = grad . out for the other kernel."""
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

    at = places(query + image * q_b + head_of_image * q_h, channel[None, :], q_row, q_column, q_c, q_y, q_x)
    q = tl.load(at, mask=is_query, other=0.0)
    g_head, o_head = grad + image * g_b + head_of_image * g_h, out + image * o_b + head_of_image * o_h
    at = places(g_head, channel[None, :], row[:, None], column[:, None], g_c, g_y, g_x)
    g = tl.load(at, mask=is_query, other=0.0)
    at = places(o_head, channel[None, :], row[:, None], column[:, None], o_c, o_y, o_x)
    o = tl.load(at, mask=is_query, other=0.0)
    number = head * rows * columns + row * columns + column
    log_total = tl.load(lse + number, mask=is_site, other=0.0)
    mean_grad = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
    tl.store(delta + number, mean_grad, mask=is_site)

    scale2 = scale * LOG2_E
    if POSITION:
        along_x, along_y = load_weight(weight, channel, is_channel)
        u_x = tl.sum(q.to(tl.float32) * along_x[None, :], 1) * scale2
        u_y = tl.sum(q.to(tl.float32) * along_y[None, :], 1) * scale2
        t_x = tl.zeros([TILE_Y * TILE_X], tl.float32)
        t_y = tl.zeros([TILE_Y * TILE_X], tl.float32)
    dq = tl.zeros([TILE_Y * TILE_X, BLOCK_D], tl.float32)
    k_head, v_head = key + image * k_b + head_of_image * k_h, value + image * v_b + head_of_image * v_h
    for first in range(0, KEYS, BLOCK):
        n = first + tl.arange(0, BLOCK)
        n_y, n_x = n // SPAN_X, n % SPAN_X
        y = reflect(top * STRIDE - REACH + n_y, height, ONCE)
        x = reflect(left * STRIDE - REACH + n_x, width, ONCE)
        is_key = (n < KEYS)[:, None] & is_channel[None, :]
        k_at = places(k_head, channel[None, :], y[:, None], x[:, None], k_c, k_y, k_x)
        k = tl.load(k_at, mask=is_key, other=0.0)
        v_at = places(v_head, channel[None, :], y[:, None], x[:, None], v_c, v_y, v_x)
        v = tl.load(v_at, mask=is_key, other=0.0)
        logits = product(q, tl.trans(k), PRECISION) * scale2
        p_x, p_y = x * step_x - 1.0, y * step_y - 1.0
        if POSITION:
            logits -= u_x[:, None] * p_x[None, :] + u_y[:, None] * p_y[None, :]
        down = n_y[None, :] - (site_y * STRIDE)[:, None]
        across = n_x[None, :] - (site_x * STRIDE)[:, None]
        p = tl.where(is_tap(down, across, KERNEL, DILATION), tl.exp2(logits - log_total[:, None]), 0.0)
        ds = p * (product(g, tl.trans(v), PRECISION) - mean_grad[:, None])
        if POSITION:
            t_x += tl.sum(ds * p_x[None, :], 1)
            t_y += tl.sum(ds * p_y[None, :], 1)
        dq += product(ds.to(k.dtype), k, PRECISION)

    if POSITION:
        dq -= t_x[:, None] * along_x[None, :] + t_y[:, None] * along_y[None, :]
        part = grad_weight + tl.program_id(0).to(tl.int64) * 2 * D + channel * 2
        tl.store(part, -scale * tl.sum(q.to(tl.float32) * t_x[:, None], 0), mask=is_channel)
        tl.store(part + 1, -scale * tl.sum(q.to(tl.float32) * t_y[:, None], 0), mask=is_channel)
    dq_head = grad_query + image * dq_b + head_of_image * dq_h
    at = places(dq_head, channel[None, :], q_row, q_column, dq_c, dq_y, dq_x)
    tl.store(at, (dq * scale).to(grad_query.dtype.element_ty), mask=is_query)


@triton.jit
def queries_of(first, size, sites, sign, low, REACH: tl.constexpr, STRIDE: tl.constexpr, TILE: tl.constexpr):
    """The queries of one axis that see an image of the keys ``low`` .. ``low + TILE - 1``: first, how many.

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
    return from_key, to_key, from_site, count


@triton.jit(do_not_specialize=(*SIZES, "images_y", "images_x", "first_y", "first_x"))
def key_value_kernel(
    query,
    key,
    value,
    weight,
    grad,
    lse,
    delta,
    grad_key,
    grad_value,
    q_b,
    q_h,
    q_c,
    q_y,
    q_x,
    k_b,
    k_h,
    k_c,
    k_y,
    k_x,
    v_b,
    v_h,
    v_c,
    v_y,
    v_x,
    g_b,
    g_h,
    g_c,
    g_y,
    g_x,
    dk_b,
    dk_h,
    dk_c,
    dk_y,
    dk_x,
    dv_b,
    dv_h,
    dv_c,
    dv_y,
    dv_x,
    heads,
    height,
    width,
    rows,
    columns,
    tiles,
    tiles_x,
    step_y,
    step_x,
    scale,
    images_y,
    first_y,
    images_x,
    first_x,
    D: tl.constexpr,
    BLOCK_D: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    DILATION: tl.constexpr,
    TILE_Y: tl.constexpr,
    TILE_X: tl.constexpr,
    BLOCK: tl.constexpr,
    POSITION: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of key and value: a tile of keys stays and walks over its mirror images and the queries seeing them.

    A reflected window is a plain window over the endless mirrored map, in which the images of pixel y lie at
    period * a + y and period * a - y. So each key gathers all it gives to, and nothing is added up in memory.
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
    at = places(k_head, channel[None, :], row[:, None], column[:, None], k_c, k_y, k_x)
    k = tl.load(at, mask=is_key, other=0.0)
    at = places(v_head, channel[None, :], row[:, None], column[:, None], v_c, v_y, v_x)
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
        from_row, to_row, from_y, count_y = queries_of(at_y, height, rows, sign_y, top, REACH, STRIDE, TILE_Y)
        has_row = (row >= from_row) & (row <= to_row)
        for j in range(tl.where(count_y > 0, images_x, 0)):
            sign_x = 1 - 2 * (j % 2)
            at_x = (j // 2 - first_x) * tl.maximum(2 * width - 2, 1)
            from_column, to_column, from_x, count_x = queries_of(
                at_x, width, columns, sign_x, left, REACH, STRIDE, TILE_X
            )
            has_image = has_row & (column >= from_column) & (column <= to_column)
            for first in range(0, count_y * count_x, BLOCK):
                n = first + tl.arange(0, BLOCK)
                site_y, site_x = from_y + n // count_x, from_x + n % count_x
                is_site = n < count_y * count_x
                is_query = is_site[:, None] & is_channel[None, :]
                q_row, q_column = (site_y * STRIDE)[:, None], (site_x * STRIDE)[:, None]
                q_at = places(q_head, channel[None, :], q_row, q_column, q_c, q_y, q_x)
                q = tl.load(q_at, mask=is_query, other=0.0)
                g_at = places(g_head, channel[None, :], site_y[:, None], site_x[:, None], g_c, g_y, g_x)
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

    at = places(
        grad_key + image * dk_b + head_of_image * dk_h,
        channel[None, :],
        row[:, None],
        column[:, None],
        dk_c,
        dk_y,
        dk_x,
    )
    tl.store(at, (dk * scale).to(grad_key.dtype.element_ty), mask=is_key)
    at = places(
        grad_value + image * dv_b + head_of_image * dv_h,
        channel[None, :],
        row[:, None],
        column[:, None],
        dv_c,
        dv_y,
        dv_x,
    )
    tl.store(at, dv.to(grad_value.dtype.element_ty), mask=is_key)


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    out: Tensor,
    lse: Tensor,
    grads: tuple[Tensor, Tensor, Tensor],
    kernel: int,
    stride: int,
    dilation: int,
    scale: float,
) -> Tensor | None:
    """Fill the gradients of query (zero where no query is), key and value; return the position weight's."""
    plan = Plan(query, kernel, stride, dilation)
    delta = lse.new_empty(lse.shape)
    parts = None if weight is None else lse.new_empty(*plan.grid(plan.rows, plan.columns), plan.d, 2)
    grad_query, grad_key, grad_value = grads
    mirrors = *plan.mirrors(plan.height), *plan.mirrors(plan.width)
    with on_device(query):
        strides = [s for t in (query, key, value, out, grad, grad_query) for s in t.stride()]
        query_kernel[plan.grid(plan.rows, plan.columns)](
            query, key, value, weight, out, grad, lse, delta, grad_query, parts,
            *strides, *plan.sizes(plan.rows, plan.columns), scale,
            *plan.constants, POSITION=weight is not None, ONCE=plan.once, PRECISION=plan.precision, **plan.options,
        )  # fmt: skip
        strides = [s for t in (query, key, value, grad, grad_key, grad_value) for s in t.stride()]
        key_value_kernel[plan.grid(plan.height, plan.width)](
            query, key, value, weight, grad, lse, delta, grad_key, grad_value,
            *strides, *plan.sizes(plan.height, plan.width), scale, *mirrors,
            *plan.constants, POSITION=weight is not None, PRECISION=plan.precision, **plan.options,
        )  # fmt: skip
    return None if parts is None else parts.sum(0)
