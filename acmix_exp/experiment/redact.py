"""Secrets taken out of what is written down: values of variables that are named like one, and what looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

MASK = "***"
_NAMED = re.compile(r"KEY|TOKEN|SECRET|PASS(?:WORD|WD|PHRASE)|CREDENTIAL|AUTH", re.IGNORECASE)
_LEAST = 6  # characters: a shorter value would be found everywhere
_PART = r"[\w.-]{0,99}"  # bounded, for a diff may hold lines of any length
_NAME = rf"(?<![\w.-]){_PART}(?:%s){_PART}[\"']?\s*"
_SECRET = r"(?:api|access|private)[_-]?key|secret|passw(?:or)?d|passphrase|credential"
_ANY = _NAME % f"{_SECRET}|token"
_BARE = r"[^\s\"'()\[\]{},;#<>*]"  # a character of a value without quotes, which is not an expression
_PATTERNS = [
    (re.compile(r"\b(\w+://)[^/\s@'\"]+@"), rf"\1{MASK}@"),  # user and password of an address
    (re.compile(rf"(?i)({_ANY}[:=]\s*)([\"'])[^\"'\n]{{{_LEAST},}}\2"), rf"\1\2{MASK}\2"),
    (re.compile(r"\b([A-Z_]*(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)[A-Z_]*=)[^\s\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer )[\w.~+/=-]{16,}"), rf"\1{MASK}"),
    # A word alone behind a colon, to the end of the line; names of types begin in upper case.
    (re.compile(rf"(?m)((?i:{_NAME % _SECRET}):[ \t]+)[a-z]{_BARE}{{7,}}(?=[ \t]*(?:#.*)?$)"), rf"\1{MASK}"),
]
# Neither called nor indexed; possessive, or the start of such a name would do.
_UNQUOTED = re.compile(rf"(?i)({_ANY}[:=][ \t]*)({_BARE}{{8,}}+)(?![(\[])")


def is_secret(name: str) -> bool:
    """Whether a variable's name says that its value is a secret."""
    return _NAMED.search(name) is not None


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text with every value of a secretly named variable, password in an address and value of a secret masked."""
    secrets = {value for name, value in environment.items() if is_secret(name) and len(value) >= _LEAST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, masked in _PATTERNS:
        text = pattern.sub(masked, text)
    return _UNQUOTED.sub(_without_value, text)


def _without_value(found: re.Match[str]) -> str:
    """A value with a digit in it and without quotes; of a token, which is what attention has too, no number or name."""
    name, value = found.groups()
    code = "token" in name.lower() and re.fullmatch(r"-?[\d._e+-]+|[A-Za-z_][\w.]{,19}", value)
    return found[0] if code or not re.search(r"\d", value) else f"{name}{MASK}"
