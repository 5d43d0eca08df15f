"""The table of options against the blocks and the config files: one truth."""

from __future__ import annotations

import inspect
import itertools

import pytest
import torch
import yaml

from acmix_exp.block_rules import RULES, USED_WITH, channel_faults, option_faults
from acmix_exp.config import conf_dir, options
from acmix_exp.nn import block_names, build_block
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


@pytest.mark.parametrize("name", sorted(USED_WITH))
def test_an_option_is_refused_just_where_it_does_nothing(name):
    """By the networks: an idle option leaves the first output of training what it was, a used one does not."""
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
            refused = any("it does nothing" in line for line in option_faults(name, changed))
            assert refused == idle, f"{key} in {chosen}"


def first_output(name, chosen):
    torch.manual_seed(0)
    block = build_block(name, 32, **chosen)
    return block(torch.linspace(-1, 1, 8 * 32 * 8 * 8).sin().reshape(8, 32, 8, 8))


def test_an_idle_option_is_refused_with_where_it_would_be_used():
    assert option_faults("lska", {"mlp_ratio": 2}) == [
        "block.mlp_ratio=2: must be left out, or go with block.form=block; with block.form=residual it does nothing"
    ]
    (line,) = option_faults("deformable_attention", {"offsets": False, "position": "log"})
    assert line.startswith("block.position=log: must be left out, or go with block.offsets=true;")
    (line,) = option_faults("hat", {"form": "channel", "window_size": 4})
    assert line.startswith("block.window_size=4: must be left out, or go with block.form=group or block.form=hybrid")
    assert option_faults("lska", {"mlp_ratio": 4}) == [], "its default changes nothing"
    assert option_faults("hat", {"form": "hybrid", "window_size": 10}) == [], "nothing overlaps"
