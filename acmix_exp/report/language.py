"""The language of a report: English sentences are the keys of one message table per other language, such as zh.yaml.

``report.language`` chooses. Words of contracts (keys, the columns of summary.csv, verdicts in one word) and table.tex
stay as they are. A sentence without an entry stays English; a test looks for these.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh")
_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


def language() -> str:
    return _language.get()


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Within it :func:`tr` gives sentences of this language, in this thread."""
    token = _language.set(name)
    try:
        yield
    finally:
        _language.reset(token)


def tr(text: str, **values: Any) -> str:
    """The text in the report's language, its ``{names}`` filled with ``values``."""
    found = messages(_language.get()).get(text, text)
    return found.format(**values) if values else found


@lru_cache
def messages(name: str) -> dict[str, str]:
    """By English text; empty for English."""
    if name == ENGLISH:
        return {}
    content = files("acmix_exp.report").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(content))
