"""What a network costs: parameters, FLOPs, milliseconds."""

from acmix_exp.profile.count import Count, count
from acmix_exp.profile.latency import latency

__all__ = ["Count", "count", "latency"]
