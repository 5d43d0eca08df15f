"""A sweep over blocks and an option given beside it: it reaches every block, and none that lacks it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from acmix_exp.sweep.hydra_errors import CONFIG_ERRORS, block_files, chosen_block, preview


def reach_every_block(arguments: list[str]) -> list[str]:
    """``block.KEY=VALUE`` as ``block.KEY=choice(VALUE)`` where the command sweeps over blocks.

    Else Hydra composes what is common to all cells with the option and the default block, which may not have it.
    """
    if not any(map(_is_option, arguments)) or not _sweeps_blocks(arguments):
        return arguments
    return [
        re.sub(r"=(.*)", r"=choice(\1)", argument, flags=re.DOTALL)
        if _is_option(argument) and _several(argument) is False
        else argument
        for argument in arguments
    ]


def lacking(cells: Sequence[Sequence[str]]) -> list[str]:
    """A line for each option given that is one of a shipped block's but not of all those swept over.

    ``cells`` are the overrides of every cell.
    """
    files, blocks = block_files(), _blocks(cells)
    given = dict.fromkeys(override for cell in cells for override in cell if _is_option(override))
    lines = []
    for override in given:
        option = override.partition("=")[0].removeprefix("block.")
        without = [block for block in blocks if block in files and option not in files[block]]
        having = [block for block in blocks if block not in without]
        if without and any(option in known for known in files.values()):
            have = "has" if len(without) == 1 else "have"
            cure = f"sweep over those that have it, block={','.join(having)}" if having else "leave it out"
            lines.append(f"{override}: {', '.join(without)} {have} no such option; {cure}")
    return lines


def named(lines: list[str], cell: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """The faults of a cell, those of an option's value with the cell's block where the cells have several."""
    if len(_blocks(cells)) < 2:
        return lines
    tells = re.compile(r"block\.(?!.*: unknown key)")
    return [f"block={chosen_block(cell)} {line}" if tells.match(line) else line for line in lines]


def _blocks(cells: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(block for cell in cells if (block := chosen_block(cell))))


def _is_option(argument: str) -> bool:
    return re.match(r"block\.\w+=.", argument) is not None


def _several(argument: str) -> bool | None:
    """Whether an override is a sweep; None where it can't be read, which Hydra will say."""
    try:
        return OverridesParser.create().parse_override(argument).is_sweep_override()
    except HydraException:
        return None


def _sweeps_blocks(arguments: list[str]) -> bool:
    """Whether the command line, or the experiment that it names, gives ``block`` as an axis of a sweep."""
    block = next((argument for argument in reversed(arguments) if argument.startswith("block=")), None)
    flagged = bool({"-m", "--multirun"} & set(arguments))
    if block is not None and (flagged or not _several(block)):
        return bool(_several(block))
    if not any(argument.startswith("+experiment=") for argument in arguments):
        return False
    try:
        hydra = preview([argument for argument in arguments if not _is_option(argument)]).hydra
    except (*CONFIG_ERRORS, ValueError):
        return False  # Hydra will say it
    return (flagged or hydra.mode == RunMode.MULTIRUN) and (
        block is not None or "block" in (hydra.sweeper.get("params") or {})
    )
