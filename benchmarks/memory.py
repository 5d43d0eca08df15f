"""Peak memory of one step above that of its inputs, in MB.

On CUDA the peak of torch's allocator. On a CPU the peak resident memory of a separate process: torch's profiler sees
only tensors, the operating system also sees buffers of libraries. The process has run the same code on a small map
before, so that loading it is not counted.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.context import ForkServerContext
from typing import Any

import torch

from benchmarks.shapes import Problem
from benchmarks.verify import Contender, Verified

Build = Callable[[Any], Contender]  # from a case
M_MMAP_THRESHOLD = -3  # of mallopt(3)


def cuda_peak(contender: Verified, step: str) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    getattr(contender, step)()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - base) / 1e6


def cpu_peaks(build: Build, case: Problem) -> dict[str, float] | None:
    """Peak of "forward" and "training"; None if the system is not Linux.

    ``build`` must be importable: a function of a module, or a partial of one.
    """
    if sys.platform != "linux":
        return None
    with _server().Pool(1) as pool:
        return pool.apply(_child, (build, case, torch.get_num_threads()))


@cache
def _server() -> ForkServerContext:
    """Starts processes by forking one that has only imported torch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "benchmarks.published_form", "acmix_exp.nn"])
    return context


def _child(build: Build, case: Problem, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    # Freed memory is returned at once: glibc would keep some of it, and its fragments would count.
    if set_option := getattr(ctypes.CDLL(None), "mallopt", None):
        set_option(M_MMAP_THRESHOLD, 2**16)
    _run(build(case.small()), case.small())
    return _run(build(case), case)


def _run(contender: Contender, case: Problem) -> dict[str, float]:
    peaks = {"forward": _peak(contender.forward)}
    if contender.leaves:
        peaks["training"] = _peak(partial(contender.gradients, case.output_gradient()))
    return peaks


def _peak(step: Callable[[], object]) -> float:
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    base = _status("VmRSS")
    step()
    return (_status("VmHWM") - base) * 1024 / 1e6


def _status(key: str) -> int:
    """kB of this process, by a line of /proc/self/status."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key + ":"))
