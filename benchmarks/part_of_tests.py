"""pytest plugin: ``--part=1/4`` runs every fourth test, beginning with the second. ``-p benchmarks.part_of_tests``."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", default="0/1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: left out here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    part, parts = map(int, config.getoption("--part").split("/"))
    quick = [item for item in items if item.get_closest_marker("slow") is None]
    items[:] = quick[part::parts]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:  # more parts than tests
        session.exitstatus = pytest.ExitCode.OK
