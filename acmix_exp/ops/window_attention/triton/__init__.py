"""Window attention as Triton kernels: online softmax, no neighbourhood in memory, no atomics.

``op.py`` is all that the rest of the package sees; only a call of the operator imports triton. Two walks over
the window; ``config.choose_walk`` says which a call takes:

- tile: a tile of queries against the rectangle of keys that holds all its windows, on matrix units.
- tap: every query with each of its taps and nothing else, for small windows, narrow heads and exact float32.

Three kernels each:

- forward: the output, keeping log-sum-exp.
- gradient of the query, and partial sums of the position weight's: the same walk once more.
- gradients of key and value: a tile of keys against the queries that see it or one of its mirror images.

The position term is never a map. E is linear in the coordinates, so in a logit it is a rank-2 correction, query .
E[r] = (W^T query) . (column, row), computed in registers from the reflected index.

An Inf or NaN in key or value spreads, in the tile walk, to all queries of the tiles that can see it, a little
further than its window; in the tap walk to its window alone. Not yet measured on a GPU.
"""
