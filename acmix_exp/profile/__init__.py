"""What a network costs: parameters, FLOPs, latency.

Read count.py (parameters and FLOPs, with our blocks counted analytically), latency.py (timing), then cost.py, which
puts both under the keys of result.json and profile.json.
"""

from acmix_exp.profile.cost import BATCHES, complexity, named, timings
from acmix_exp.profile.count import Count, count
from acmix_exp.profile.latency import Latency, fused, latencies, latency

__all__ = [
    "BATCHES",
    "Count",
    "Latency",
    "Site",
    "complexity",
    "count",
    "fused",
    "latencies",
    "latency",
    "named",
    "timings",
]
