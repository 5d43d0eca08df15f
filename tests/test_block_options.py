"""The table of options against the blocks and the config files: one truth."""

from __future__ import annotations

import inspect

import pytest
import yaml

from acmix_exp.block_options import RULES, channel_faults, option_faults
from acmix_exp.config import conf_dir, options
from acmix_exp.nn import block_names
from acmix_exp.nn.registry import _factories


def defaults(name: str) -> dict[str, object]:
    return {key: option.default for key, option in RULES[name].options.items()}


def test_every_block_has_rules_and_a_config_file() -> None:
    assert block_names() == sorted(RULES) == [name for name in options("block") if name != "custom"]


@pytest.mark.parametrize("name", block_names())
def test_config_file_rules_and_factory_agree(name: str) -> None:
    text = (conf_dir() / "block" / f"{name}.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == {"name": name, **defaults(name)}
    parameters = list(inspect.signature(_factories[name]).parameters.values())[1:]
    assert {parameter.name: parameter.default for parameter in parameters} == defaults(name)
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert all("#" in line for line in lines[2:]), "every option is explained"


@pytest.mark.parametrize("name", block_names())
def test_defaults_pass(name: str) -> None:
    assert option_faults(name, defaults(name)) == []
    assert channel_faults(name, {}, {"backbone_p3": 64}, "n") == []


@pytest.mark.parametrize("name", block_names())
def test_every_option_refuses_nonsense(name: str) -> None:
    for key in RULES[name].options:
        for value in ("nonsense", -1, [1]):
            (line,) = option_faults(name, {key: value})
            assert line.startswith(f"block.{key}={value}: must be ")


def test_an_unknown_option_is_named() -> None:
    assert option_faults("acmix", {"heads": 4}) == ["block.heads=4: unknown key; did you mean block.head?"]


def test_a_head_that_divides_no_channels() -> None:
    (line,) = channel_faults("acmix", {"head": 3}, {"backbone_p4": 128, "backbone_p5": 255}, "n")
    assert line == "block.head=3: must divide the channels of every site; at scale n backbone_p4 has 128"
