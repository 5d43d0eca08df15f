"""Block options are stated once: files, documents, classes and errors agree with ``acmix_exp.block_rules``."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from acmix_exp import cli
from acmix_exp.block_rules import RULES, channel_faults, count_groups, count_heads, option_faults, with_defaults
from acmix_exp.config import options
from acmix_exp.nn import block_names, build_block
from scripts import block_options

ROOT = Path(__file__).resolve().parents[1]
PAGE = block_options.PAGE.read_text(encoding="utf-8")
CHOOSING = (ROOT / "docs" / "choosing.md").read_text(encoding="utf-8")
every_block = pytest.mark.parametrize("name", sorted(RULES))
every_own_block = pytest.mark.parametrize("name", block_names())


def test_every_block_has_rules_and_a_config_file() -> None:
    assert sorted([*RULES, *block_options.PRESETS]) == [name for name in options("block") if name != "custom"]
    assert block_names() == [name for name in sorted(RULES) if not (RULES[name].library or RULES[name].slot)]


@every_block
def test_the_config_file_is_written_from_the_rules(name: str) -> None:
    text = block_options.config_file(name).read_text(encoding="utf-8")
    assert text == block_options.config_text(name), "run: python -m scripts.block_options"
    assert yaml.safe_load(text) == {"name": name, **with_defaults(name, {})}
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", block_options.PRESETS)
def test_the_file_of_a_preset(name: str) -> None:
    text = block_options.config_file(name).read_text(encoding="utf-8")
    assert text == block_options.config_text(name), "run: python -m scripts.block_options"
    block, options = block_options.PRESETS[name]
    assert yaml.safe_load(text) == {"name": block, **with_defaults(block, options)}


def test_the_tables_of_the_page_are_written_from_the_rules_and_the_blocks() -> None:
    assert block_options.with_tables(PAGE) == PAGE, "run: python -m scripts.block_options"


@pytest.mark.parametrize("row", ["| acmix | kernel_att | 7 |", "| acmix | **mixed** | 17,822"])
def test_a_changed_table_is_noticed(row: str) -> None:
    changed = PAGE.replace(row, row.replace("7", "9"))
    assert changed != PAGE
    assert block_options.with_tables(changed) == PAGE


def test_documents_name_blocks_and_options_that_exist() -> None:
    known = {key for block in RULES.values() for key in block.options} | {
        "name",
        "target",
        "KEY",
        "OPTION",
        "rd_ratio",  # an option of timm's own
    }
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for text in (cli.text(), readme, CHOOSING, PAGE):
        assert set(re.findall(r"\bblock\.(\w+)", text)) <= known
    sentence = CHOOSING.partition("Options of `acmix`:")[2].partition(".\n")[0].partition(". ")[0]
    assert re.findall(r"`block\.(\w+)`", sentence) == list(RULES["acmix"].options)


def by_form(name: str) -> Iterator[dict[str, Any]]:
    form = RULES[name].options.get("form")
    yield from ({"form": value} for value in form.choices) if form else ({},)


@every_own_block
def test_classes_have_the_defaults_of_the_rules(name: str) -> None:
    """A parameter of the block's class, or of a part's, that is named like an option has that option's default."""
    defaults = with_defaults(name, {})
    for form in by_form(name):
        for cls in {type(module) for module in build_block(name, 16, **form).modules()}:
            if cls.__module__.startswith("acmix_exp.nn."):
                for key, parameter in inspect.signature(cls).parameters.items():
                    if key in defaults and parameter.default is not parameter.empty:
                        assert parameter.default == defaults[key], f"{cls.__name__}({key})"


@every_own_block
def test_the_code_takes_the_choices_of_the_rules_and_no_other(name: str) -> None:
    python_only = {"position": {"fixed"}}  # biases that fit one map size
    for key, option in RULES[name].options.items():
        if option.choices:
            with pytest.raises(ValueError, match=f"^{key} must be one of .*, got 'nonsense'$") as refused:
                build_block(name, 16, **{key: "nonsense"})
            listed = str(refused.value).removeprefix(f"{key} must be one of ").partition(", got")[0].split(", ")
            assert set(listed) - python_only.get(key, set()) == set(map(str, option.choices))
            for value in option.choices:
                build_block(name, 16, **{key: value})


@every_block
def test_defaults_pass(name: str) -> None:
    assert option_faults(name, with_defaults(name, {})) == []
    assert channel_faults(name, {}, {"backbone_p3": 64}, "n") == []


@every_block
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


OTHER = {
    "activation": "GELU",
    "attn_ratio": 1.0,
    "compress_ratio": 4,
    "conv_scale": 0.5,
    "depth": 1,
    "drop_path": 0.5,
    "kernel_size": 7,
    "key_dim": 8,
    "max_offset": 0.01,
    "mlp_ratio": 3.0,
    "num_groups": 4,
    "num_heads": 2,
    "offset_range": 0.5,
    "offsets": "light",
    "overlap_ratio": 1.0,
    "query_size": 10,
    "squeeze_factor": 4,
    "stride": 4,
    "window_size": 4,
    "zero_offsets": True,
}
SWITCHES = {
    "form": ("unit", "residual", "block"),
    "offsets": (True, False),
    "position": ("table", "depthwise", "log", "none"),
}
SWITCHES_OF = {"hat": {"form": ("group", "hybrid", "overlapping", "channel")}, "deformable_attention": SWITCHES}


@pytest.mark.parametrize(
    "name", [name for name in sorted(RULES) if any(option.used_with for option in RULES[name].options.values())]
)
def test_an_option_is_refused_exactly_if_it_has_no_effect(name):
    """An option without effect leaves the first output of training unchanged, any other option changes it."""
    switches = SWITCHES_OF.get(name, {"form": SWITCHES["form"]})
    common = {"num_heads": 4} if name == "deformable_attention" else {}
    for values in itertools.product(*switches.values()):
        chosen = {**common, **dict(zip(switches, values, strict=True))}
        if option_faults(name, chosen):
            continue  # a position without offsets
        plain = first_output(name, chosen)
        for key in RULES[name].options.keys() - switches.keys():
            changed = {**chosen, key: OTHER[key]}
            idle = torch.equal(plain, first_output(name, changed))
            refused = any("has no effect with" in line for line in option_faults(name, changed))
            assert refused == idle, f"{key} in {chosen}"


def first_output(name, chosen):
    torch.manual_seed(0)
    block = build_block(name, 32, **chosen)
    return block(torch.linspace(-1, 1, 8 * 32 * 8 * 8).sin().reshape(8, 32, 8, 8))


def test_an_option_without_effect_is_refused_with_the_value_that_uses_it():
    assert option_faults("lska", {"mlp_ratio": 2}) == [
        "block.mlp_ratio=2: has no effect with block.form=residual; must be left out, or be used with block.form=block"
    ]
    (line,) = option_faults("deformable_attention", {"offsets": False, "position": "log"})
    assert line.startswith("block.position=log: has no effect with block.offsets=false; must be left out, or be used ")
    (line,) = option_faults("hat", {"form": "channel", "window_size": 4})
    assert line.endswith("be used with block.form=group or block.form=hybrid or block.form=overlapping")
    assert option_faults("lska", {"mlp_ratio": 4}) == [], "its default changes nothing"
    assert option_faults("hat", {"form": "hybrid", "window_size": 10}) == [], "nothing overlaps"


def test_heads_are_about_32_channels_wide() -> None:
    expected = {
        16: 1,
        24: 1,
        32: 1,
        48: 2,
        64: 2,
        80: 2,
        96: 3,
        128: 4,
        144: 4,
        160: 5,
        192: 6,
        256: 8,
        288: 9,
        640: 20,
    }
    assert {channels: count_heads(channels, None) for channels in expected} == expected


def test_groups_are_half_the_heads_or_fewer() -> None:
    assert {heads: count_groups(heads, None) for heads in (1, 2, 5, 6, 9, 20)} == {1: 1, 2: 1, 5: 1, 6: 3, 9: 3, 20: 10}


def test_given_heads_and_groups_must_divide() -> None:
    assert (count_heads(12, 6), count_groups(6, 6)) == (6, 6)
    with pytest.raises(ValueError, match=r"^num_heads must divide the 12 channels, got 5$"):
        count_heads(12, 5)
    with pytest.raises(ValueError, match=r"^num_groups must divide the 6 heads, got 4$"):
        count_groups(6, 4)
