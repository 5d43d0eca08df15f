"""Write conf/block/*.yaml and both tables of docs/blocks.md (options, costs) from ``acmix_exp.block_rules``.

python -m scripts.block_options
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from acmix_exp.block_rules import RULES, Block, shown
from benchmarks import block_costs

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "blocks.md"
COLUMNS = 120


PRESETS = {  # files of a library's block with another of its layers
    "timm_cbam": ("timm", {"layer": "cbam"}),
    "timm_eca": ("timm", {"layer": "eca"}),
}


def config_file(name: str) -> Path:
    return ROOT / "conf" / "block" / f"{name}.yaml"


def config_text(name: str) -> str:
    """The text of ``conf/block/NAME.yaml``: the defaults, each with its meaning and what it must be."""
    name, preset = PRESETS.get(name, (name, dict[str, str]()))
    block = RULES[name]
    entries = {f"{key}: {shown(preset.get(key, option.default))}": key for key, option in block.options.items()}
    width = max(map(len, (f"name: {name}", *entries)))
    lines = [f"# {block.title}", "# Written by `python -m scripts.block_options`.", f"name: {name}"]
    lines[1:1] = [f"# It must {words}." for words in _constraints(block, None)]
    for entry, key in entries.items():
        comment = f"{block.options[key].meaning} ({must_be(block, key)})"
        first, *rest = textwrap.wrap(comment, COLUMNS - width - len("  #   "), break_on_hyphens=False)
        lines += [f"{entry.ljust(width)}  # {first}", *(f"{' ' * width}  #   {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def table() -> str:
    lines = ["| block | option | default | must be | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, block in sorted(RULES.items()):
        lines += [f"| {name} | | | it must {words} | {block.title} |" for words in _constraints(block, None)]
        for key, option in block.options.items():
            lines.append(f"| {name} | {key} | {shown(option.default)} | {must_be(block, key)} | {option.meaning} |")
    return "\n".join(lines)


def must_be(block: Block, key: str) -> str:
    """The allowed values of an option, the constraints on it, and the values of other options that it depends on."""
    option = block.options[key]
    needed = [f"only with {other}={', '.join(map(shown, values))}" for other, values in option.used_with.items()]
    return "; ".join([option.allowed, *(f"must {words}" for words in _constraints(block, key)), *needed])


def _constraints(block: Block, key: str | None) -> list[str]:
    return [constraint.must for constraint in block.constraints if constraint.key == key]


def with_tables(page: str) -> str:
    """The page with both tables between their marks."""
    for name, text in {"costs": block_costs.table(), "options": table()}.items():
        begin, end = f"<!-- {name}: python -m scripts.block_options -->\n", f"<!-- /{name} -->"
        before, after = page.split(begin)
        page = f"{before}{begin}{text}\n{end}{after.partition(end)[2]}"
    return page


def main() -> int:
    for name in (*RULES, *PRESETS):
        config_file(name).write_text(config_text(name), encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
