"""Secrets taken out of what is written down: values of variables that are named like one, and what looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MASK = "***"
_NAMED = re.compile(r"KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)|CREDENTIAL|AUTH", re.IGNORECASE)
_LEAST = 6  # characters: a shorter value would be found everywhere
_WORD = r"[\w.-]*(?:api_?key|token|secret|passw(?:or)?d|credential)[\w.-]*"
_PATTERNS = [
    (re.compile(r"(\w+://)[^/\s@'\"]+@"), rf"\1{MASK}@"),  # user and password of an address
    (re.compile(rf"(?i)({_WORD}[\"']?\s*[:=]\s*)([\"'])[^\"'\n]{{{_LEAST},}}\2"), rf"\1\2{MASK}\2"),
    (re.compile(r"\b([A-Z_]*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)[A-Z_]*=)[^\s\"']+"), rf"\1{MASK}"),
]


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _NAMED.search(name) is not None


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with every value of a secretly named variable, password in an address and quoted secret masked."""
    secrets = {value for name, value in environment.items() if is_secret(name) and len(value) >= _LEAST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, masked in _PATTERNS:
        text = pattern.sub(masked, text)
    return text
