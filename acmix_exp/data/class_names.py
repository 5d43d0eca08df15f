"""The class names of a data.yaml, as the text that the user wrote.

YAML reads ``[yes, no]`` as true and false, ``010`` as 8 and ``~`` as nothing. A class name is text, so the names are
taken from the parsed document before such values are made of them.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

_MOST_CLASSES = 1_000_000  # a mistyped nc must not fill the memory
_FORM = "must be a list of class names, or a mapping of 0, 1, 2, ... to names"


class NamesError(ValueError):
    """Class names that cannot be used: what is wrong, with the line, and what is right."""


def class_names(node: yaml.Node | None, count: Any) -> dict[int, str]:
    """The class names by class; ``node`` is the value of ``names`` in a data.yaml, ``count`` that of ``nc``, or None.

    Without names, the classes are called class_0, class_1, ... as ultralytics does. Raises NamesError.
    """
    number = _number(count)
    if node is None or is_null(node):
        if number is None:
            raise NamesError(f"no key 'names'; {_FORM}")
        return {index: f"class_{index}" for index in range(number)}
    names = _listed(node) if isinstance(node, yaml.SequenceNode) else _mapped(node)
    if not names:
        raise NamesError(f"no key 'names'; {_FORM}")
    if sorted(names) != list(range(len(names))):
        indices = textwrap.shorten(", ".join(map(str, sorted(names))), 40, placeholder=" ...")
        raise NamesError(f"names has classes {indices}; must be 0 to {len(names) - 1}")
    if number is not None and number != len(names):
        raise NamesError(f"nc is {count} and names has {len(names)} classes; must be the same number")
    return _distinct({index: names[index] for index in sorted(names)})


def is_null(node: yaml.Node | None) -> bool:
    """Whether a key is missing or has no value."""
    return node is None or node.tag == "tag:yaml.org,2002:null"


def plain_form(name: str) -> str:
    """A name without case, blanks, hyphens, underscores, invisible characters and the width of letters."""
    characters = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in characters if c not in "_-" and not c.isspace() and unicodedata.category(c) != "Cf")


def similar_names(names: dict[int, str]) -> list[str]:
    """One line for each group of names that have the same plain form."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, name in names.items():
        groups[plain_form(name)].append(index)
    return [
        " and ".join(f"{names[index]!r} (class {index})" for index in group) + ": names that are nearly the same"
        for group in groups.values()
        if len(group) > 1
    ]


def other_order(names: dict[int, str], file: Path) -> str:
    """A line if ``file``, with one class a line, gives a class another name than ``names``; else empty."""
    try:
        listed = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        return ""
    index = next((index for index, name in enumerate(listed) if name and names.get(index, name).strip() != name), None)
    return (
        "" if index is None else f"{file}: class {index} is {listed[index]!r} there and {names[index]!r} in data.yaml"
    )


def _number(count: Any) -> int | None:
    if count is None:
        return None
    try:
        number = float(count)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(count, bool) or not 1 <= number <= _MOST_CLASSES or number != int(number):
        raise NamesError(f"nc is {count}; must be the number of classes")
    return int(number)


def _listed(node: yaml.SequenceNode) -> dict[int, str]:
    return {index: _name(item) for index, item in enumerate(node.value)}


def _mapped(node: yaml.Node) -> dict[int, str]:
    if not isinstance(node, yaml.MappingNode):
        raise NamesError(f"names cannot be used; {_FORM}")
    names: dict[int, str] = {}
    for key, value in node.value:
        try:
            index = int(key.value)
        except (TypeError, ValueError):
            raise NamesError(f"names cannot be used, line {_line(key)}: {_shown(key)} is no number; {_FORM}") from None
        if index in names:
            raise NamesError(f"names has class {index} twice, line {_line(key)}; {_FORM}")
        names[index] = _name(value)
    return names


def _name(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise NamesError(f"names, line {_line(node)}: {_shown(node)} is no name; {_FORM}")
    if not node.value.strip():
        raise NamesError(f"names, line {_line(node)}: an empty name; {_FORM}")
    return node.value


def _distinct(names: dict[int, str]) -> dict[int, str]:
    first: dict[str, int] = {}
    for index, name in names.items():
        if name in first:
            raise NamesError(f"names has {name!r} as class {first[name]} and as class {index}; must be different names")
        first[name] = index
    return names


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(node: yaml.Node) -> str:
    return (
        "a list"
        if isinstance(node, yaml.SequenceNode)
        else "a mapping"
        if isinstance(node.value, list)
        else repr(node.value)
    )
