"""The layout of the package: imports only go down, no file name occurs twice, no two modules import each other."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "acmix_exp"
TOP_LEVEL = {
    "config",
    "errors",
    "files",
    "console",
    "block_options",
    "block_rules",
    "slot_rules",
    "custom_block",
    "matching",
    "model_tasks",
    "outcomes",
    "moved",
    "child",
    "installed",
    "early",
    "insertions",
}
ENTRIES = {"__init__", "cli", "__main__", "worker"}  # what people and child processes start; below they import all
MAY_IMPORT = {
    "tasks": {"tasks", "report", "sweep", "executors", "run", "tracking", "yolo", "profile", "nn", "data", "ops"},
    "report": {"report", "run", "tracking", "yolo", "profile", "nn", "data", "ops"},
    "sweep": {"sweep", "run", "tracking", "yolo", "profile", "nn", "data", "ops"},
    "executors": {"executors", "run", "tracking", "yolo", "profile", "nn", "data", "ops"},
    "run": {"run", "tracking", "yolo", "profile", "nn", "data", "ops"},
    "tracking": {"tracking"},
    "profile": {"profile", "yolo", "nn", "data", "ops"},
    "yolo": {"yolo", "nn", "data", "ops"},
    "nn": {"nn", "ops"},
    "data": {"data"},
    "ops": {"ops"},
}


def modules() -> dict[str, Path]:
    """Dotted names below ``acmix_exp`` and their files."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


MODULES = modules()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Modules of the package that a file imports; function-level imports too unless ``top_level``."""
    tree = parsed(path)
    nodes = tree.body if top_level else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {
                name if (name := f"{node.module}.{alias.name}").removeprefix("acmix_exp.") in MODULES else node.module
                for alias in node.names
            }
    return {name.removeprefix("acmix_exp").lstrip(".") or "__init__" for name in found if name.startswith("acmix_exp")}


def test_imports_only_go_down():
    upward = []
    for name, path in MODULES.items():
        package = name.split(".")[0]
        if package in ENTRIES:
            continue
        for target in imports(path):
            below = target.split(".")[0]
            allowed = {"__init__"} | TOP_LEVEL | MAY_IMPORT.get(package, set())  # __init__ holds the version
            if below not in allowed:
                upward.append(f"{name} imports {target}")
    assert upward == []


def test_the_map_of_the_code_names_what_exists():
    """Every path in the chapter on the layout exists, and every package is in it."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chapter = text[text.index("## Code layout") : text.index("## Adding an arm")]
    paths = set(re.findall(r"`([\w/]+(?:\.py|/))`", chapter))
    roots = (PACKAGE, PACKAGE.parent)
    assert [path for path in sorted(paths) if not any((root / path).exists() for root in roots)] == []
    assert {f"{package}/" for package in MAY_IMPORT} <= paths


def test_every_package_has_a_layer():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(MAY_IMPORT)
    assert {path.stem for path in PACKAGE.glob("*.py")} == TOP_LEVEL | ENTRIES


def test_no_module_imports_itself_through_others():
    graph = {name: imports(path, top_level=True) & set(MODULES) for name, path in MODULES.items()}
    circles: list[str] = []
    done: set[str] = set()

    def walk(name: str, above: list[str]) -> None:
        if name in above:
            circles.append(" -> ".join([*above[above.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph[name] - {name, "__init__"}):
                walk(target, [*above, name])
            done.add(name)

    for name in graph:
        walk(name, [])
    assert circles == []


def test_no_file_name_occurs_twice():
    names = Counter(path.name for path in MODULES.values() if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


def test_only_yolo_imports_ultralytics():
    found = []
    for name, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(found.split(".")[0] == "ultralytics" for found in names) and not name.startswith("yolo"):
                found.append(name)
    assert found == []


def test_a_file_is_one_idea():
    """Longer files are split; the total is no limit of its own."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: lines for name, lines in lengths.items() if lines > 450} == {}
