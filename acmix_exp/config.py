"""Schema of a run's config: keys, types and defaults. conf/*.yaml holds the shipped options of each group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Dict, List, Optional

from omegaconf import MISSING, DictConfig, OmegaConf

from acmix_exp import custom_block
from acmix_exp.errors import ConfigError
from acmix_exp.slot_rules import SLOTS

GROUPS = ("experiment", "arm", "model", "model/placement", "block", "dataset", "train", "hardware", "logger")
SEED_LIMIT = 2**31  # a seed is below it
IDENTITY, JOIN = "identity", "join"  # blocks of the control arms
CONV3X3, MATCHED = "conv3x3", "conv3x3_matched"


@dataclass
class ArmConfig:
    """One row of the table: what is inserted at the sites of the placement."""

    name: str = MISSING  # label of the row
    insert: bool = MISSING  # false: the stock network
    block: Optional[str] = None  # null: the block as configured
    path: Optional[str] = None  # conv | attention | mixed; null: the path as configured
    control: bool = False  # true: the arm inserts its block for any configured block
    match: Optional[str] = None  # conv3x3_matched: parameters | flops, in which it equals the configured block
    insertions: List[Any] = field(default_factory=list)  # several blocks, in place of block and model.placement


@dataclass
class PlacementConfig:
    """Where the block is inserted and how it is connected."""

    name: str = MISSING  # label of the placement
    mode: str = "after"  # the slot: after | replace | swap | down | up | fuse | loss; usual: that of the block
    sites: List[Any] = field(default_factory=list)  # site names or layer indices
    norm: bool = True  # mode after: BatchNorm behind the block
    act: bool = True  # mode after: SiLU behind the norm
    residual: bool = True  # mode after: add the block's output to its input
    zero_init: Optional[bool] = None  # start the branch at zero; null: only with pretrained weights


@dataclass
class ModelConfig:
    """The detector."""

    family: str = "yolov8"  # the design of the detector
    scale: str = "n"  # of the family: n | s | m | l | x, and others
    variant: Optional[str] = None  # p2 | p6: with a finer or a coarser output, where the family has it
    yaml: Optional[str] = None  # a YAML of a detector as ultralytics describes one, in place of the family's
    task: Optional[str] = None  # detect | segment | pose | obb | classify; null: detect
    pretrained: Optional[str] = None  # a path or a name; null: from scratch
    backbone_p5: Optional[str] = None  # MobileNetV3 only: bottleneck | expanded
    placement: PlacementConfig = field(default_factory=PlacementConfig)


@dataclass
class DatasetConfig:
    """The data set."""

    name: str = MISSING  # shapes | yolo | voc_xml | a data set that ultralytics knows
    path: Optional[str] = None  # a data.yaml (yolo) or a folder (voc_xml)
    root: Optional[str] = None  # folder for generated, converted or downloaded data; null: the user's cache folder


@dataclass
class TrainConfig:
    """Training arguments of ultralytics."""

    epochs: int = 100  # of every run: none stops early
    imgsz: int = 640  # pixels, a multiple of 32
    batch: int = 16  # images per step
    optimizer: str = "AdamW"
    lr0: float = 0.002  # initial learning rate
    keep: str = "both"  # weights that stay: best | last | both | none
    save_every: int = 1  # epochs between two states to resume from
    extra: Dict[str, Any] = field(default_factory=dict)  # any other ultralytics training argument


@dataclass
class SlurmConfig:
    """What hardware.executor=slurm asks Slurm for, one job per run; null: Slurm's own default."""

    partition: Optional[str] = None  # of nodes, as sbatch names it
    account: Optional[str] = None  # that is charged
    qos: Optional[str] = None  # quality of service
    constraint: Optional[str] = None  # features of the nodes, such as a100
    time_min: int = 240  # time limit of a job in minutes
    cpus: Optional[int] = None  # cores per run; null: hardware.workers (auto: 4) + hardware.threads for each GPU
    mem_gb: Optional[float] = None  # memory per run
    signal_s: int = 120  # seconds before the time limit at which a run stops and is requeued
    requeues: int = 10  # how often a run is requeued after a time limit or a preemption
    setup: List[str] = field(default_factory=list)  # shell lines before the run, such as module load cuda
    extra: List[str] = field(default_factory=list)  # more options of sbatch, such as --mail-type=END
    wait: bool = True  # false: submit and return


@dataclass
class RayConfig:
    """How hardware.executor=ray uses a Ray cluster."""

    address: str = "auto"  # auto: RAY_ADDRESS, a cluster on this machine, or a new local one | HOST:PORT
    cpus: float = 1  # CPUs of Ray's that a run takes
    retries: int = 3  # of a run whose worker or node was lost


@dataclass
class HardwareConfig:
    """Device and parallelism of one run, and how many runs train at once."""

    executor: str = "local"  # local: processes of this machine | slurm: jobs of a cluster | ray: tasks of a cluster

    # Any, because OmegaConf has no union of str, int and a list: sweep/check.py checks the value.
    device: Any = "auto"  # auto | cpu | cuda | a GPU index | a list of GPU indices
    precision: str = "auto"  # auto | fp32 | fp16 | bf16
    workers: Any = "auto"  # data-loader processes per run: auto | a whole number
    threads: int = 1  # CPU threads per run
    runs_at_once: Any = 1  # a whole number | auto: as many as the memory holds, at most 4 on a GPU
    gpus_per_run: float = 1  # GPUs, or on a CPU processes, that train one run together; with Ray a fraction too
    slurm: SlurmConfig = field(default_factory=SlurmConfig)
    ray: RayConfig = field(default_factory=RayConfig)


@dataclass
class LoggerConfig:
    """Weights & Biases."""

    mode: str = "auto"  # auto | online | offline | disabled
    project: Optional[str] = None  # null: WANDB_PROJECT, else acmix_exp
    entity: Optional[str] = None  # user or team; null: WANDB_ENTITY, else the default of the account
    group: Optional[str] = None  # null: WANDB_RUN_GROUP, else the name of the experiment
    notes: Optional[str] = None  # null: WANDB_NOTES
    system_metrics: bool = False  # load and memory of the machine, as wandb samples them
    code: bool = False  # an artifact with the files of this package and of a user-defined block
    save_weights: bool = False  # an artifact with weights/best.pt


@dataclass
class ProfileConfig:
    """task=profile."""

    seconds: float = 30.0  # total time for timing, over all networks


@dataclass
class ExportConfig:
    """task=export. What a format lacks is refused, by ultralytics' own table."""

    quantize: Any = None  # precision as ultralytics names it: 32 | 16 | 8 | w8a16 | w8a32; null: 32, float32
    nms: Optional[bool] = None  # true: non-maximum suppression inside | false: the head without it | null: raw boxes
    dynamic: Optional[bool] = None  # any height and width; null: true where the format can and nms is not true
    opset: Optional[int] = None  # of ONNX; null: as ultralytics chooses


AUTO = "auto"  # of Config.seeds


@dataclass
class SeedsPlanConfig:
    """seeds=auto: when arms are tested, and may stop. report/sequential.py is the method."""

    looks: List[int] = field(
        default_factory=lambda: [6, 8, 12, 16]
    )  # numbers of seeds at which arms are tested, rising
    shares: List[float] = field(
        default_factory=lambda: [0.0, 0.016, 0.014, 0.02]
    )  # of the 5 % of false claims, for each look


@dataclass
class PlanConfig:
    rows: Any = 40  # how many cells task=plan prints | all


@dataclass
class PowerConfig:
    """task=power."""

    effects: List[float] = field(default_factory=lambda: [0.005, 0.01, 0.02])  # true differences in mAP50-95
    level: float = 0.8  # the probability with which they are found


@dataclass
class LossConfig:
    """The box loss of a placement of mode loss."""

    assigner: str = "stock"  # what assigns boxes: stock: by CIoU | same: by the similarity of the loss


@dataclass
class ReportConfig:
    """The table and the report."""

    reference: str = "baseline"  # the arm that the others are compared with
    margin: Optional[float] = None  # differences up to it count as none; fixed before the first run | null
    columns: Any = "default"  # of the table: default | thesis | paper | a list such as [P,R,mAP50,mAP50-95,FPS]
    language: str = "en"  # of the page, summary.md and the terminal: en | zh
    pairs: str = "reference"  # comparisons: reference: with it alone | all: also between rows that differ in one thing
    auto: bool = True  # at the end of a command: true: figures and report.html too; false: the table only


@dataclass
class Config:
    """A whole run, as composed by Hydra."""

    name: str = "default"  # the experiment: folder below runs_dir, and W&B group
    seed: int = 0  # initial weights, data order and augmentation
    seeds: Optional[str] = None  # auto: as many as the verdicts need, by seeds_plan | null: those of seed
    seeds_plan: SeedsPlanConfig = field(default_factory=SeedsPlanConfig)
    tags: List[str] = field(default_factory=list)  # W&B tags; WANDB_TAGS if there are none
    task: str = "train"
    run: Optional[str] = None  # a run directory, for the tasks that take one
    runs_dir: str = "runs"
    split: Optional[str] = None  # task=evaluate, judge: train | val | test; null: test if there is one, else val
    a: List[str] = field(default_factory=list)  # task=judge: runs, an arm of a folder, .pt files or COCO files
    b: List[str] = field(default_factory=list)  # task=judge: what a is compared with
    format: str = "onnx"  # task=export: a format of ultralytics
    sd: Optional[float] = None  # standard deviation of a run's mAP50-95 over seeds; null: from the runs of the folder
    allow_foreign_ultralytics: bool = False  # accept modules that are not the installed package; recorded by hash
    allow_unsafe_checkpoint: bool = False  # read checkpoints by full unpickling, which runs the code that they name
    arm: ArmConfig = field(default_factory=ArmConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    # A dict, because every block has options of its own: block_rules.py holds their types, bounds and defaults.
    block: Dict[str, Any] = field(default_factory=dict)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    power: PowerConfig = field(default_factory=PowerConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


def conf_dir() -> Path:
    """Folder of the shipped config groups: inside the package in a wheel, beside it in a checkout."""
    here = Path(__file__).resolve().parent
    for folder in (here / "conf", here.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError("acmix_exp: the folder conf/ is missing; reinstall the package")


def options(group: str) -> list[str]:
    """Names of the shipped options of a config group such as ``model/placement``."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


@cache
def register_schema() -> None:
    """Store the schema in Hydra's ConfigStore, once, under the name that ``conf/config.yaml`` uses."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config, provider="acmix_exp")


def load(path: Path) -> Config:
    """Read a resolved ``config.yaml``. Raises an error of omegaconf if it does not match the schema."""
    return from_plain(OmegaConf.to_container(OmegaConf.load(path), resolve=False))


def from_plain(values: Any) -> Config:
    """Config from plain containers such as ``asdict(config)``. Raises as :func:`load`."""
    if isinstance(values, dict) and isinstance(model := values.get("model"), dict) and "name" in model:  # before 0.2.0
        values = {**values, "model": {("family" if key == "name" else key): model[key] for key in model}}
    return to_object(OmegaConf.merge(OmegaConf.structured(Config), _literal(values)))  # type: ignore[arg-type]


def _literal(value: Any) -> Any:
    """``value`` with every ``${`` escaped: it is resolved already, and a file from elsewhere must not ask for more,
    such as ``${oc.env:SECRET}``."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def to_object(cfg: DictConfig) -> Config:
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, Config)
    return config


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted key; None if there is no such key."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else getattr(node, part, None)
    return node


def dotted(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested dicts in the dotted form, with its value; the keys of a dict follow its own."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{key}.")


def arm_label(config: Config) -> str:
    """Label of the table's row for a config whose arm has been applied.

    It is the name of the arm. For the arm ``configured`` it is the name of the block with its path (``acmix-mixed``),
    for a custom block the label of :func:`acmix_exp.custom_block.label`, for several blocks those of all
    (``acmix-mixed+ema``), and ``baseline`` if no block is inserted. A control in a slot of its own is another row,
    ``identity_down``.
    """
    if config.arm.name != "configured":
        mode = config.model.placement.mode
        return f"{config.arm.name}_{mode}" if config.arm.control and mode in SLOTS else config.arm.name
    if not config.arm.insert:
        return "baseline"
    blocks = [each["block"] for each in config.arm.insertions] or [config.block]
    return "+".join(block if isinstance(block, str) else block_label(block) for block in blocks)


def block_label(block: Mapping[str, Any]) -> str:
    """``acmix-mixed``, ``timm-se``: the name with the path or layer; of a user-defined one, ``custom_block.label``."""
    if custom_block.is_custom(block):
        return custom_block.label(block)
    return "-".join(str(block[key]) for key in ("name", "path", "layer") if block.get(key))
