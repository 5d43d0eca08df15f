"""Arms keep their meaning with every combination of other options."""

import pytest

from acmix_exp.config import arm_label
from acmix_exp.sweep import arm


@pytest.mark.parametrize("name", ["conv", "attention", "mixed"])
def test_options_apply_to_every_arm_that_inserts_a_block(make_config, name):
    effective = arm.apply(make_config(f"arm={name}", "model/placement=sppf", "block.kernel_att=5"))
    assert effective.block["path"] == name
    assert effective.block["kernel_att"] == 5
    assert effective.model.placement.sites == ["sppf"]
    assert arm_label(effective) == name


def test_options_do_not_change_the_baseline(make_config):
    plain = arm.apply(make_config("arm=baseline"))
    dressed = arm.apply(make_config("arm=baseline", "model/placement=sppf", "block.kernel_att=5"))
    assert dressed == plain
    assert dressed.block == {}
    assert dressed.model.placement.sites == []


def test_a_placement_without_sites_is_the_baseline(make_config):
    effective = arm.apply(make_config("model/placement=none"))
    assert not effective.arm.insert
    assert arm_label(effective) == "baseline"


def test_configured_is_labelled_by_block_and_path(make_config):
    assert arm_label(arm.apply(make_config())) == "acmix-mixed"
    assert arm_label(arm.apply(make_config("block.path=conv"))) == "acmix-conv"


@pytest.mark.parametrize(
    ("overrides", "explicit", "names"),
    [
        (["arm=mixed", "block.path=conv"], {"block.path"}, ["arm=mixed", "block.path=conv", "block.path=mixed"]),
        (["arm=conv", "block.path=mixed"], {"block.path"}, ["arm=conv", "block.path=mixed"]),
        (["arm=mixed", "model/placement=none"], set(), ["arm=mixed", "model/placement=none"]),
        (["arm=conv", "block.name=lska"], set(), ["arm=conv", "block=lska"]),
        (["arm=conv", "arm.path=both"], set(), ["arm.path=both", "conv, attention, mixed"]),
    ],
)
def test_a_contradiction_is_one_line(make_config, overrides, explicit, names):
    (line,) = arm.contradictions(make_config(*overrides), explicit)
    assert all(name in line for name in names)


@pytest.mark.parametrize(
    ("overrides", "explicit"),
    [
        (["arm=conv"], set()),
        (["arm=conv", "block.path=conv"], {"block.path"}),
        (["arm=baseline", "block.path=conv"], {"block.path"}),
        (["arm=baseline", "model/placement=none"], set()),
    ],
)
def test_consistent_options_are_no_contradiction(make_config, overrides, explicit):
    assert arm.contradictions(make_config(*overrides), explicit) == []


@pytest.mark.parametrize("name", ["identity", "join", "conv3x3"])
@pytest.mark.parametrize("block", [[], ["block.path=conv", "block.kernel_att=5"]], ids=["plain", "options"])
def test_a_control_inserts_its_block(make_config, name, block):
    config = make_config(f"arm={name}", *block)
    assert arm.contradictions(config, {"block.path"}) == []
    effective = arm.apply(config)
    assert effective.block == {"name": name}
    assert effective == arm.apply(make_config(f"arm={name}"))
    assert effective.model.placement.sites == ["backbone_p4", "backbone_p5"]
    assert arm_label(effective) == name


def test_identity_has_no_norm_act_and_residual_and_conv3x3_has_the_configured_ones(make_config):
    placement = arm.apply(make_config("arm=identity", "model.placement.zero_init=true")).model.placement
    assert {placement.norm, placement.act, placement.residual, placement.zero_init} == {False}
    placement = arm.apply(make_config("arm=conv3x3", "model.placement.act=false")).model.placement
    assert (placement.norm, placement.act, placement.residual) == (True, False, True)


def test_in_place_of_an_attention(make_config):
    swapped = ("model=yolo12", "model/placement=swap_attention")
    taken = arm.apply(make_config("arm=no_attention", *swapped))
    assert (taken.block, taken.arm.insert) == ({"name": "join"}, True)
    matched = arm.apply(make_config("arm=conv3x3_matched", "block=lsk", *swapped))
    assert (matched.block, matched.arm.match) == ({"name": "conv3x3_matched"}, "parameters")
    assert not arm.depends(matched, "block.head")
    assert arm.apply(make_config("arm=conv3x3", *swapped)).block == {"name": "conv3x3"}  # no stock convolution there
    assert not arm.apply(make_config("arm=identity", *swapped)).model.placement.norm
    config = make_config("arm=no_attention")
    (line,) = arm.contradictions(config, ())
    assert line.startswith("arm=no_attention model/placement=backbone_p4p5: this arm takes an attention out; use ")


def test_conv3x3_in_a_bottleneck_from_scratch_is_the_baseline(make_config):
    replaced = make_config("arm=conv3x3", "model/placement=bottleneck_p4p5")
    assert arm.apply(replaced) == arm.apply(make_config("arm=baseline"))
    assert arm_label(arm.apply(replaced)) == "baseline"
    replaced.model.pretrained = "yolov8n.pt"
    assert arm.apply(replaced).block == {"name": "conv3x3"}
    assert arm.apply(make_config("arm=identity", "model/placement=bottleneck_p4p5")).arm.insert


def test_join_is_joined_as_a_block_is_and_is_the_baseline_where_nothing_is_joined(make_config):
    placement = arm.apply(make_config("arm=join", "model.placement.zero_init=true")).model.placement
    assert (placement.norm, placement.act, placement.residual, placement.zero_init) == (True, True, True, True)
    bare = [f"model.placement.{key}=false" for key in ("norm", "act", "residual")]
    for options in (["model/placement=bottleneck_p4p5"], ["model/placement=neck", *bare]):
        joined = make_config("arm=join", *options)
        assert arm.apply(joined) == arm.apply(make_config("arm=baseline"))
        joined.model.pretrained = "yolov8n.pt"
        assert arm_label(arm.apply(joined)) == "baseline"
    assert arm.apply(make_config("arm=join", *bare[:2])).arm.insert


def test_the_matched_control_keeps_the_block_that_it_matches(make_config):
    effective = arm.apply(make_config("arm=conv3x3_matched", "block=ema", "block.factor=4"))
    assert (effective.arm.match, effective.block) == ("parameters", {"name": "ema", "form": "residual", "factor": 4})
    assert arm_label(effective) == "conv3x3_matched"
    for block in ("conv3x3", "join", "identity"):  # in a bottleneck too it is matched, not what it matches
        config = make_config("arm=conv3x3_matched", f"block={block}", "model/placement=bottleneck_p4p5")
        assert arm.apply(config).arm.name == "conv3x3_matched"


def test_match_is_of_one_arm_alone(make_config):
    for name in ("baseline", "join", "mixed"):
        assert arm.apply(make_config(f"arm={name}", "arm.match=flops")) == arm.apply(make_config(f"arm={name}"))
    assert arm.apply(make_config("arm=conv3x3_matched", "arm.match=flops", "model/placement=none")).arm.match is None


@pytest.mark.parametrize("value", ["size", "null"])
def test_a_wrong_match_is_one_line(make_config, value):
    (line,) = arm.contradictions(make_config("arm=conv3x3_matched", f"arm.match={value}"), set())
    assert line == f"arm.match={value}: must be one of parameters, flops"


@pytest.mark.parametrize(
    ("name", "key", "does"),
    [
        ("join", "model.placement.norm", True),
        ("join", "block.head", False),
        ("conv3x3_matched", "block.head", True),
        ("conv3x3_matched", "arm.match", True),
        ("mixed", "arm.match", False),
        ("baseline", "block.kernel_att", False),
        ("baseline", "model/placement", False),
        ("baseline", "train.lr0", True),
        ("identity", "block.kernel_att", False),
        ("identity", "block", False),
        ("identity", "model/placement", True),
        ("identity", "model.placement.norm", False),
        ("conv3x3", "model.placement.norm", True),
        ("conv3x3", "block.head", False),
        ("mixed", "block.head", True),
    ],
)
def test_the_keys_that_a_run_depends_on(make_config, name, key, does):
    assert arm.depends(arm.apply(make_config(f"arm={name}")), key) is does
