"""Where a block can sit in a network: sites by their role, such as backbone_p4, whatever the family.

==================  ================================================================================================
backbone_pN         the last stage of the backbone whose map is 2^N times smaller than the image
sppf, psa           its spatial pyramid pooling, and the attention at its end
neck_pN_down        the stages of the neck from P5 (or P6) down to the finest map
neck_pN             the layers that the head reads
head_inputs         all of neck_pN; ``neck`` is neck_pN and neck_pN_down, ``backbone`` is all of backbone_pN
attention           all sites with attention inside
==================  ================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from acmix_exp.config import Config, ModelConfig, PlacementConfig, block_label
from acmix_exp.errors import ConfigError
from acmix_exp.insertions import Insertion, insertions
from acmix_exp.slot_rules import MAPS, SLOTS
from acmix_exp.yolo import families
from acmix_exp.yolo.families import TRANSFORMER, Backbone
from acmix_exp.yolo.inner import Inner, attentions, second_convolutions
from acmix_exp.yolo.slot_sites import as_named, inputs_of, reasons, slot_groups, slot_layers, why_none
from acmix_exp.yolo.yaml_layers import Layer, layers

MODES = (*MAPS, *SLOTS)
POOLING = ("SPPF", "SPP", "SPPELAN")
ATTENTION = ("C2PSA", "PSA", "C2fPSA", "AIFI")
# Kinds that only resize, join, split or project maps: they are sites only where the head reads them.
_PLAIN = (
    "Conv DWConv GhostConv ConvTranspose DWConvTranspose2d Focus ADown AConv SCDown HGStem Concat CBLinear CBFuse "
    "TorchVision Index ImagePoolingAttn nn.Identity nn.Upsample nn.ConvTranspose2d nn.MaxPool2d nn.ZeroPad2d"
)
PLAIN = frozenset(_PLAIN.split())
LEVELS = range(1, 8)


@dataclass(frozen=True)
class Site:
    """A layer that takes the block.

    channels: input and output channels of the block: those of the layer's output, or of what it replaces inside.
    stride: pixels of the image per pixel of the block's map, along one side.
    paths: of the modules inside the layer that it replaces, one block each; empty if it sits after the layer.
    inputs: channels of the maps that the layer reads, in a slot of its own (``acmix_exp.slot_rules``).
    """

    name: str
    index: int
    channels: int
    stride: int
    paths: tuple[str, ...] = ()
    inputs: tuple[int, ...] = ()

    @property
    def block_names(self) -> list[str]:
        """One name per block: the site's, with a number if the site has several."""
        count = len(self.paths)
        return [self.name] if count <= 1 else [f"{self.name}.{i}" for i in range(count)]


@dataclass(frozen=True)
class Network:
    """A detector as its YAML describes it.

    title: its name in messages, such as yolov8n. two_heads: it has a head without suppression of duplicates as well.
    """

    title: str
    layers: tuple[Layer, ...]
    two_heads: bool = False

    @classmethod
    def of(cls, model: ModelConfig) -> Network:
        """The network of a config. Raises ConfigError if the family does not have it, or ``model.yaml`` is wrong."""
        if lines := families.faults(model):
            raise ConfigError(*lines)
        own = families.yaml_digest(model) if model.yaml else None
        return _network(model.family, model.scale, model.variant, model.yaml, own, Backbone.of(model), model.task)

    @classmethod
    def from_yaml(cls, title: str, yaml: Mapping[str, Any], scale: str, backbone: Backbone | None = None) -> Network:
        """The network of a YAML. With a ``backbone`` of torchvision, its stages stand at their layers.

        Raises ValueError if it describes no network.
        """
        if backbone is None:
            found = layers(yaml, scale)
            return cls(title, found, bool(yaml.get("end2end")) or found[-1].kind == "v10Detect")
        given = {
            index: Layer(index, "MobileNetV3Stage", (index - 1,), backbone.channels[name], stride)
            for (name, index), stride in zip(stage_indices().items(), (8, 16, 32), strict=True)
        }
        identity = [[-1, 1, "nn.Identity", []]] * pooling_index()
        return cls(title, layers({**yaml, "backbone": identity + yaml["backbone"][len(identity) :]}, scale, given))

    @property
    def head(self) -> Layer:
        return self.layers[-1]

    @property
    def is_transformer(self) -> bool:
        """Whether it is an RT-DETR, which has a trainer of its own and takes images stretched to a square."""
        return self.head.kind == TRANSFORMER

    @property
    def stride(self) -> int:
        """Which the sides of an image must be multiples of: the largest of the head's maps, at least 32."""
        return max(32, *(int(self.layers[index].stride) for index in self.head.inputs))

    @cached_property
    def sites(self) -> dict[str, Layer]:
        """Every layer that has a role, by its name, in network order. Of several with one role it is the last."""
        found: dict[str, Layer] = {}
        for layer in self.layers[:-1]:
            if layer.index in self._used and (name := self._role(layer)):
                found[name] = layer
        return dict(sorted(found.items(), key=lambda item: item[1].index))

    @cached_property
    def _used(self) -> set[int]:
        """The layers that the head depends on. In a YAML of the user's there may be others."""
        used = {self.head.index}
        for layer in reversed(self.layers):
            if layer.index in used:
                used.update(layer.inputs)
        return used

    def _role(self, layer: Layer) -> str | None:
        level = math.log2(layer.stride)
        if level not in LEVELS:
            return None
        read = layer.index in self.head.inputs
        repeated = layer.kind == "Conv" and layer.repeats > 1 and layer.stride == self.layers[layer.inputs[0]].stride
        if not read and not repeated and (layer.kind in PLAIN or len(layer.inputs) > 1):
            return None
        if layer.kind in POOLING:
            return "sppf"
        if layer.kind in ATTENTION:
            return "psa"
        if layer.part == "backbone":
            return f"backbone_p{int(level)}"
        return f"neck_p{int(level)}{'' if read else '_down'}"

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names that stand for several sites; those without any are left out."""
        names = list(self.sites)
        inputs = [name for name in names if self.sites[name].index in self.head.inputs]
        neck = [name for name in names if name.startswith("neck_")]
        backbone = [name for name in names if name.startswith("backbone_")]
        attention = [name for name in names if isinstance(self.inner(name, "swap"), Inner)]
        groups = {"head_inputs": inputs, "neck": neck, "backbone": backbone, "attention": attention}
        return {name: group for name, group in groups.items() if group}

    def inner(self, name: str, mode: str = "replace") -> Inner | str:
        """What a block can replace inside a site: convolutions, or attention with ``swap``; or why nothing."""
        return (attentions if mode == "swap" else second_convolutions)(self.sites[name])


@lru_cache(maxsize=256)
def _network(
    family: str,
    scale: str,
    variant: str | None,
    own: str | None,
    digest: str | None,
    backbone: Backbone | None,
    task: str | None,
) -> Network:
    model = ModelConfig(family=family, scale=scale, variant=variant, yaml=own, task=task)
    content = families.yaml_of(model)
    try:
        return Network.from_yaml(families.title(model), content, content["scale"], backbone)
    except ValueError as error:
        raise ConfigError(f"model.yaml={own}: {error}" if own else f"model.family={family}: {error}") from error


@lru_cache(maxsize=1)
def _yolov8() -> Network:
    return Network.of(ModelConfig(family="yolov8"))


def stage_indices() -> dict[str, int]:
    """Where the three stages of MobileNetV3 stand in YOLOv8."""
    return {name: _yolov8().sites[name].index for name in ("backbone_p3", "backbone_p4", "backbone_p5")}


def pooling_index() -> int:
    """The layer of YOLOv8's SPPF, before which MobileNetV3 stands."""
    return _yolov8().sites["sppf"].index


def resolve_sites(placement: PlacementConfig, network: Network) -> list[Site]:
    """The sites of a placement in network order; empty if it has none.

    Raises ConfigError for a mode, site or combination that does not exist.
    """
    lines = []
    if placement.mode not in MODES:
        lines.append(f"model.placement.mode={placement.mode}: must be one of {', '.join(MODES)}")
    if placement.zero_init and placement.mode == "after" and not (placement.norm and placement.residual):
        lines.append(
            "model.placement.zero_init=true: needs norm and residual; "
            "set model.placement.norm=true and model.placement.residual=true"
        )
    if placement.mode in SLOTS:
        return _slot_sites(placement, network)
    names: list[str] = []
    for value in placement.sites:
        line = f"model.placement.sites={value}"
        found = _names(value, network)
        if not found:
            indices = ", ".join(str(layer.index) for layer in network.sites.values())
            if value == "attention":
                lines.append(
                    f"{line}: {network.title} has no attention; use a family that has, such as yolo12 or yolo26"
                )
                continue
            lines.append(
                f"{line}: {network.title} has no such site; must be one of "
                f"{', '.join([*network.sites, *network.groups])}, or of the layer indices {indices}"
            )
        for name in found:
            if name in names:
                lines.append(f"{line}: names {name} twice; name every site once")
            else:
                names.append(name)
    if placement.mode in ("replace", "swap"):
        lines += _irreplaceable(names, placement.mode, network)
    if lines:
        raise ConfigError(*lines)
    return [_site(name, placement.mode, network) for name in network.sites if name in names]


def _slot_sites(placement: PlacementConfig, network: Network) -> list[Site]:
    """As :func:`resolve_sites`, of a slot of its own."""
    slot, lines, names = placement.mode, [], []
    found = slot_layers(network.layers, slot)
    for value in placement.sites:
        line = f"model.placement.sites={value}: {network.title}"
        if not found:
            lines.append(f"{line} cannot take it: {why_none(network.layers, slot)}")
            break
        named = as_named(found, value)
        if not named:
            why = reasons(network.layers, slot, str(value)) or f"has no such site for model.placement.mode={slot}"
            right = ", ".join([*found, *slot_groups(list(found))])
            lines.append(f"{line}: {why}; must be one of {right}")
        lines += [f"{line}: names {name} twice; name every site once" for name in named if name in names]
        names += named
    if lines:
        raise ConfigError(*lines)
    return [
        Site(name, layer.index, layer.channels, int(layer.stride), inputs=inputs_of(layer, network.layers))
        for name, layer in found.items()
        if name in names
    ]


def sites_of(config: Config) -> list[tuple[Insertion, list[Site]]]:
    """What a config, its arm applied, inserts, each with its sites; by the first of them in network order.

    Raises ConfigError as :func:`resolve_sites`, and for a site that two insertions name.
    """
    network = Network.of(config.model)
    found: list[tuple[Insertion, list[Site]]] = []
    owners: dict[str, Insertion] = {}
    lines = []
    for each in insertions(config):
        try:
            sites = resolve_sites(each.placement, network)
        except ConfigError as error:
            lines += each.in_words(error.lines)
            continue
        found.append((each, sites))
        for site in sites:
            if other := owners.get(site.name):
                lines.append(
                    f"{each.key}.placement: {site.name} takes {block_label(other.block)} already ({other.key}); "
                    "must be a site of its own"
                )
            owners[site.name] = each
    if lines:
        raise ConfigError(*lines)
    return sorted(found, key=lambda item: item[1][0].index if item[1] else 0)


def _names(value: Any, network: Network) -> list[str]:
    """The sites that a name, a group or a layer's index stands for; empty if it is none."""
    text = str(value).strip().replace(".", "_").lower()
    if text in network.groups:
        return network.groups[text]
    if text.isdigit():
        return [name for name, layer in network.sites.items() if layer.index == int(text)]
    return [text] if text in network.sites else []


def _irreplaceable(names: list[str], mode: str, network: Network) -> list[str]:
    """A line for the sites without a module that a block can replace, which says why."""
    reasons: dict[str, list[str]] = {}
    wrong = [name for name in names if isinstance(network.inner(name, mode), str)]
    for name in wrong:
        layer = network.sites[name]
        reasons.setdefault(f"{layer.kind}: {network.inner(name, mode)}", []).append(f"layer {layer.index}")
    if not wrong:
        return []
    why = "; ".join(f"{', '.join(indices)}, {reason}" for reason, indices in reasons.items())
    right = [name for name in network.sites if isinstance(network.inner(name, mode), Inner)]
    use = f"use {', '.join(right)}, or model.placement.mode=after" if right else "use model.placement.mode=after"
    return [f"model.placement.sites={', '.join(wrong)}: {network.title} has nothing to replace there ({why}); {use}"]


def _site(name: str, mode: str, network: Network) -> Site:
    layer = network.sites[name]
    if mode == "after":
        return Site(name, layer.index, layer.channels, int(layer.stride))
    inner = network.inner(name, mode)
    assert isinstance(inner, Inner)
    return Site(name, layer.index, inner.channels, int(layer.stride), inner.paths)


def zero_init(placement: PlacementConfig, pretrained: bool) -> bool:
    """Whether branches start at zero: as configured, else if weights are pretrained and the placement allows it."""
    able = placement.mode not in ("replace", "swap", "loss") and placement.norm and placement.residual
    return able and (pretrained if placement.zero_init is None else placement.zero_init)
