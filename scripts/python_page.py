"""Write docs/python.md from the docstrings of what ``import acmix_exp`` offers.

python -m scripts.python_page
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import acmix_exp
from acmix_exp import errors, nn, ops
from acmix_exp.yolo.run import prepare

prepare()  # the settings of ultralytics are then not the user's

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"
HEAD = """# Python

Written by `python -m scripts.python_page` from the docstrings. Importing `acmix_exp` itself takes no time: each name is
imported when it is used. All of it is typed.

The results of an experiment:

```python
import acmix_exp

study = acmix_exp.load("runs/demo")
for row in study.table:
    print(row["arm"], row["n"], row["map50_95_mean"], row["delta_mean"], row["verdict"])
print(study.verdicts)
study.figure("forest").savefig("forest.pdf")
```

The same as frames, here the learning curve of each arm:

```python
import polars as pl

import acmix_exp

history = acmix_exp.load("runs/demo").to_frame("history")
print(history.group_by("arm", "epoch").agg(pl.col("map50_95").mean()).sort("arm", "epoch"))
```

In a notebook, `import matplotlib.pyplot` once, so that a figure at the end of a cell is shown.
"""


def page() -> str:
    lines = [HEAD]
    for title, prefix, things in (
        (
            "Results and networks",
            "acmix_exp",
            [(name, getattr(acmix_exp, name)) for name in ("load", "Study", "build")],
        ),
        ("Blocks", "acmix_exp.nn", [(name, getattr(nn, name)) for name in nn.__all__]),
        ("Operators", "acmix_exp.ops", [(name, getattr(ops, name)) for name in ops.__all__]),
        ("Errors", "acmix_exp.errors", _exceptions()),
    ):
        lines.append(f"## {title}\n")
        for name, thing in things:
            lines += _entry(f"{prefix}.{name}", thing)
    return "\n".join(lines)


def _exceptions() -> list[tuple[str, Any]]:
    return [
        (name, thing)
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, Exception) and thing.__module__ == errors.__name__
    ]


def _entry(path: str, thing: Any) -> Iterator[str]:
    yield f"### {path}\n"
    if not (inspect.isclass(thing) and issubclass(thing, Exception)) and thing is not acmix_exp.Study:
        yield f"```text\n{signature(path.rpartition('.')[2], thing)}\n```\n"
    yield markdown(inspect.getdoc(thing) or "") + "\n"
    if thing is acmix_exp.Study:
        for name, member in vars(thing).items():
            if not name.startswith("_"):
                plain = inspect.isfunction(member)
                yield f"**`{signature(name, member) if plain else name}`**\n"
                yield markdown(inspect.getdoc(member) or "") + "\n"


def signature(name: str, thing: Any) -> str:
    """``name(arguments) -> type``, one argument a line if it is long."""
    found = inspect.signature(thing)
    parts, star = [], False
    for parameter in found.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            parts, star = [*parts, "*"], True
        kind = "" if parameter.annotation in (parameter.empty, "Any") else f": {parameter.annotation}"
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        stars = "**" if parameter.kind is inspect.Parameter.VAR_KEYWORD else ""
        parts.append(f"{stars}{parameter.name}{kind}{default}")
    returned = "" if inspect.isclass(thing) else f" -> {found.return_annotation}"
    text = f"{name}({', '.join(part for part in parts if part != 'self')}){returned}"
    return text if len(text) <= 100 else "\n    ".join([f"{name}(", *(f"{part}," for part in parts)]) + f"\n){returned}"


def markdown(text: str) -> str:
    """A docstring as Markdown: roles and double backticks as code, ``name: meaning`` as lists."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        head, *rest = paragraph.split("\n")
        if head in ("Args:", "Returns:", "Raises:"):
            parts.append(f"*{head.rstrip(':')}*\n\n{_items(inspect.cleandoc(chr(10).join(rest)))}")
        elif paragraph.startswith("    "):
            parts.append(f"```text\n{inspect.cleandoc(paragraph)}\n```")
        else:
            parts.append(re.sub(r"::$", ":", _items(paragraph)))
    return "\n\n".join(parts)


def _items(text: str) -> str:
    """``name: meaning`` with its further lines as items of a list; other text as it is."""
    names = r"^((?!Source)[\w*]+(?:, [\w*]+)*): "
    if not re.match(names, text):
        return text
    lines = text.split("\n")
    return "\n".join(
        re.sub(names, r"- `\1`: ", line) if re.match(names, line) else f"  {line.strip()}" for line in lines
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
