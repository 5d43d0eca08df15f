"""Marks of tests for timm, an extra that the development environment is without; a job of the workflow installs it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm, pip install 'acmix_exp[timm]'")
without_timm = pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
