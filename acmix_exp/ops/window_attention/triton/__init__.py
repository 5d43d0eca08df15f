"""Backend "triton": window attention as Triton kernels with online softmax, without unfolded windows or atomics.

Read op.py (custom operators; triton is imported by a call only), launch.py (which kernel, with which arguments),
kernel_config.py (the rule that chooses the variant), then the kernels. There are two variants:

- tile_kernels.py: a tile of queries times the rectangle of keys that contains its windows, on matrix units.
- tap_kernels.py: each query times the pixel under each of its taps, for small windows, narrow heads and exact float32.

Each variant has three kernels:

- forward: the output, saving log-sum-exp.
- gradient of the query, with partial sums of the position weight's gradient: the loop of the forward kernel again.
- gradients of key and value: a tile of keys gathers from the queries whose windows contain it or a mirror image of it.

The position term never exists as a map. E is linear in the coordinates, so in a logit it is a rank-2 correction,
query . E[r] = (W^T query) . (column, row), computed in registers from the reflected index.

An Inf or NaN in key or value spreads, in the variant tile, to all queries of the tiles whose rectangle contains it, a
little further than its window; in the variant tap to its window only. Not yet measured on a GPU.
"""
