"""Build our module for an entry of ``golden/manifest.json``, with the entry's weights.

``build(entry, arrays)`` is the contract. The module is chosen by the reference's repository and class, its options by
the entry's ``config``. Parameters have the reference's names.
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
    """Our module in float64 and eval mode with the entry's parameters and buffers, and a function that runs it.

    ``forward(input)`` gives the output, a list of maps for the backbones. ``arrays`` is the opened npz.
    Raises KeyError for a reference without a module.
    """
    reference = entry["reference"]
    key = (reference.get("repo", ""), reference["cls"])
    if key in BLOCKS:
        module = load(BLOCKS[key](_active(entry["config"])), arrays)
        return module, module
    for builders in BUILDERS:
        if key in builders:
            return builders[key](entry, arrays)
    raise KeyError(f"no module for {key}")


def load(module: nn.Module, arrays: Arrays) -> nn.Module:
    """``module`` in float64 and eval mode with every ``param/`` and ``buffer/`` of the file, strictly.

    If the file has none, as for the initial weights of a module, those of the module stay.
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
    """The config without dropout and drop-path, which do nothing in eval mode."""
    return {key: value for key, value in config.items() if not (key.startswith("drop") or key.endswith("_drop"))}


def _polarized(make: type[nn.Module]) -> Callable[[Config], nn.Module]:
    def built(config: Config) -> nn.Module:
        """Masks multiply the input: input and output have the same channels, and the 1x1 kernels have stride 1."""
        assert config["planes"] == config["inplanes"]
        assert (config.get("kernel_size", 1), config.get("stride", 1)) == (1, 1)
        return make(config["inplanes"])

    return built


def _sea_block(config: Config) -> nn.Module:
    return SeaBlock(activation=config.pop("act_layer", "ReLU"), **config)


def _ema(config: Config) -> nn.Module:
    return EMAttention(config["channels"], config.get("factor", 32))


# (repository, class): makes the module for a config
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


def _builders(path: Path) -> dict[tuple[str, str], Callable[[Entry, Arrays], Built]]:
    """``BUILDERS`` of a file, imported by its path because ``tests`` need not be importable."""
    spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    builders: dict[tuple[str, str], Callable[[Entry, Arrays], Built]] = module.BUILDERS
    return builders


BUILDERS = [_builders(path) for path in sorted(Path(__file__).with_name("golden").glob("*.py"))]
