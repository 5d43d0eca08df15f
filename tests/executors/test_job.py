"""What a job of a cluster costs before the training's process starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIMIT_SECONDS = 3.0
CODE = """
import sys, time
from acmix_exp.executors import {module}
assert not {{"torch", "ultralytics", "pandas", "matplotlib"}} & set(sys.modules)
print(time.process_time())
"""


@pytest.mark.parametrize("module", ["slurm_job", "ray_job"])
def test_a_job_adds_under_three_seconds_to_a_run(module: str) -> None:
    code = CODE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < LIMIT_SECONDS
