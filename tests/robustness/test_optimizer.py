"""The same treatment for the same kind of tensor, whatever its name; and branches that start at zero stay there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from acmix_exp.block_rules import RULES, has_position_table
from acmix_exp.slot_rules import slot_of
from tests.robustness.cases import case

SECTION = "What is trained"

# Of each block: what a tensor is, by the end of its name. Everything else of two or more dimensions is a weight.
VECTORS = ("rate1", "rate2", "layer_scale_1", "layer_scale_2")
TABLES = ("relative_position_bias_table", "rpe_table", "pos_embed")


def variants() -> list[tuple[str, dict[str, Any]]]:
    forms = [
        (name, {key: value})
        for name, block in RULES.items()
        for key in ("form", "path", "position", "offsets")
        if key in block.options
        for value in block.options[key].choices or (True, False)
        if name != "dlka" or key == "form"
    ]
    others = RULES.keys() - {name for name, _ in forms} - {"timm"}
    return [*forms, *((name, {}) for name in sorted(others) if slot_of({"name": name}) != "loss")]


def model_and_groups(name: str, options: dict[str, Any], **changes: Any) -> tuple[Any, dict[str, str]]:
    """A network with the block after P5 or in its slot, and the group of every parameter by its name."""
    from torch import optim

    from acmix_exp.config import PlacementConfig
    from acmix_exp.yolo.model import build_model
    from acmix_exp.yolo.parameter_groups import regroup
    from tests.yolo.builders import make_config

    if slot := slot_of({"name": name}):
        changes["model__placement"] = PlacementConfig(name=slot, mode=slot, sites=["all"])
    model = build_model(make_config(block={"name": name, **options}, **changes), nc=3)
    groups = stock_groups(model)
    optimizer = optim.AdamW([{"params": params, "param_group": kind} for kind, params in groups.items()])
    regroup(optimizer, model)
    found = {id(p): group["param_group"] for group in optimizer.param_groups for p in group["params"]}
    return model, {key: found[id(parameter)] for key, parameter in model.named_parameters()}


def stock_groups(model: Any) -> dict[str, list[Any]]:
    """As ultralytics sorts: by the word bias in the full name, then by the type of the module."""
    from torch import nn

    norms = tuple(kind for name, kind in nn.__dict__.items() if "Norm" in name)
    groups: dict[str, list[Any]] = {"bias": [], "weight": [], "bn": []}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            kind = "bias" if "bias" in f"{prefix}.{name}" else "bn" if isinstance(module, norms) else "weight"
            groups[kind].append(parameter)
    return groups


@case(
    SECTION,
    have="a position table called relative_position_bias_table, rpe_table or pos_embed: bias, weight, weight",
    here="position tables of all blocks are without decay and without bias warm-up; biases and weights by their kind",
)
@pytest.mark.parametrize(("name", "options"), variants(), ids=str)
def test_the_kind_decides_the_group(name: str, options: dict[str, Any]) -> None:
    model, groups = model_and_groups(name, options)
    block = {key: kind for key, kind in groups.items() if ".block." in key}
    parameters = dict(model.named_parameters())
    found_table = False
    for key, kind in block.items():
        last = key.rsplit(".", 1)[-1]
        if last in TABLES:
            found_table = True
            expected = "bn"
        elif last == "bias":
            expected = "bias"
        elif last in VECTORS or parameters[key].ndim == 1 or ".norm" in key or "conv_up.1." in key:
            expected = "bn"
        else:
            expected = "weight"
        assert kind == expected, key
    assert found_table == has_position_table(name, options)


@pytest.mark.parametrize(("family", "scale"), [("yolov8", "n"), ("yolo12", "l"), ("rtdetr", "l")], ids=str)
def test_the_layers_of_the_stock_network_have_the_groups_of_ultralytics(family: str, scale: str) -> None:
    """YOLO12 and RT-DETR have a vector and an embedding that a block would have without decay."""
    model, groups = model_and_groups("acmix", {}, model__family=family, model__scale=scale)
    stock = {id(p): kind for kind, params in stock_groups(model).items() for p in params}
    own = model.new_keys()
    assert own
    for key, parameter in model.named_parameters():
        assert key in own or groups[key] == stock[id(parameter)], key


@case(
    SECTION,
    have="a block of one's own with a table, a bias of shape (1, C, 1, 1), a temperature or a module called bias_net",
    here="each tensor is in the group of its kind: what a name or a folder of modules contains does not decide",
)
def test_tensors_of_ones_own() -> None:
    import torch
    from torch import nn

    from acmix_exp.yolo.parameter_groups import group_of

    free = nn.Module()
    kinds = [
        (free, "table", (49, 4), "bn"),
        (free, "relative_position_bias", (4, 49, 49), "bn"),
        (free, "bias", (1, 8, 1, 1), "bias"),
        (free, "q_bias", (8,), "bias"),
        (free, "temperature", (4, 1, 1), "bn"),
        (free, "gamma", (8,), "bn"),
        (free, "weight", (8, 1, 3, 3), "weight"),
        (free, "weight", (1, 8, 1, 1), "bn"),
        (free, "rate", (), "bn"),
        (nn.Conv2d(8, 1, 1), "weight", (1, 8, 1, 1), "weight"),
        (nn.Conv1d(1, 1, 3), "weight", (1, 1, 3), "weight"),
        (nn.Linear(8, 8), "weight", (8, 8), "weight"),
        (nn.Embedding(9, 8), "weight", (9, 8), "bn"),
        (nn.LayerNorm([8, 5, 5]), "weight", (8, 5, 5), "bn"),
        (nn.LayerNorm([8, 5, 5]), "bias", (8, 5, 5), "bias"),
        (nn.GroupNorm(2, 8), "weight", (8,), "bn"),
        (nn.PReLU(8), "weight", (8,), "bn"),
        (nn.MultiheadAttention(8, 2), "in_proj_weight", (24, 8), "weight"),
        (nn.MultiheadAttention(8, 2), "in_proj_bias", (24,), "bias"),
    ]
    for module, name, shape, expected in kinds:
        assert group_of(module, name, torch.zeros(shape)) == expected, (type(module).__name__, name, shape)


@case(
    SECTION,
    have="pretrained weights with AdamW: the first step of ultralytics' bias warm-up moves every bias by 0.1",
    here="with pretrained weights `warmup_bias_lr` is 0; from scratch it is ultralytics' 0.1; `train.extra` beats both",
)
@pytest.mark.parametrize(
    ("pretrained", "extra", "expected"),
    [
        (None, {}, None),
        ("w.pt", {}, 0.0),
        (None, {"warmup_bias_lr": 0.05}, 0.05),
        ("w.pt", {"warmup_bias_lr": 0.1}, 0.1),
    ],
)
def test_the_bias_warmup(pretrained: str | None, extra: dict[str, float], expected: float | None) -> None:
    from acmix_exp.yolo.arguments import extra_arguments
    from tests.yolo.builders import make_config

    config = make_config(train__extra=extra)
    config.model.pretrained = pretrained
    assert extra_arguments(config).get("warmup_bias_lr") == expected


def largest_bias(tmp_path: Path, **changes: Any) -> tuple[float, float]:
    """The largest entry of the branch's norm bias and of a stock norm's after a training of six steps."""
    from acmix_exp.yolo.trainer import BlockTrainer
    from tests.yolo.builders import make_config, make_dataset

    dataset = make_dataset(tmp_path / "data", {"train": 12, "val": 4})
    trainer = BlockTrainer(make_config(**changes), dataset, tmp_path / "run", "cpu", lambda row: None)
    trainer.train()
    model = trainer.model
    branch = next(iter(model._holders().values())).norm
    return branch.bias.abs().max().item(), model.model[0].bn.bias.abs().max().item()


@case(
    SECTION,
    have="`model.placement.zero_init=true`: a branch that starts at zero is moved by 0.1 in the first step",
    here="its norm's bias has no bias warm-up, also from scratch: it learns at the rate of the weights",
)
def test_a_branch_that_starts_at_zero_is_not_moved_by_the_warmup(tmp_path: Path) -> None:
    from acmix_exp.config import ModelConfig, PlacementConfig

    placement = PlacementConfig(name="here", sites=["backbone_p5"], zero_init=True)
    branch, stock = largest_bias(tmp_path, model=ModelConfig(placement=placement))
    assert branch < 0.02  # 6 steps of at most lr0, 0.002
    assert stock > 0.05


@case(
    SECTION,
    have="`task=repeat` of a run that an older version trained with other optimizer groups or another bias warm-up",
    here="one line says before the training that the repeat will differ for this reason",
)
def test_a_run_of_the_older_rules_is_known() -> None:
    from acmix_exp.sweep.run_key import older_optimizer

    assert not older_optimizer({"block": {"name": "acmix"}, "train": {"extra": {}}}, {"block": None, "train": {}})
    assert older_optimizer({"train": {"extra": {}}}, {"train": {"extra": {"warmup_bias_lr": 0.0}}})
    assert older_optimizer({"block": {"name": "hat"}}, {"block": {"name": "hat", "position_tables": "without decay"}})
