"""Our module for an entry of ``golden/manifest.json``, with the entry's weights.

``build(entry, arrays)`` is the contract; a module is found by the reference's repository and class, its options by the
entry's ``config``. Parameters carry the reference's names, so no name map is needed unless a builder states one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from acmix_exp.nn import ACmix
from acmix_exp.nn.ema import EMAttention
from acmix_exp.nn.lsk import LSKAttention, LSKUnit, lsk_block
from acmix_exp.nn.polarized_self_attention import PolarizedParallel, PolarizedSequential
from acmix_exp.nn.sea_attention import SeaAttention, SeaBlock

Entry = Mapping[str, Any]
Config = dict[str, Any]
Arrays = Mapping[str, np.ndarray]
Forward = Callable[[Tensor], Any]
Built = tuple[nn.Module, Forward]


def build(entry: Entry, arrays: Arrays) -> Built:
    """Our module in float64 and eval mode with the entry's parameters and buffers, and what runs it.

    ``forward(input)`` gives the output, a list of maps for the backbones. ``arrays`` is the opened npz.
    Raises KeyError for a reference that has no module here.
    """
    reference = entry["reference"]
    key = (reference.get("repo", ""), reference["cls"])
    if key in BLOCKS:
        module = load(BLOCKS[key](_active(entry["config"])), arrays)
        return module, module
    for parts in OTHERS:
        if key in parts.BUILDERS:
            built: Built = parts.BUILDERS[key](entry, arrays)
            return built
    raise KeyError(f"no module for {key}; there are {sorted(BLOCKS)}")


def load(module: nn.Module, arrays: Arrays) -> nn.Module:
    """``module`` in float64 and eval mode with every ``param/`` and ``buffer/`` of the file, strictly.

    A file without any, such as one that records how a module starts, leaves the module's own.
    """
    module = module.double().eval()
    state = {
        key.split("/", 1)[1]: torch.as_tensor(np.asarray(arrays[key]))
        for key in arrays
        if key.startswith(("param/", "buffer/"))
    }
    if state:
        module.load_state_dict(state, strict=True)
    return module


def _active(config: Mapping[str, Any]) -> Config:
    """Less dropout and drop-path, which do nothing in eval mode; activations by the class's name."""
    return {key: value for key, value in config.items() if not (key.startswith("drop") or key.endswith("_drop"))}


def _polarized(make: type[nn.Module]) -> Callable[[Config], nn.Module]:
    def built(config: Config) -> nn.Module:
        """Masks multiply their own input: in and out are one number of channels, and the 1x1 kernels have stride 1."""
        assert config["planes"] == config["inplanes"]
        assert (config.get("kernel_size", 1), config.get("stride", 1)) == (1, 1)
        return make(config["inplanes"])

    return built


def _sea_block(config: Config) -> nn.Module:
    return SeaBlock(activation=config.pop("act_layer", "ReLU"), **config)


def _ema(config: Config) -> nn.Module:
    return EMAttention(config["channels"], config.get("factor", 32))


# (repository, class): the module for a config
BLOCKS: dict[tuple[str, str], Callable[[Config], nn.Module]] = {
    ("LeapLabTHU/ACmix", "ACmix"): lambda config: ACmix(**config),
    ("fudan-zvg/SeaFormer", "Sea_Attention"): lambda config: SeaAttention(**config),
    ("fudan-zvg/SeaFormer", "Block"): _sea_block,
    ("DeLightCMU/PSA", "PSA_p"): _polarized(PolarizedParallel),
    ("DeLightCMU/PSA", "PSA_s"): _polarized(PolarizedSequential),
    ("YOLOonMe/EMA-attention-module", "EMA"): _ema,
    ("zcablii/LSKNet", "LSKblock"): lambda config: LSKUnit(**config),
    ("zcablii/LSKNet", "Attention"): lambda config: LSKAttention(**config),
    ("zcablii/LSKNet", "Block"): lambda config: lsk_block(**config),
}


def _sibling(name: str) -> Any:
    """A module beside this one, found by its path: ``tests`` need not be importable."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Further parts: each a file beside this one with BUILDERS = {(repository, class): function(entry, arrays) -> Built}.
OTHERS = [_sibling(path.stem) for path in sorted(Path(__file__).parent.glob("golden_*.py")) if path != Path(__file__)]
