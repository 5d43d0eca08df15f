"""Attention with a bias on its logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def biased_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """``softmax(query key^T / sqrt(d) + bias) value``: (B, h, L, d), twice (B, h, S, d), and (B, h, L, S) or None.

    bias: of the dtype of the query; its first two sizes may be 1. -> (B, h, L, d).

    By scaled_dot_product_attention. On a CPU that has no fused kernel for a bias with a gradient, and its unfused form
    also looks for rows that are masked throughout, which a finite bias cannot have: there the products are taken here.
    """
    needs_gradient = bias is not None and torch.is_grad_enabled() and bias.requires_grad
    if bias is None or not needs_gradient or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, bias)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1) + bias
    return logits.softmax(-1).to(value.dtype) @ value
