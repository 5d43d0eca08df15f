"""``acmix_exp.build``: a network with blocks as the YOLO object of ultralytics, for notebooks and scripts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml
from torch import nn
from ultralytics import RTDETR, YOLO
from ultralytics.engine.model import Model
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT, RANK

from acmix_exp import custom_block
from acmix_exp.block_rules import RULES, channel_faults, library_faults, option_faults, with_defaults
from acmix_exp.config import IDENTITY, JOIN, MATCHED, ArmConfig, Config, ModelConfig, PlacementConfig, conf_dir, options
from acmix_exp.errors import ConfigError
from acmix_exp.slot_rules import slot_faults
from acmix_exp.yolo import checkpoints
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.model import CONFIG_KEY, BlockDetectionModel, BlockRTDETRModel, build_model, is_transformer
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.sites import sites_of
from acmix_exp.yolo.transfer import convert, require_fit

CONTROLS = (IDENTITY, JOIN, MATCHED)  # blocks that make sense beside other arms alone


def build(
    model: str = "yolov8n",
    *,
    block: str = "acmix",
    placement: str | Sequence[str | int] = "backbone_p4p5",
    scale: str | None = None,
    pretrained: str | None = None,
    classes: int | Sequence[str] = 80,
    seed: int = 0,
    insertions: Sequence[Mapping[str, Any]] = (),
    **block_options: Any,
) -> YOLO | RTDETR:
    """A detector with ``block`` inserted, as a model of ultralytics: train, val, predict, export and save work.

    Args:
        model: a name of ultralytics such as ``yolov8n``, of a family in ``conf/model``, or a YAML file of your own.
        block: a block of ``conf/block``; ``custom`` for a class of your own, named by ``target="module.Class"``.
        placement: a file of ``conf/model/placement``, or a list of sites such as ``["backbone_p4", "neck_p3"]``.
        scale: of a YAML file that has several; None: n. A name holds its own.
        pretrained: a checkpoint or a name such as ``yolov8n.pt``, whose weights go to every layer that has them, to
            the block too if it is the same; None: from scratch.
        classes: how many classes, or their names. ``train`` replaces them by those of the data set.
        seed: of the initial weights of the blocks; the other layers draw from torch's own generator.
        insertions: several blocks, in place of block and placement, as in ``arm.insertions``:
            ``[{"block": "acmix", "placement": "backbone_p4p5"}, {"block": "ema", "placement": "neck"}]``.
        block_options: options of the block, such as ``kernel_att=5``.

    One network is not an ablation: arms that share batches and initial weights, seeds and verdicts come with
    ``python -m acmix_exp``.

    Raises ConfigError, in one line a fault, for a name that does not exist and an option that does not fit; ValueError
    for weights that do not fit and for a class of your own that cannot be built.
    """
    config = Config(
        seed=seed,
        arm=ArmConfig(name="configured", insert=True, insertions=list(insertions)),
        model=replace(_model(model, scale), placement=_placement(placement), pretrained=pretrained),
        block={"name": block, **block_options},
    )
    if insertions and (block_options or (block, placement) != ("acmix", "backbone_p4p5")):
        raise ConfigError("insertions: names its own blocks, options and placements; leave those arguments out")
    _check(config)
    if not insertions and not custom_block.is_custom(config.block):
        config = replace(config, block=with_defaults(block, config.block))
    names = [str(i) for i in range(classes)] if isinstance(classes, int) else list(classes)
    network = build_model(config, nc=len(names))
    network.names = dict(enumerate(names))
    if pretrained is not None:
        path = find_pretrained(config.model)
        source, _ = checkpoints.load(path, f"pretrained={pretrained}")
        require_fit(network, source, path)
        network.load(source, verbose=False)
        convert(network, source.float().state_dict())
    made = (BlockRTDETR if is_transformer(network.yaml) else BlockYOLO)(network.yaml["yaml_file"])
    made.model, made.ckpt = network, {"model": network}  # train() starts from the weights of ``ckpt``
    network.args, network.task = {**DEFAULT_CFG_DICT, **made.overrides}, made.task
    return made


class _KeepsBlocks(Model):
    """A model of ultralytics whose ``train`` builds the network with its blocks; made by :func:`build`."""

    def _new(self, cfg: str, task: str | None = None, verbose: bool = False) -> None:
        """Called by the constructor for a YAML; builds nothing, because :func:`build` puts the network in."""
        self.cfg = self.model_name = cfg
        self.task = task or "detect"
        self.overrides |= {"model": cfg, "task": self.task}

    def _smart_load(self, key: str) -> Any:
        stock = super()._smart_load(key)
        return type(f"Block{stock.__name__}", (_BuildsBlocks, stock), {}) if key == "trainer" else stock


class BlockYOLO(_KeepsBlocks, YOLO):
    """``ultralytics.YOLO`` with blocks."""


class BlockRTDETR(_KeepsBlocks, RTDETR):
    """``ultralytics.RTDETR`` with blocks."""


class _BuildsBlocks(BaseTrainer):
    """A trainer of ultralytics, unchanged but for the network."""

    def get_model(self, cfg: Any = None, weights: nn.Module | None = None, verbose: bool = True) -> DetectionModel:
        if not isinstance(cfg, dict) or CONFIG_KEY not in cfg:
            raise ValueError(f"model={cfg}: holds no block of acmix_exp; train it with ultralytics alone")
        network = BlockRTDETRModel if is_transformer(cfg) else BlockDetectionModel
        model = network(cfg, ch=self.data["channels"], nc=self.data["nc"], verbose=verbose and RANK == -1)
        model = self.set_model_names_for_load(model)
        if weights:
            model.load(weights)
        return model


def _model(name: str, scale: str | None) -> ModelConfig:
    """The model of a name such as yolov8n or yolov8n-p2, or of a YAML of the user's."""
    if name.endswith((".yaml", ".yml")):
        return ModelConfig(yaml=name, scale=scale or "n")
    if scale is not None:
        raise ConfigError(f"scale={scale}: goes with a YAML file; a name holds its own, as in yolov8s")
    families = {key: FAMILIES[key] for key in options("model")}
    named = {
        family.network(size, variant): ModelConfig(family=key, scale=size, variant=variant)
        for key, family in families.items()
        if not family.backbone
        for size in family.scales
        for variant in (None, *family.variants)
    }
    named |= {key: ModelConfig(family=key) for key, family in families.items() if family.backbone}
    if name not in named:
        close = difflib.get_close_matches(name, named, n=1)
        right = f"must be one of {', '.join(families)}, with its scale as in yolov8n, or a YAML file of your own"
        raise ConfigError(f"model={name}: no such model; {f'did you mean {close[0]}?' if close else right}")
    return named[name]


def _placement(placement: str | Sequence[str | int]) -> PlacementConfig:
    if not isinstance(placement, str):
        return PlacementConfig(name="sites", sites=list(placement))
    known = [name for name in options("model/placement") if name not in ("none", "usual")]
    if placement not in known:
        raise ConfigError(f"placement={placement}: must be one of {', '.join(known)}, or a list of sites")
    with open(conf_dir() / "model" / "placement" / f"{placement}.yaml", encoding="utf-8") as file:
        return PlacementConfig(**yaml.safe_load(file))


def _check(config: Config) -> None:
    """Raise ConfigError for a block, option or site that does not exist, and for sites that the block cannot take."""
    known = [each for each in sorted(RULES) if each not in CONTROLS]
    lines = []
    for inserted, sites in sites_of(config):
        block = inserted.block
        name, given = str(block["name"]), {key: value for key, value in block.items() if key != "name"}
        if not sites:
            raise ConfigError("placement=[]: must be at least one site")
        if custom_block.is_custom(block):
            found = custom_block.faults(block, taken=())
        elif name not in known:
            found = [f"block={name}: must be one of {', '.join(known)}, or custom with target='module.Class'"]
        else:
            channels = {site.name: site.channels for site in sites}
            found = slot_faults(block, inserted.placement.mode)
            found = found or option_faults(name, given) or channel_faults(name, given, channels, config.model.scale)
            found = found or library_faults(block)
        lines += inserted.in_words(found)
    if lines:
        raise ConfigError(*lines)
