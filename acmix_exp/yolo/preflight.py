"""What only torch and ultralytics can tell about a plan. Runs in a child process before the first run starts.

ultralytics checks its own arguments and export formats, pretrained files are loaded, and every distinct network is
built: its stock network once, then its blocks at the widths of their sites. A user-defined block is run as well. All is
built on the CPU, because on the meta device torch imports torch._dynamo for an addition, which takes seconds.
"""

from __future__ import annotations

import difflib
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import ultralytics
from torch import nn
from ultralytics.cfg import check_cfg
from ultralytics.nn.modules import Bottleneck, Concat, Conv
from ultralytics.nn.modules.block import AAttn, Attention, ResNetBlock
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import DEFAULT_CFG_DICT

from acmix_exp import custom_block, model_tasks
from acmix_exp.block_rules import RULES
from acmix_exp.child import Job
from acmix_exp.config import ArmConfig, Config, ModelConfig, from_plain
from acmix_exp.errors import ConfigError, one_line
from acmix_exp.insertions import Insertion
from acmix_exp.nn import build_block, build_slot_block
from acmix_exp.nn.custom import try_block, try_custom_block
from acmix_exp.slot_rules import slot_of
from acmix_exp.yolo import checkpoint_file, checkpoints, export_formats, families
from acmix_exp.yolo.arguments import OWNED_ARGS
from acmix_exp.yolo.checkpoint_file import NotACheckpoint
from acmix_exp.yolo.families import Backbone, starts_from_features
from acmix_exp.yolo.inner import Inner
from acmix_exp.yolo.matched import matched_block
from acmix_exp.yolo.mobilenet import load_backbone
from acmix_exp.yolo.model import CONFIG_KEY, build_model
from acmix_exp.yolo.pickle_scan import OTHER_TASKS
from acmix_exp.yolo.pretrained import find_pretrained
from acmix_exp.yolo.sites import Network, Site, sites_of
from acmix_exp.yolo.transfer import require_fit
from acmix_exp.yolo.wrap import AFTER


def work(job: Job) -> dict[str, Any]:
    """The child's side: the facts of an export ``format``, or of the ``networks`` of a plan the ``faults`` and the
    ``names`` that the checkpoints of their user-defined blocks may hold."""
    if "format" in job.request:
        return export_formats.settled(job.request["format"], job.request["export"])
    faults = preflight([from_plain(config) for config in job.request["networks"]], job.step)
    return {"faults": faults, "names": sorted(checkpoints.own_names())}


def preflight(configs: Sequence[Config], step: Callable[[str], None] = lambda text: None) -> dict[str, list[int]]:
    """Check the network of each config, whose arm is applied, and its train arguments.

    step: is called with what is tried, in a few words.
    Returns the faults: a line with key, value and cure -> the indices of the configs that have it.
    """
    results: dict[str, Any] = {}
    checkpoints.restrict(not any(config.allow_unsafe_checkpoint for config in configs))

    def once(text: str, parts: object, check: Callable[[], Any]) -> Any:
        key = f"{text}: {parts!r}"
        if key not in results:
            step(f"{text} ({index + 1}/{len(configs)})")
            results[key] = check()
        return results[key]

    faults: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        model = config.model
        parts = (model.family, model.scale, model.variant, model.yaml, model.backbone_p5)
        network = Network.of(model)
        stock, lines = once(f"building {network.title}", parts, partial(build_stock, config, network))
        lines = [*argument_faults(config.train.extra), *lines]
        for inserted, sites in sites_of(config) if stock is not None else ():
            block, channels = inserted.block, sorted({site.channels for site in sites})
            text = f"building {block['name']} for {', '.join(map(str, channels))} channels"
            if slot_of(block):
                faulty = once(text, (block, sites), partial(slot_block_faults, block, sites))
            else:
                faulty = once(text, block, partial(block_faults, block, channels))
            if config.arm.match and not faulty:
                text = f"matching {block['name']} in {config.arm.match}"
                faulty = once(text, (block, sites), partial(matching_faults, config, inserted, sites))
            no_map = [
                f"model.placement.sites={site.name}: layer {site.index} of {network.title} is "
                f"{type(stock.model[site.index]).__name__}, which cannot take a block; name another site"
                for site in sites
                if not _takes(stock.model[site.index], inserted)
            ]
            lines += inserted.in_words([*faulty, *no_map])
        if model.pretrained and stock is not None:
            lines += once(f"reading {model.pretrained}", parts, partial(pretrained_faults, config, stock))
        for line in lines:
            faults.setdefault(line, []).append(index)
    return faults


def argument_faults(extra: dict[str, Any]) -> list[str]:
    """A line for each of ``train.extra`` that ultralytics does not know, or whose value it refuses."""
    lines = []
    for name, value in extra.items():
        line = f"train.extra.{name}={value}"
        if name not in DEFAULT_CFG_DICT:
            close = difflib.get_close_matches(name, DEFAULT_CFG_DICT.keys() - OWNED_ARGS.keys(), n=1)
            hint = f"did you mean train.extra.{close[0]}?" if close else "see ultralytics' train arguments"
            lines.append(f"{line}: no such ultralytics argument; {hint}")
            continue
        try:
            check_cfg({name: value})
        except (TypeError, ValueError) as error:
            words = " ".join(str(error).split())
            cure = re.sub(r"^.*?\binvalid\b[^.]*\. (?=.)", "", words, count=1)  # without the value, said already
            lines.append(f"{line}: {cure}")
    return lines


def build_stock(config: Config, network: Network) -> tuple[BaseModel | None, list[str]]:
    """A config's network without its blocks, moved to the meta device, and a line per site not as in ``network``.

    None if it cannot be built.
    """
    key = f"model.yaml={config.model.yaml}" if config.model.yaml else f"model.family={config.model.family}"
    named = f"{key}: ultralytics {ultralytics.__version__}"
    try:
        stock = build_model(replace(config, arm=ArmConfig(name="baseline", insert=False)), nc=1)
    except KeyError as error:
        kind = str(error.args[0])
        index = next((layer.index for layer in network.layers if layer.kind == kind), None)
        if index is None:
            return None, [f"{named} cannot build it ({one_line(error)})"]
        return None, [f"{named} has no module {kind} (layer {index}); a block of your own is block=custom"]
    except Exception as error:  # a module can raise any exception for wrong arguments
        return None, [f"{named} cannot build it ({one_line(error)})"]
    sites, side = {layer.index: name for name, layer in network.sites.items()}, 2 * network.stride
    lines = []

    def compare(layer: Any, inputs: object, output: Any) -> None:
        name = sites[layer.i]
        row = network.sites[name]
        right = Facts(row.built_as, row.channels, row.stride, network.inner(name), network.inner(name, "swap"))
        shape = output.shape if isinstance(output, torch.Tensor) and output.ndim == 4 else (0, 0, math.inf)  # no map
        inside = replaceable(layer, right.inner), attention_of(layer, right.attention)
        built = Facts(type(layer).__name__, shape[1], side / shape[2], *inside)
        if built != right:
            lines.append(f"{named} builds {name}, layer {layer.i}, as {built}; must be {right}, as its row says")

    handles = [stock.model[index].register_forward_hook(compare) for index in sites]
    try:
        with torch.no_grad():
            stock.eval()(torch.zeros(1, 3, side, side))
    except Exception as error:
        return None, [f"{named} builds it, and cannot run it ({one_line(error)})"]
    for handle in handles:
        handle.remove()
    return stock.to("meta"), lines  # from here on only shapes matter


class Facts(NamedTuple):
    """A layer: its class, the channels and stride of its output, and what a block can replace in it."""

    kind: str
    channels: int
    stride: float
    inner: Inner | str
    attention: Inner | str

    def __str__(self) -> str:
        inside = ""
        if isinstance(self.inner, Inner):
            inside = f", {len(self.inner.paths)} bottlenecks of {self.inner.channels} channels"
        if isinstance(self.attention, Inner):
            inside += f", {len(self.attention.paths)} attentions of {self.attention.channels} channels"
        return f"{self.kind} of {self.channels} channels at stride {self.stride:g}{inside}"


def replaceable(layer: nn.Module, why_not: Inner | str) -> Inner | str:
    """The second convolutions of a layer's bottlenecks that a block can replace, or ``why_not`` if it says why.

    A convolution that a block can replace keeps channels and size.
    """
    found: dict[str, int] = {}
    for path, module in layer.named_modules():
        second: Any = getattr(module, "cv2", None)
        if not (isinstance(module, (Bottleneck, ResNetBlock)) and type(second) is Conv):
            continue
        conv, (height, width) = second.conv, second.conv.kernel_size
        channels = conv.in_channels
        if (conv.out_channels, conv.groups, conv.stride) == (channels, 1, (1, 1)) and height == width > 1:
            found[f"{path}.cv2".lstrip(".")] = channels
    if not found:
        return why_not if isinstance(why_not, str) else "it has no bottleneck"
    return Inner(tuple(found), max(found.values()))


def attention_of(layer: nn.Module, why_not: Inner | str) -> Inner | str:
    """The attentions in a layer, or ``why_not`` if it says why there are none."""
    channels = {
        path: module.embed_dim if isinstance(module, nn.MultiheadAttention) else module.proj.conv.out_channels
        for path, module in layer.named_modules()
        if isinstance(module, (Attention, AAttn, nn.MultiheadAttention))
    }
    if not channels:
        return why_not if isinstance(why_not, str) else "it holds no attention"
    return Inner(tuple(channels), max(channels.values()))


def pretrained_faults(config: Config, stock: BaseModel) -> list[str]:
    """A line if the weights cannot be loaded, or are of another scale, backbone or detector."""
    model = config.model
    path = find_pretrained(model)
    setting = f"model.pretrained={path}"
    if starts_from_features(model):
        try:
            checkpoint_file.refuse(setting, checkpoint_file.foreign(path))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a copy to the meta device does nothing
                load_backbone(stock, path)
        except (ConfigError, ValueError) as error:
            return [str(error)]
        return []
    try:
        if lines := _unfit(setting, path, config, stock):
            return lines
        source, _ = checkpoints.load(path, setting)
    except ConfigError as error:
        return error.lines
    except NotACheckpoint as error:
        return [checkpoint_file.cannot_be_loaded(setting, f"it is {error}")]
    except Exception as error:  # a pickle can raise anything
        words = str(error).partition("\n")[0].removeprefix(f"ERROR ❌️ {path} ").partition(". ")[0]
        return [checkpoint_file.cannot_be_loaded(setting, f"{type(error).__name__}: {words.rstrip('.')}")]
    try:
        require_fit(stock, source, path)
    except ValueError as error:
        return [str(error)]
    return []


def _unfit(setting: str, path: Path, config: Config, stock: BaseModel) -> list[str]:
    """A line if the checkpoint holds another network than the config's. Nothing in the file is run or imported.

    Raises ConfigError if reading it could run code, NotACheckpoint if it is no checkpoint.
    """
    model, found = config.model, checkpoint_file.read(path)
    if config.allow_unsafe_checkpoint and found.root is None:
        return []  # it does what cannot be followed without running it
    layers = [type(layer).__name__ for layer in stock.model]
    allowed = checkpoints.own_names()
    base, task = None if model.yaml else families.FAMILIES[model.family].base, model_tasks.of(model).name
    try:
        network = checkpoint_file.network(found.root)
        if checkpoint_file.is_other(network, layers, base, task):  # to be described, and never read
            allowed |= {name for name in found.names if name.startswith(OTHER_TASKS)}
    finally:
        if not config.allow_unsafe_checkpoint:
            checkpoint_file.require_safe(setting, found, allowed)
    inserted = checkpoint_file.yaml_of(network).get(CONFIG_KEY) or {}
    networks = [
        each.network if each else "the detector's own backbone"
        for each in (Backbone.from_dict(inserted.get("backbone")), Backbone.of(model))
    ]
    if networks[0] != networks[1]:
        return [f"{setting}: weights on {networks[0]}; must be on {networks[1]}, as model.family says"]
    if checkpoint_file.is_other(network, layers, base, task):
        return [f"{setting}: is {checkpoint_file.what_it_is(network)}; must be {_wanted(model)}"]
    if base is None:
        return []  # of the user's own YAML: whether its tensors fit is compared below
    _, scale = checkpoint_file.family_of(network)
    width = checkpoint_file.first_width(network)
    if scale is None and width is not None:
        scales = families.FAMILIES[model.family].scales
        of_width = [each for each in scales if Network.of(replace(model, scale=each)).layers[0].channels == width]
        scale = model.scale if model.scale in of_width else next(iter(of_width), None)
    if scale not in (None, model.scale):
        return [f"{setting}: weights of scale {scale}; must be of model.scale={model.scale}"]
    return []


def _wanted(model: ModelConfig) -> str:
    """The checkpoints that fit a config, in words."""
    if model.yaml:
        return f"a {model_tasks.of(model).noun} with the layers of model.yaml={model.yaml}"
    family, variant = families.FAMILIES[model.family], f" model.variant={model.variant}" if model.variant else ""
    example = family.checkpoints(model.variant, model.task).get(model.scale)
    task = model_tasks.of(model)
    keys = f"model.family={model.family} model.scale={model.scale}{variant}"
    keys += "" if task.name == model_tasks.DETECT else f" model.task={task.name}"
    name = f"{family.title}-{model.variant}" if model.variant else family.title
    return f"a {name} {task.noun} of scale {model.scale}{f', as {example} is' if example else ''} ({keys})"


def block_faults(block: dict[str, Any], channels: Sequence[int]) -> list[str]:
    """A line if the block cannot be built for one of the numbers of channels; one from outside is also run."""
    if custom_block.is_custom(block):
        try:
            try_custom_block(channels, block["target"], custom_block.options(block))
            checkpoints.allow_block(block, channels)
        except ValueError as error:
            return [f"block.target={block['target']}: {error}"]
        return []
    options = {key: value for key, value in block.items() if key != "name"}
    for width in channels:
        try:
            build_block(block["name"], width, **options)
        except Exception as error:
            return [f"block={block['name']}: cannot be built for {width} channels ({one_line(error)})"]
    if block["name"] in RULES and RULES[block["name"]].library:
        try:
            try_block(channels, block["layer"], lambda width: build_block(block["name"], width, **options))
        except ValueError as error:
            return [f"block={block['name']} block.layer={block['layer']}: {error}"]
    return []


def slot_block_faults(block: dict[str, Any], sites: Sequence[Site]) -> list[str]:
    """A line if the block of a slot cannot be built for one of the sites."""
    options = {key: value for key, value in block.items() if key != "name"}
    for site in sites:
        try:
            build_slot_block(block["name"], site.inputs, site.channels, **options)
        except Exception as error:
            return [f"block={block['name']}: cannot be built for {site.name} ({one_line(error)})"]
    return []


def _takes(layer: nn.Module, inserted: Insertion) -> bool:
    """Whether a layer of the built network can take the insertion."""
    mode, slot = inserted.placement.mode, slot_of(inserted.block)
    if slot is None:
        return mode in ("replace", "swap", "loss") or type(layer) in AFTER
    return isinstance(layer, {"down": Conv, "up": nn.Upsample, "fuse": Concat, "loss": nn.Module}[mode])


def matching_faults(config: Config, inserted: Insertion, sites: Sequence[Site]) -> list[str]:
    """A line if the control cannot be made as large as the block."""
    try:
        matched_block(config, inserted, sites)
    except ValueError as error:
        return [f"arm={config.arm.name} block={inserted.block['name']}: {error}; use a block that has, or another arm"]
    return []
