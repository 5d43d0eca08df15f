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
        "hardware.workers=3",
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
    ("line", "name"),
    [
        ("arm=baseline", "baseline-s0-6cb4c252"),
        ("arm=mixed", "mixed-s0-29441156"),
        ("arm=conv seed=3", "conv-s3-87a0b21c"),
        ("arm=identity", "identity-s0-c970d4c8"),
        ("arm=conv3x3", "conv3x3-s0-efe2d35e"),
        ("block=hat block.form=channel", "hat-s0-b8de9df2"),
        ("block=deformable_attention block.position=log", "deformable_attention-s0-5475c698"),
        ("model.placement.zero_init=true +train.extra.warmup_bias_lr=0.0", "acmix-mixed-s0-9ef6b8f2"),
        ("model.placement.zero_init=true +train.extra.warmup_epochs=0", "acmix-mixed-s0-7666d4f9"),
        ("block=lska block.form=block", "lska-s0-fe0095e1"),
        ("block=ema model/placement=neck", "ema-s0-711c4b5f"),
        ("arm=attention model.scale=s train=paper", "attention-s0-980da266"),
        ("arm=mixed model=yolov8_mobilenetv3_small", "mixed-s0-e4072a40"),
        ("block=conv3x3 model/placement=bottleneck_p4p5 hardware.workers=4", "baseline-s0-6ea67da5"),
    ],
)
def test_run_directories_of_version_0_1_keep_their_names(make_config, line, name):
    effective = arm.apply(make_config("hardware=cpu", *line.split()))
    assert f"{arm_label(effective)}-s{effective.seed}-{hash8(identity(effective, 'f'))}" == name


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
