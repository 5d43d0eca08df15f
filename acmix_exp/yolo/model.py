"""Detectors with blocks at sites: the stock network changed in place, so that indices and keys stay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import torch
from thop import profile
from torch import nn
from ultralytics.nn.tasks import (
    BaseModel,
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    RTDETRDetectionModel,
    SegmentationModel,
    yaml_model_load,
)
from ultralytics.utils.torch_utils import initialize_weights

from acmix_exp import model_tasks
from acmix_exp.config import IDENTITY, MATCHED, Config, PlacementConfig
from acmix_exp.errors import one_line
from acmix_exp.insertions import Insertion
from acmix_exp.nn import build_block, build_slot_block
from acmix_exp.nn.fusion import fuse
from acmix_exp.nn.mobilenet_v3 import MobileNetV3Stage
from acmix_exp.slot_rules import CONTROLS, SLOTS, slot_of
from acmix_exp.yolo import families, mobilenet
from acmix_exp.yolo.families import Backbone
from acmix_exp.yolo.matched import matched_block
from acmix_exp.yolo.sites import Network, Site, resolve_sites, sites_of, zero_init
from acmix_exp.yolo.slot_wrap import HOLDERS, install_losses, put_in_place
from acmix_exp.yolo.wrap import (
    After,
    BlockConv,
    count_parameters,
    insert_after,
    insert_after_attention,
    insert_behind,
    swap_attention,
)


def ultralytics_gflops(model: nn.Module, imgsz: int = 640) -> float | None:
    """GFLOPs of one image by the counter of ultralytics, thop; None if it fails.

    Ultralytics' own ``get_flops`` profiles an image of one stride cell and multiplies, which is wrong for attention,
    whose cost per pixel depends on the map; here the pass is of ``imgsz`` pixels. The counter sees layers and torch's
    functions for matrix products, so a convolution or deformable sampling that is called as a function is missing.
    """
    network = deepcopy(model).cpu().float()
    try:
        macs = profile(network, inputs=[torch.zeros(1, 3, imgsz, imgsz)], verbose=False)[0]
    except Exception as error:
        print(f"ultralytics' counter failed: {one_line(error)}", flush=True)
        return None
    return 2e-9 * float(macs) or None


CONFIG_KEY = "acmix_exp"  # of model.yaml: what was inserted
# Appended to the module name of a changed row in model.yaml. Ultralytics' parser looks the name up and raises KeyError
# with this text; without it, it would rebuild the network without its blocks.
STOCK_BUILD_GUARD = (
    " + acmix_exp block: stock ultralytics would drop the block; to train from this checkpoint, use "
    "python -m acmix_exp model.pretrained=best.pt"
)


class BlockModel(BaseModel):
    """A network of ultralytics with blocks inserted: goes before the stock class, which builds it without them.

    insertion: ``{"scale", "seed", "placement": {mode, sites, norm, act, residual, zero_init}, "block": {name, ...}}``,
        ``"backbone": {network, p5}`` if it is one of torchvision, and ``"assigner": "same"`` if a box loss is also what
        boxes are assigned by. Of several blocks, ``placement`` and ``block`` of
        each are in a list ``"insertions"`` instead. None: as ``cfg``, a checkpoint's YAML, has it.

    Stock layers are initialised exactly as in a stock network. Each block, and a backbone that is not stock, draws from
    its own generator, seeded by ``seed`` and its name, so torch's global generator is left as a stock build leaves it.
    """

    def __init__(
        self,
        cfg: str | dict[str, Any],
        ch: int = 3,
        nc: int | None = None,
        verbose: bool = True,
        insertion: dict[str, Any] | None = None,
    ) -> None:
        yaml = deepcopy(cfg) if isinstance(cfg, dict) else yaml_model_load(cfg)
        insertion = deepcopy(insertion or yaml[CONFIG_KEY])
        yaml = stock_yaml(yaml)
        backbone = Backbone.from_dict(insertion.get("backbone"))
        super().__init__(mobilenet.rows(yaml, backbone) if backbone else yaml, ch, nc, verbose=False)
        self.yaml[CONFIG_KEY] = insertion
        rows = self.yaml["backbone"] + self.yaml["head"]
        if backbone:
            with _own_generator(f"{insertion['seed']}/{backbone.network}"):
                mobilenet.install(self, backbone)
            rows[0][2] += STOCK_BUILD_GUARD
        for placement, block, sites in self.insertions:
            for site in sites:
                self._insert(site, placement, block)
                # Ultralytics reads the task of a network from the last row, which a loss leaves as it is.
                row = rows[0 if placement.mode == "loss" else site.index]
                row[2] = row[2].removesuffix(STOCK_BUILD_GUARD) + STOCK_BUILD_GUARD
        if isinstance(self, DetectionModel):  # a classifier keeps torch's eps and momentum of batch norms
            initialize_weights(self)  # ultralytics' eps and momentum for the new batch norms too
        if verbose:
            self.info()

    @property
    def insertions(self) -> list[tuple[PlacementConfig, dict[str, Any], list[Site]]]:
        """Every placement with its block and its sites."""
        inserted = self.yaml[CONFIG_KEY]
        backbone = Backbone.from_dict(inserted.get("backbone"))
        yaml = stock_yaml(self.yaml)
        title = str(yaml.get("yaml_file", "")).removesuffix(".yaml")
        network = Network.from_yaml(title, yaml, yaml.get("scale") or "", backbone)
        found = []
        for each in parts(inserted):
            placement = PlacementConfig(name="", **each["placement"])
            found.append((placement, each["block"], resolve_sites(placement, network)))
        return found

    @property
    def sites(self) -> list[Site]:
        """All sites with a block in the network, in its order."""
        found = [site for placement, _, sites in self.insertions if placement.mode != "loss" for site in sites]
        return sorted(found, key=lambda site: site.index)

    def _insert(self, site: Site, placement: PlacementConfig, block: Mapping[str, Any]) -> None:
        layer, seed = self.model[site.index], self.yaml[CONFIG_KEY]["seed"]
        options = dict(block)
        kind = options.pop("name")
        if kind == MATCHED and "like" in options:
            options = {"hidden": options["hidden"][site.name]}
        if placement.mode in SLOTS:
            self._insert_in_slot(site, placement, kind, options)
            return
        for name, path in zip(site.block_names, site.paths or [""], strict=True):
            with _own_generator(f"{seed}/{name}"):
                module = build_block(kind, site.channels, **options)
            if placement.mode == "after":
                zero = bool(placement.zero_init)
                after = After(module, site.channels, placement.norm, placement.act, placement.residual, zero)
                insert_after(layer, after)
            elif placement.mode == "swap":
                (insert_after_attention if kind == IDENTITY else swap_attention)(
                    layer, path, After(module, site.channels, placement.norm, act=False, residual=False)
                )
            elif kind == IDENTITY:
                insert_behind(layer.get_submodule(path), module)
            else:
                above, _, attribute = path.rpartition(".")
                bottleneck = layer.get_submodule(above)
                setattr(bottleneck, attribute, BlockConv(module, getattr(bottleneck, attribute)))
        layer.np = count_parameters(layer)

    def _insert_in_slot(self, site: Site, placement: PlacementConfig, kind: str, options: Mapping[str, Any]) -> None:
        layer, is_control = self.model[site.index], kind in CONTROLS
        with _own_generator(f"{self.yaml[CONFIG_KEY]['seed']}/{site.name}"):
            if is_control:
                module = build_block(kind, site.channels, **options)
            else:
                module = build_slot_block(kind, site.inputs, site.channels, **options)
        if placement.mode == "loss":
            heads = 2 if getattr(layer, "one2one_cv2", None) is not None else 1
            self.box_losses = nn.ModuleList([module, *(deepcopy(module) for _ in range(heads - 1))])
        elif is_control:
            zero = bool(placement.zero_init)
            insert_after(layer, After(module, site.channels, placement.norm, placement.act, placement.residual, zero))
            layer.np = count_parameters(layer)
        else:
            put_in_place(self.model, site.index, module)

    def init_criterion(self) -> Any:
        """The loss of ultralytics, with that of the slot ``loss`` in it."""
        criterion = super().init_criterion()
        if (losses := getattr(self, "box_losses", None)) is not None:
            install_losses(criterion, losses, self.yaml[CONFIG_KEY].get("assigner", "stock"))
        return criterion

    def fuse(self, verbose: bool = True, imgsz: int | list[int] = 640) -> BaseModel:
        """For inference, in place: fuse what ultralytics fuses, and the blocks with the norms that follow them."""
        for module in list(self.modules()):
            if isinstance(module, (After, BlockConv, MobileNetV3Stage)):
                fuse(module)
        fused: BaseModel = super().fuse(verbose=verbose, imgsz=imgsz)
        return fused

    def blocks(self) -> dict[str, nn.Module]:
        """Every inserted block by the name of its site, numbered if a site has several."""
        names = _block_names(self.sites)
        return dict(zip(names, (holder.block for holder in self._holders().values()), strict=True))

    def zero_branch_biases(self) -> list[nn.Parameter]:
        """The biases of the norms behind blocks whose branch starts at zero: they alone make its output."""
        at_zero = [site for placement, _, sites in self.insertions if placement.zero_init for site in sites]
        starting = set(_block_names(at_zero))
        holders = zip(_block_names(self.sites), self._holders().values(), strict=True)
        return [holder.norm.bias for name, holder in holders if name in starting]

    def new_keys(self) -> set[str]:
        """The state_dict keys that the stock network does not have."""
        prefixes = tuple(
            f"{name}." if isinstance(holder, After) else f"{name}.block." for name, holder in self._holders().items()
        )
        return {key for key in self.state_dict() if key.startswith((*prefixes, "box_losses."))}

    def _holders(self) -> dict[str, Any]:
        """The modules that hold a block, by their names, in network order."""
        return {name: module for name, module in self.named_modules() if isinstance(module, HOLDERS)}


def _block_names(sites: Iterable[Site]) -> list[str]:
    return [name for site in sites for name in site.block_names]


class BlockDetectionModel(BlockModel, DetectionModel):
    """A DetectionModel with blocks inserted."""


class BlockRTDETRModel(BlockDetectionModel, RTDETRDetectionModel):
    """An RTDETRDetectionModel with blocks inserted."""


class BlockSegmentationModel(BlockDetectionModel, SegmentationModel):
    """A SegmentationModel with blocks inserted."""


class BlockPoseModel(BlockDetectionModel, PoseModel):
    """A PoseModel with blocks inserted."""

    def __init__(self, cfg: str | dict[str, Any], *args: Any, **options: Any) -> None:
        super().__init__(cfg, *args, **options)
        self.kpt_shape = self.yaml["kpt_shape"]


class BlockOBBModel(BlockDetectionModel, OBBModel):
    """An OBBModel with blocks inserted."""


class BlockClassificationModel(BlockModel, ClassificationModel):
    """A ClassificationModel with blocks inserted."""


NETWORKS = {  # by task: the stock network, and that with blocks
    "detect": (DetectionModel, BlockDetectionModel),
    "segment": (SegmentationModel, BlockSegmentationModel),
    "pose": (PoseModel, BlockPoseModel),
    "obb": (OBBModel, BlockOBBModel),
    "classify": (ClassificationModel, BlockClassificationModel),
}


def parts(inserted: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """``{placement, block}`` of each insertion that a checkpoint's YAML holds under :data:`CONFIG_KEY`."""
    return list(inserted.get("insertions") or [inserted])


def stock_yaml(yaml: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a network's YAML as the stock network has it, but for the rows of another backbone."""
    yaml = {key: deepcopy(value) for key, value in yaml.items() if key != CONFIG_KEY}
    for row in yaml["backbone"] + yaml["head"]:
        row[2] = row[2].partition(" + acmix_exp block")[0]  # the rest of the text differs between versions
    return yaml


def build_model(config: Config, nc: int, kpt_shape: Sequence[int] | None = None) -> BaseModel:
    """The network of a config with the arm applied: a stock model of ultralytics if nothing is inserted.

    kpt_shape: of ``model.task=pose``, the keypoints and the values of each; None: as its YAML has it.
    """
    cfg = families.yaml_of(config.model)
    if kpt_shape is not None:
        cfg["kpt_shape"] = list(kpt_shape)
    insertion = insertion_of(config)
    transformers = RTDETRDetectionModel, BlockRTDETRModel
    stock, with_blocks = transformers if is_transformer(cfg) else NETWORKS[model_tasks.of(config.model).name]
    if insertion is None:
        return stock(cfg, nc=nc, verbose=False)
    return with_blocks(cfg, nc=nc, verbose=False, insertion=insertion)


def is_transformer(yaml: Mapping[str, Any]) -> bool:
    """Whether a network's YAML describes an RT-DETR."""
    return bool(yaml["head"][-1][2] == families.TRANSFORMER)


def insertion_of(config: Config) -> dict[str, Any] | None:
    """What a config inserts, in the plain types that a checkpoint keeps; None for the stock network."""
    backbone = Backbone.of(config.model)
    found = sites_of(config)
    if not any(sites for _, sites in found):
        if backbone is None:
            return None
        found = [(Insertion({}, replace(config.model.placement, sites=[])), [])]
    described = [_described(config, each, sites) for each, sites in found]
    return {
        "scale": config.model.scale,
        "seed": config.seed,
        **(described[0] if len(described) == 1 else {"insertions": described}),
        **({"backbone": asdict(backbone)} if backbone else {}),
        **({"assigner": config.loss.assigner} if config.loss.assigner != "stock" else {}),
    }


def _described(config: Config, inserted: Insertion, sites: Sequence[Site]) -> dict[str, Any]:
    placement, in_its_slot = inserted.placement, bool(slot_of(inserted.block) and not config.arm.match)
    starts_at_zero = zero_init(placement, pretrained=config.model.pretrained is not None)
    return {
        "placement": {
            "mode": placement.mode,
            "sites": [site.name for site in sites],
            "norm": placement.norm,
            "act": placement.act,
            "residual": placement.residual,
            "zero_init": starts_at_zero and not in_its_slot,  # nothing is joined there
        },
        "block": matched_block(config, inserted, sites) if config.arm.match else dict(inserted.block),
    }


@contextmanager
def _own_generator(name: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which reseeds the GPUs as well
        torch.default_generator.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big"))
        yield
