"""Write docs/config.md: every group, option and key, from the schema and from the comments of conf/.

python -m scripts.config_page
"""

from __future__ import annotations

import ast
import dataclasses
import re
import tokenize
import typing
from pathlib import Path
from typing import Any

import yaml

from acmix_exp import config as schema
from acmix_exp.block_rules import shown
from acmix_exp.config import GROUPS, Config, conf_dir, options, value_of
from acmix_exp.sweep.check import CHOICES
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.task_keys import TAKEN
from acmix_exp.yolo.families import FAMILIES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "config.md"
HEAD = """# Every config key

Written by `python -m scripts.config_page` from the schema and the files in `conf/`. `GROUP=OPTION` selects a file of a
group, `KEY=VALUE` sets a key. `python -m acmix_exp ... --cfg job` shows the config that a command has.

A list is `'KEY=[a,b]'`, nothing is `KEY=null`. With `-m` or an experiment, values with commas between them are a sweep,
and so is `'seed=range(0,8)'`.
"""
# What the default option of a group does not name.
FILES = {"hardware.slurm": "hardware/slurm", "hardware.ray": "hardware/ray"}
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
    dict: "keys of its own",
    Any: "",
}


def page() -> str:
    config = compose_cells([])[0].config
    lines = [HEAD, "## Groups", "", "| group | option | |", "| --- | --- | --- |"]
    for group in GROUPS:
        for name in options(group):
            lines.append(f"| `{group}` | `{name}` | {_cell(header(conf_dir() / group / f'{name}.yaml'))} |")
    lines += ["", "## Keys", ""]
    for prefix, members in sections(Config):
        title = f"`{prefix}`" if prefix else "General"
        lines += [f"### {title}", ""]
        lines += ["| key | default | must be | |", "| --- | --- | --- | --- |"]
        meanings, comments = file_comments(prefix), schema_comments()
        for key, hint in members:
            said = [meanings.get(key, ""), comments.get(f"{class_of(prefix)}.{key.rpartition('.')[2]}", "")]
            meaning = max(said, key=len)  # the file of a default option may say less, such as "not used"
            if meaning.split(" | ") == [shown(value) for value in CHOICES.get(key, ())]:
                meaning = ""  # said in the column before
            lines.append(
                f"| {' | '.join(map(_cell, (f'`{key}`', _default(config, key), allowed(key, hint), meaning)))} |"
            )
        if prefix == "":
            lines += ["", "The options of a block, `block.KEY`, are in [Blocks](blocks.md#options)."]
        lines.append("")
    lines += [
        "## Tasks",
        "",
        "A setting that a task would not use is refused.",
        "",
        "| task | takes |",
        "| --- | --- |",
    ]
    lines.append("| `train`, `plan`, `profile` | the whole config |")
    lines += [f"| `{task}` | {' '.join(f'`{key}`' for key in keys.split())} |" for task, keys in TAKEN.items()]
    return "\n".join([*lines, ""])


def sections(node: Any, prefix: str = "") -> list[tuple[str, list[tuple[str, Any]]]]:
    """Dotted prefix of each part of the config, and its keys with their types; parts of parts follow."""
    hints = typing.get_type_hints(node)
    keys = {f"{prefix}.{name}".lstrip("."): hint for name, hint in hints.items()}
    own = [(key, hint) for key, hint in keys.items() if not dataclasses.is_dataclass(hint) and key != "block"]
    parts = [part for key, hint in keys.items() if dataclasses.is_dataclass(hint) for part in sections(hint, key)]
    return [(prefix, own), *parts]


def class_of(prefix: str) -> str:
    """The name of the dataclass behind a dotted prefix."""
    node: Any = Config
    for part in filter(None, prefix.split(".")):
        node = typing.get_type_hints(node)[part]
    return str(node.__name__)


def schema_comments() -> dict[str, str]:
    """``Class.field`` -> the comment behind it in config.py."""
    source = Path(str(schema.__file__))
    with tokenize.open(source) as file:
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(file.readline)
            if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
        }
    found = {}
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        for item in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.end_lineno in comments:
                found[f"{node.name}.{item.target.id}"] = comments[item.end_lineno]
    return found


def file_comments(prefix: str) -> dict[str, str]:
    """Dotted key -> its comment in the file of the group's default option; those before a key count where none follows.

    A line of comment alone, deeper than the keys, continues the one above it.
    """
    group = prefix.replace(".", "/")
    if prefix in FILES:
        path = conf_dir() / f"{FILES[prefix]}.yaml"
    elif group in GROUPS:
        path = conf_dir() / group / f"{defaults()[group]}.yaml"
    elif prefix:
        return {}
    else:
        path = conf_dir() / "config.yaml"
    found: dict[str, str] = {}
    above: list[str] = []
    key, nested = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if entry := re.match(r"( *)(\w+):[^#]*(?:# (.*))?$", line):
            nested = entry[2] if not entry[1] and line.rstrip().endswith(":") else nested if entry[1] else ""
            base = FILES[prefix].partition("/")[0] if prefix in FILES else prefix
            key = ".".join(filter(None, [base, nested if entry[1] else "", entry[2]]))
            found[key] = entry[3] or " ".join(above)
            above = []
        elif re.match(r" {3,}#", line) and key:
            more = line.strip("# ")
            found[key] += f"; {more}" if re.match(r"\w+:", more) else f" {more}"
        elif line.startswith("#"):
            above.append(line.strip("# "))
    first = next(iter(found), "")
    return {name: text for name, text in found.items() if text and not (name == first and text == header(path))}


def defaults() -> dict[str, str]:
    """Group -> its default option in conf/config.yaml."""
    listed = yaml.safe_load((conf_dir() / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    return {
        key.removeprefix("override ").lstrip("/"): value
        for entry in listed
        if isinstance(entry, dict)
        for key, value in entry.items()
    }


def header(path: Path) -> str:
    """What the comment at the top of an option's file says of the option."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not re.match(r"# (@package|Written by)", line):
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def allowed(key: str, hint: Any) -> str:
    """The values that a key takes, from the checks or from its type."""
    if key in CHOICES or key == "model.family":
        return ", ".join(f"`{shown(value)}`" for value in CHOICES.get(key, tuple(FAMILIES)))
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return f"{WORDS[next(each for each in arguments if each is not type(None))]}, or null"
    return WORDS[typing.get_origin(hint) or hint]


def _default(config: Config, key: str) -> str:
    value = value_of(config, key)
    return f"`{int(value) if isinstance(value, float) and value.is_integer() else shown(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
