"""A limit in time for calls that have none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable


def within(seconds: float, action: Callable[[], object]) -> None:
    """Run ``action``; raise what it raises, or TimeoutError after ``seconds``.

    For calls of wandb that ask the server and wait, such as storing a table online (20 s on a dead
    connection). What has run out of time is left behind in a daemon thread.
    """
    failure: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="wandb-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"the server did not answer within {seconds:g} s")
    if failure:
        raise failure[0]
