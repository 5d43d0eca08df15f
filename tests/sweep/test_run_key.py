"""Which configs are the same run."""

import pytest

from acmix_exp.config import arm_label
from acmix_exp.sweep import arm
from acmix_exp.sweep.run_key import hash8, identity


@pytest.fixture
def digest(make_config):
    return lambda *overrides, data="f": hash8(identity(arm.apply(make_config("hardware=cpu", *overrides)), data))


@pytest.mark.parametrize(
    "override",
    [
        "name=other",
        "tags=[a]",
        "logger=disabled",
        "runs_dir=elsewhere",
        "hardware.threads=2",
        "hardware.runs_at_once=4",
        "hardware.workers=3",
        "train.keep=none",
        "hardware.precision=auto",
        "report.reference=conv",
    ],
)
def test_keys_that_do_not_change_the_result_are_not_in_the_run_key(digest, override):
    assert digest(override) == digest()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "block.kernel_att=5",
        "model.scale=s",
        "model/placement=sppf",
        "train.epochs=3",
        "+train.extra.mosaic=0",
    ],
)
def test_keys_that_change_the_result_are_in_the_run_key(digest, override):
    assert digest(override) != digest()


def test_data_enters_by_content(digest):
    assert digest(data="a") != digest(data="b")
    assert digest("dataset=yolo", "dataset.path=one/data.yaml") == digest("dataset=yolo", "dataset.path=two/data.yaml")


@pytest.mark.parametrize("override", ["block.kernel_att=5", "model/placement=sppf", "block.head=2"])
def test_a_baseline_depends_on_neither_block_nor_placement(digest, override):
    assert digest("arm=baseline", override) == digest("arm=baseline")


def test_a_site_is_the_same_by_name_and_by_index(digest):
    by_name = digest("model.placement.sites=[backbone_p4,backbone_p5]")
    assert digest("model.placement.sites=[8,6]") == by_name
    assert digest("model.placement.sites=[6]") != by_name


def test_pretrained_weights_enter_by_content_and_resolve_zero_init(make_config, tmp_path):
    parts = []
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"same")
        config = arm.apply(make_config("hardware=cpu", f"model.pretrained={tmp_path / name}"))
        parts.append(identity(config, "f"))
    assert parts[0] == parts[1]
    assert parts[0]["placement"]["zero_init"] is True


@pytest.mark.parametrize(
    ("line", "old", "name"),
    [
        ("arm=baseline", "6cb4c252", "baseline-s0-4886bf28"),
        ("arm=mixed", "29441156", "mixed-s0-9def909a"),
        ("arm=conv seed=3", "87a0b21c", "conv-s3-0e682cf1"),
        ("arm=identity", "c970d4c8", "identity-s0-a79f6e18"),
        ("arm=conv3x3", "efe2d35e", "conv3x3-s0-5cd63f88"),
        ("block=hat block.form=channel", "b8de9df2", "hat-s0-b3481f05"),
        ("block=deformable_attention block.position=log", "5475c698", "deformable_attention-s0-f502c975"),
        ("model.placement.zero_init=true +train.extra.warmup_bias_lr=0.0", "9ef6b8f2", "acmix-mixed-s0-e1a671dc"),
        ("model.placement.zero_init=true +train.extra.warmup_epochs=0", "7666d4f9", "acmix-mixed-s0-3857cb5c"),
        ("block=lska block.form=block", "fe0095e1", "lska-s0-ad92bc62"),
        ("block=ema model/placement=neck", "711c4b5f", "ema-s0-cd5d8d35"),
        ("arm=attention model.scale=s train=paper", "980da266", "attention-s0-853d89e7"),
        ("arm=mixed model=yolov8_mobilenetv3_small", "e4072a40", "mixed-s0-dd7cc8bc"),
        ("block=conv3x3 model/placement=bottleneck_p4p5", "6cb4c252", "baseline-s0-4886bf28"),
    ],
)
def test_run_directories_are_named_as_in_version_0_1_but_for_the_sampling(make_config, line, old, name):
    effective = arm.apply(make_config("hardware=cpu", *line.split()))
    parts = identity(effective, "f")
    assert f"{arm_label(effective)}-s{effective.seed}-{hash8(parts)}" == name
    assert parts.pop("sampling") == 2
    assert hash8(parts) == old


@pytest.mark.parametrize(
    ("line", "old"),
    [
        ("block=hat", "hat-s0-f45debf5"),
        ("block=deformable_attention", "deformable_attention-s0-0a264978"),
        ("block=sea_attention", "sea_attention-s0-f9d15d12"),
        ("model.placement.zero_init=true", "acmix-mixed-s0-017df6ab"),
    ],
)
def test_runs_that_are_trained_in_another_way_since_version_0_1_have_another_name(make_config, line, old):
    """Position tables are without decay, and the bias warm-up does not move a branch that starts at zero."""
    effective = arm.apply(make_config("hardware=cpu", *line.split()))
    assert f"{arm_label(effective)}-s{effective.seed}-{hash8(identity(effective, 'f'))}" != old


def test_pretrained_runs_have_no_bias_warmup_in_their_run_key(make_config, tmp_path):
    (tmp_path / "a.pt").write_bytes(b"same")
    pretrained = f"model.pretrained={tmp_path / 'a.pt'}"

    def parts(*overrides):
        return identity(arm.apply(make_config("hardware=cpu", pretrained, *overrides)), "f")

    assert parts()["train"]["extra"] == {"warmup_bias_lr": 0.0}
    assert parts() == parts("+train.extra.warmup_bias_lr=0.0") != parts("+train.extra.warmup_bias_lr=0.1")
    assert "bias_warmup" not in parts()["placement"]
    assert parts("+train.extra.warmup_epochs=0")["train"]["extra"] == {"warmup_epochs": 0}  # as in version 0.1


def test_what_stands_in_place_of_an_attention(make_config):
    def parts(*overrides):
        swapped = ("hardware=cpu", "model=yolo26", "model/placement=swap_attention")
        return identity(arm.apply(make_config(*swapped, *overrides)), "f")

    assert parts("arm=mixed")["placement"] == {"mode": "swap", "sites": ["psa", "neck_p5"], "norm": True}
    matched = parts("arm=conv3x3_matched", "block=ema")
    assert matched["block"] == {"name": "conv3x3_matched", "match": "parameters", "of": "attention"}
    assert matched == parts("arm=conv3x3_matched", "block=lsk", "model.placement.act=false")
    assert matched != parts("arm=conv3x3_matched", "arm.match=flops")
    assert parts("arm=mixed")["model"] == {"name": "yolo26", "scale": "n", "pretrained": None}
    assert parts("arm=mixed", "model.variant=p2")["model"]["variant"] == "p2"


def test_the_number_of_ranks_counts_where_there_are_several(make_config):
    def parts(*overrides):
        return identity(arm.apply(make_config("arm=mixed", *overrides)), "f")["hardware"]

    assert parts("hardware=cpu") == {"precision": "fp32", "device": "cpu"}
    assert parts("hardware=cpu", "hardware.gpus_per_run=1") == parts("hardware=cpu")
    assert parts("hardware=multi_cpu") == {"precision": "fp32", "device": "cpu", "gpus_per_run": 2}
    assert parts("hardware=multi_cpu", "hardware.gpus_per_run=4")["gpus_per_run"] == 4


def test_the_matched_control_counts_by_what_it_matches(make_config, digest):
    parts = identity(arm.apply(make_config("hardware=cpu", "arm=conv3x3_matched", "block=ema")), "f")
    assert parts["block"] == {
        "name": "conv3x3_matched",
        "match": "parameters",
        "like": {"name": "ema", "form": "residual", "factor": 8},
    }
    options = ["block=lska", "block.factor=4", "arm.match=flops"]
    hashes = {digest("arm=conv3x3_matched", "block=ema", option) for option in options}
    assert len({*hashes, digest("arm=conv3x3_matched", "block=ema"), digest("block=ema")}) == 5


def test_join_counts_by_how_it_is_joined(digest):
    assert digest("arm=join") != digest("arm=join", "model.placement.act=false")
    assert digest("arm=join") == digest("arm=join", "block.head=2")
