from __future__ import annotations

import socket
import time

import pytest

from acmix_exp.tracking.settings import reachable
from acmix_exp.tracking.tracker import within


def test_reachable_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert reachable(f"http://127.0.0.1:{server.getsockname()[1]}")


def test_refused_connection_is_known_at_once() -> None:
    began = time.monotonic()
    assert not reachable("http://127.0.0.1:9")
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("url", ["", "https://", "http://127.0.0.1:99999"])
def test_an_invalid_url_is_not_reachable(url: str) -> None:
    assert not reachable(url)


def test_a_slow_resolver_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*args: object, **kwargs: object) -> None:
        time.sleep(1)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "create_connection", slow)
    began = time.monotonic()
    assert not reachable("https://example.org", seconds=0.2)
    assert time.monotonic() - began < 0.9


def test_a_url_behind_a_proxy_counts_as_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert reachable("http://example.org")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert not reachable("http://127.0.0.1:9")


def test_within_ends_in_time_and_passes_errors_on() -> None:
    done: list[int] = []
    within(5, lambda: done.append(1))
    assert done == [1]
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, lambda: time.sleep(1))
    assert time.monotonic() - began < 0.9
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
