"""The schema of a run: what each config key is called, its type and its default.

Floor 0 of the house: nothing here imports torch, and every other room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

from omegaconf import MISSING, DictConfig, OmegaConf

from acmix_exp import custom_block
from acmix_exp.errors import ConfigError

PATHS = ("conv", "attention", "mixed")
SCALES = ("n", "s", "m", "l", "x")
IDENTITY, CONV3X3 = "identity", "conv3x3"  # the blocks of the controls


@dataclass
class ArmConfig:
    """One row of the table: what is done to the model at the sites of the placement."""

    name: str = MISSING
    insert: bool = MISSING
    block: Optional[str] = None  # null: the block as configured
    path: Optional[str] = None  # null: the path as configured
    control: bool = False  # brings its own block, whatever is configured


@dataclass
class PlacementConfig:
    """Where the block sits and how it is joined to the network."""

    name: str = MISSING
    mode: str = "after"  # after | replace
    sites: List[Any] = field(default_factory=list)  # site names or layer indices
    norm: bool = True
    act: bool = True
    residual: bool = True
    zero_init: Optional[bool] = None  # null: where weights are pretrained


@dataclass
class ModelConfig:
    name: str = "yolov8"
    scale: str = "n"
    pretrained: Optional[str] = None  # a path or a name
    backbone_p5: Optional[str] = None  # MobileNetV3: bottleneck | expanded
    placement: PlacementConfig = field(default_factory=PlacementConfig)


@dataclass
class DatasetConfig:
    name: str = MISSING
    path: Optional[str] = None  # a data.yaml (yolo) or a folder (voc_xml)
    root: Optional[str] = None  # where generated, converted or downloaded data is kept


@dataclass
class TrainConfig:
    epochs: int = 100
    imgsz: int = 640
    batch: int = 16
    optimizer: str = "AdamW"
    lr0: float = 0.002
    keep: str = "both"  # best | last | both | none
    extra: Dict[str, Any] = field(default_factory=dict)


@dataclass
class HardwareConfig:
    device: Any = "auto"  # auto | cpu | cuda | a GPU index | a list of GPU indices
    precision: str = "auto"  # auto | fp32 | fp16 | bf16
    workers: int = 1
    threads: int = 1
    runs_at_once: int = 1


@dataclass
class LoggerConfig:
    mode: str = "auto"  # auto | online | offline | disabled
    project: str = "acmix_exp"
    entity: Optional[str] = None


@dataclass
class ProfileConfig:
    seconds: float = 30.0  # what task=profile may spend on timing


@dataclass
class ReportConfig:
    reference: str = "baseline"  # the arm that the others are compared with
    auto: bool = True  # the whole report at the end of a command, not the tables alone


@dataclass
class Config:
    """A whole run, as composed by Hydra."""

    name: str = "default"
    seed: int = 0
    tags: List[str] = field(default_factory=list)
    task: str = "train"
    run: Optional[str] = None
    runs_dir: str = "runs"
    split: Optional[str] = None
    format: str = "onnx"
    arm: ArmConfig = field(default_factory=ArmConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    block: Dict[str, Any] = field(default_factory=dict)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


def conf_dir() -> Path:
    """The folder of the shipped config groups: inside the package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError("acmix_exp: its conf/ folder is missing; install the package again")


def options(group: str) -> list[str]:
    """Names of the shipped options of a config group such as ``model/placement``."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def register_schema() -> None:
    """Store the schema where ``conf/config.yaml`` looks for it."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config, provider="acmix_exp")


def load(path: Path) -> Config:
    """Read a resolved ``config.yaml`` back. Raises omegaconf's errors where it does not fit the schema."""
    return from_plain(OmegaConf.load(path))


def from_plain(values: Any) -> Config:
    """The config that plain containers such as ``asdict(config)`` describe. Raises as :func:`load`."""
    return to_object(OmegaConf.merge(OmegaConf.structured(Config), values))  # type: ignore[arg-type]


def to_object(cfg: DictConfig) -> Config:
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, Config)
    return config


def arm_label(config: Config) -> str:
    """The name of the table's row, for a config with its arm applied.

    It is the arm's; for the arm ``configured`` the block's with its path (``acmix-mixed``), of a block of one's own the
    class's in lower case unless block.name says another, or ``baseline`` where no block is inserted.
    """
    if config.arm.name != "configured":
        return config.arm.name
    if not config.arm.insert:
        return "baseline"
    if custom_block.is_custom(config.block):
        return custom_block.label(config.block)
    return "-".join(str(config.block[key]) for key in ("name", "path") if config.block.get(key))
