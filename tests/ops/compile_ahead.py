"""Compile the kernels for a GPU that need not be present, and print the registers and memory that each uses.

Triton's driver is replaced by one that only names its target, and a launch by a compilation. Run without
TRITON_INTERPRET.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas

from acmix_exp.ops.window_attention.triton import launch, op

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Driver:
    """A driver for a GPU that kernels are compiled for but not run on."""

    def __init__(self, capability: int) -> None:
        self.target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return self.target.arch

    def get_current_stream(self, device: int) -> int:
        return 0


class Ahead:
    """A kernel whose launch compiles it and does not run it."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.compiled: Any = None

    def __getitem__(self, grid: tuple[int]) -> Any:
        def launch(*arguments: Any, **options: Any) -> None:
            self.compiled = self.kernel.warmup(*arguments, grid=grid, **options)

        return launch


def call(dtype: torch.dtype, d: int, window: int, channels_last: bool) -> None:
    """Call the operator on a map of 40 x 40, forward and backward."""
    maps = [torch.zeros(1, 2, d, 40, 40, dtype=dtype) for _ in range(3)]
    if channels_last:
        maps = [torch.zeros(1, 40, 40, 2, d, dtype=dtype).permute(0, 3, 4, 1, 2) for _ in maps]
    leaves = [*(image.requires_grad_() for image in maps), torch.zeros(d, 2, requires_grad=True)]
    out = op.attend(*leaves, window, 1, 1, 0.5)
    torch.autograd.grad(out, leaves, torch.zeros_like(out))


def registers(ptx: str, capability: int) -> tuple[int, int]:
    """Registers per thread and spilled bytes, as reported by the assembler."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(ptx)
        architecture = f"sm_{capability}" + ("a" if capability >= 90 else "")
        command = [get_ptxas(capability).path, "-v", f"-arch={architecture}", str(file), "-o", f"{file}.cubin"]
        output = subprocess.run(command, capture_output=True, text=True, check=True)
    text = output.stdout + output.stderr
    return int(re.findall(r"Used (\d+) registers", text)[-1]), int(re.findall(r"(\d+) bytes spill stores", text)[-1])


def widths(ptx: str) -> Counter[int]:
    """Number of loads by width in bits; asynchronous copies to shared memory count as loads."""
    plain = re.findall(r"ld\.global(?:\.\w+::\w+)*(?:\.v(\d))?\.[bfus](\d+)", ptx)
    copies = re.findall(r"cp\.async\.c[ag]\.shared\.global \[.*?\], \[.*?\], 0x(\w+)", ptx)
    return Counter(int(count or 1) * int(bits) for count, bits in plain) + Counter(8 * int(n, 16) for n in copies)


def main(cases: list[str]) -> None:
    """Compile each case: dtype,d,window,nhwc or nchw,precision,compute capability."""
    ahead = {names: Ahead(kernel) for names, kernel in launch.KERNELS.items()}
    launch.KERNELS.update(ahead)
    for case in cases:
        dtype, d, window, layout, precision, capability = case.split(",")
        triton.runtime.driver.set_active(Driver(int(capability)))
        torch.set_float32_matmul_precision("highest" if precision == "ieee" else "high")
        call(DTYPES[dtype], int(d), int(window), layout == "nhwc")
        for (variant, part), kernel in ahead.items():
            if kernel.compiled is None:
                continue
            ptx = kernel.compiled.asm["ptx"]
            used, spilled = registers(ptx, int(capability))
            products = len(re.findall(r"wgmma\.mma_async|mma\.sync", ptx))
            label = f"sm_{capability} {dtype} d{d} k{window} {layout} {precision} {variant}_{part}_kernel"
            costs = f"{used} registers, {spilled} bytes spilled, {kernel.compiled.metadata.shared} bytes shared"
            loads = ", ".join(f"{count} of {bits}" for bits, count in sorted(widths(ptx).items(), reverse=True))
            print(f"{label}: {costs}, {products} matrix instructions; loads in bits: {loads}", flush=True)
            kernel.compiled = None


if __name__ == "__main__":
    main(sys.argv[1:])
