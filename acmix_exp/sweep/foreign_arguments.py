"""Arguments and values as other tools take them (``imgsz=640``, ``model=yolov8s.pt``), answered with our keys."""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import yaml

from acmix_exp.config import GROUPS, SCALES, options
from acmix_exp.sweep.literals import items_of

# Arguments of ultralytics, and names that people use for them, by the key of the same value.
SAME = {
    "train.epochs": "epochs max_epochs num_epochs n_epochs",
    "train.imgsz": "imgsz img imgs img_size image_size input_size size resolution",
    "train.batch": "batch batch_size batchsize bs",
    "train.optimizer": "optimizer optim",
    "train.lr0": "lr0 lr learning_rate",
    "hardware.device": "device gpu gpu_id",
    "hardware.workers": "workers num_workers n_workers",
    "hardware.precision": "precision",
    "hardware.threads": "threads",
    "model.pretrained": "pretrained weights weight",
    "model.scale": "scale",
    "runs_dir": "project save_dir output output_dir out_dir",
    "logger.entity": "entity",
    "logger.project": "wandb_project",
    "name": "exp_name experiment_name run_name",
    "run": "ckpt checkpoint run_dir",
    "split": "eval_split",
    "report.reference": "reference",
}
KEYS = {name: key for key, names in SAME.items() for name in names.split()}
RERUN = "rerun the same command: it resumes interrupted runs and skips finished ones"
ANSWERS = {
    "amp": "use hardware.precision=fp16, bf16 or fp32",
    "half": "use hardware.precision=fp16 to train; task=evaluate and task=export are in float32",
    "fp16": "use hardware.precision=fp16",
    "bf16": "use hardware.precision=bf16",
    "quantize": "task=export is in float32; quantise the checkpoint yourself with yolo export",
    "int8": "task=export is in float32; quantise the checkpoint yourself with yolo export",
    "dynamic": "task=export makes height and width symbolic where the format can",
    "simplify": "task=export does not simplify: it takes minutes, and nothing runs faster",
    "resume": RERUN,
    "ckpt_path": f"{RERUN}; model.pretrained=FILE.pt starts from weights, run=runs/NAME/RUN names a finished run",
    "exist_ok": f"leave it out and {RERUN}",
    "patience": "leave it out: every run trains all its epochs",
    "cfg": "choose the network with model=OPTION, model.scale=, model/placement=OPTION and block=OPTION",
    "yaml": "choose the network with model=OPTION, model.scale=, model/placement=OPTION and block=OPTION",
    "hyp": "use train=OPTION and train.extra.ARGUMENT=VALUE",
    "gpus": "use hardware.device=[0,1], the indices of the GPUs; runs are spread over them",
    "devices": "use hardware.device=[0,1], the indices of the GPUs; runs are spread over them",
    "tensorboard": "W&B is the only logger, and history.csv is in every run directory",
    "deterministic": "leave it out: every run is deterministic",
    "plots": "leave it out: task=report draws the figures",
    "save": "use train.keep=best, last, both or none",
    "save_period": "use train.keep=best, last, both or none",
    "sync_bn": "leave it out: a run trains on one device",
    "debug": "use train=quick train.epochs=1",
    "opset": "leave it out: the exporter of ultralytics chooses it",
}
# Modes and tasks of ultralytics, and words that people use for them, by our task; empty: leave it out.
TASKS = {"train": "train", "export": "export", "benchmark": "profile", "summary": "report"}
TASKS |= dict.fromkeys(("val", "test", "eval", "validate"), "evaluate") | dict.fromkeys(("yolo", "detect"), "")
FLAGS = ("help", "version", "multirun", "config-dir", "cfg", "run", "info", "resolve", "package", "hydra-help")


def flag_line(flag: str, value: str | None = None) -> str:
    """The answer to ``--epochs``, of whose value ``value`` is the next argument, or to a misspelt flag."""
    name, _, given = flag.lstrip("-").partition("=")
    known = name.replace("-", "_")
    value = given or value
    if known in KEYS or known in ANSWERS or known in ("data", "mode", "model", "seed", "name", "tags"):
        return f"{flag}: settings are KEY=VALUE, without dashes; {_cure(known, value or 'VALUE')}"
    close = difflib.get_close_matches(name, FLAGS, n=1, cutoff=0.6)
    return f"{flag}: no such flag; {f'did you mean --{close[0]}?' if close else 'settings are KEY=VALUE; see --help'}"


def answers(overrides: Iterable[str], known: Collection[str], folders: Iterable[Path]) -> list[str]:
    """One line for each override that is another tool's argument, or names an option that is not in its group.

    known: the keys of the schema. folders: those that hold the groups' options.
    """
    lines: list[str] = []
    folders = list(folders)
    words = iter(overrides)
    for override in words:
        key, equals, value = override.lstrip("+~").partition("=")
        if override.startswith("~") and key in GROUPS[1:]:
            lines.append(f"{override}: a group needs one of its options; see --help")
        elif not equals:
            if override[:1] != "~":
                return [*lines, _bare_words(override, list(words), folders)]
        elif not re.fullmatch(r"[\w./@:-]+", key, re.ASCII):
            lines.append(f"{override}: unknown key; settings are KEY=VALUE; see --help")
        elif key in _CURES:
            lines += _option_lines(key, value, folders)
        elif key == "task" and (task := TASKS.get(value.lower())) not in (None, value):
            lines.append(f"task={value}: no such task; use task={task or 'train'}")
        elif (
            key not in known
            and not key.startswith(("block.", "train.extra.", "hydra."))
            and "/" not in key
            and (cure := _cure(key.rpartition(".")[2], value or "VALUE", key))
        ):
            lines.append(f"{key}={value}: unknown key; {cure}")
    return lines


def _bare_words(first: str, others: list[str], folders: Iterable[Path]) -> str:
    """The answer to words that are no settings (``imgsz 640``, ``imgsz: 640``, ``yolo train``): one line for all."""
    others = [word for word in others if "=" not in word.strip("=")]
    key, _, value = first.partition(":")
    value = value or next((word for word in others if word != "="), "VALUE")
    groups = [folder.relative_to(conf) for conf in folders for folder in conf.iterdir() if folder.is_dir()]
    group = next((group for group in groups if first in options(str(group))), None)
    text = " ".join([first, *others])
    if first in TASKS:
        task = next((task for word in (first, *others) if (task := TASKS.get(word))), "train")
        return f"{text}: settings are KEY=VALUE; use task={task}"
    cure = _cure(key, value) or (f"use {group}={first}" if group else "see --help")
    return f"{text}: settings are KEY=VALUE; {cure}"


def _cure(name: str, value: str, key: str = "") -> str:
    """What to type for another tool's argument; empty if it is none."""
    if name == "data":
        return _data(value)
    if name in GROUPS and not key:
        return f"use {name}=OPTION"
    if name == "mode" and not key.startswith("logger"):
        return f"use task={TASKS.get(value.lower()) or 'train'}"
    if name in ("seeds", "num_seeds", "n_seeds"):
        return f"use -m 'seed=range(0,{value})'"
    if name == "wandb":
        return f"use logger={'disabled' if value.lower() in ('false', '0', 'disabled') else 'online'}"
    if name == "device" and re.fullmatch(r"\d+(,\d+)+", value):
        return f"use hardware.device=[{value}]"
    if name == "scale" and value.upper() not in map(str.upper, SCALES):
        return _ultralytics(name, value)
    if name in ("seed", "name", "tags") and key != name:
        return f"use {name}={value}"
    if name == "pretrained" and value.lower() in ("true", "1"):
        return "use model.pretrained=yolov8n.pt, with the letter of model.scale"
    if name == "pretrained" and value.lower() in ("false", "0"):
        return "leave it out, or use model.pretrained=null"
    if name == "amp" and value.lower() in ("true", "false"):
        return f"use hardware.precision={'fp16' if value.lower() == 'true' else 'fp32'}"
    if name in KEYS and KEYS[name] != key:
        return f"use {KEYS[name]}={value}"
    if name in ANSWERS:
        return ANSWERS[name]
    return _ultralytics(name, value)


def _ultralytics(name: str, value: str) -> str:
    from acmix_exp.yolo.arguments import OWNED_ARGS

    if name in OWNED_ARGS:
        return f"it is set by {OWNED_ARGS[name]}"
    return f"use train.extra.{name}={value}" if name in _training_arguments() else ""


def _training_arguments() -> Collection[str]:
    """The arguments of ultralytics, by its file of defaults: importing the package takes seconds."""
    spec = importlib.util.find_spec("ultralytics")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    for folder in folders:
        try:
            return set(yaml.safe_load((folder / "cfg" / "default.yaml").read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, TypeError):
            continue
    return ()


def _data(value: str) -> str:
    name = Path(value).stem.lower()
    if "/" not in value and name in options("dataset") and not Path(value).exists():
        return f"use dataset={name}"
    if Path(value).suffix.lower() in (".yaml", ".yml") or value == "VALUE":
        return f"use dataset=yolo dataset.path={value}"
    return (
        f"use dataset=voc_xml dataset.path={value} for a folder of Pascal VOC, or dataset=yolo dataset.path=DATA.yaml"
    )


def _option_lines(group: str, value: str, folders: Iterable[Path]) -> Iterator[str]:
    known = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    if not value or value == "null" or re.search(r"[({\[$]", value):
        return
    if group == "hardware" and re.fullmatch(r"\d+(,\d+)+", value):
        yield f"hardware={value}: no such option; use hardware=gpu hardware.device=[{value}]"
        return
    for option in map(str.strip, items_of(value)):
        if option.strip("'\"").removesuffix(".yaml") not in known:
            yield f"{group}={option}: no such option; {_CURES[group](option, sorted(known))}"


def _model(option: str, known: list[str]) -> str:
    path = Path(option)
    stem, suffix = path.stem if path.suffix in (".pt", ".yaml", ".yml") else option, path.suffix
    named = re.fullmatch(r"(yolo(?:v|-?)?\d+)([a-z])?(?:[-_](.*))?", stem, re.IGNORECASE)
    family = named[1].lower().replace("-", "") if named else ""
    family = family if family in known else re.sub(r"^yolo(?=\d)", "yolov", family)
    scale = f" model.scale={named[2].lower()}" if named and (named[2] or "").lower() in SCALES else ""
    if suffix == ".pt" and (not named or family in known) and "-" not in stem:
        return f"use {f'model={family}{scale} ' if named else ''}model.pretrained={option}"
    if not named or family not in known:
        return f"use model=yolov8{scale or ' model.scale=n'}, or one of {', '.join(known)}"
    if named[3] and named[3].lower() in ("seg", "pose", "obb", "cls"):
        return f"{stem} is no detector; use model={family}{scale}"
    return f"use model={family}{scale}{' ' + _block(named[3], options('block'))[4:] if named[3] else ''}"


def _block(option: str, known: list[str]) -> str:
    if option.lower() in known:
        return f"use block={option.lower()}"
    own = {"cbam": "ultralytics.nn.modules.conv.CBAM"}.get(option.lower(), option if "." in option else "")
    target = own or f"my_module.{option} (as ultralytics.nn.modules.conv.CBAM)"
    return f"use block=custom block.target={target}, or one of {', '.join(known)}"


def _dataset(option: str, known: list[str]) -> str:
    if Path(option).suffix.lower() in (".yaml", ".yml") or "/" in option or Path(option).is_dir():
        return _data(option)
    close = difflib.get_close_matches(option.lower(), known, n=1, cutoff=0.8)
    return (
        f"{f'did you mean {close[0]}? ' if close else ''}choose from {', '.join(known)}; your own: {_data('VALUE')[4:]}"
    )


def _hardware(option: str, known: list[str]) -> str:
    name = option.lower()
    index = re.fullmatch(r"(?:cuda|gpu)?:?(\d{1,2})", name)
    if index:
        return f"use hardware=gpu hardware.device={index[1]}"
    if re.search(r"cuda|nvidia|rtx|gtx|tesla|\d{4}|[ahvt]\d{2,3}", name):
        return "use hardware=gpu"
    return f"choose from {', '.join(known)}; one GPU is hardware=gpu hardware.device=0"


def _logger(option: str, known: list[str]) -> str:
    if option.lower() in ("wandb", "w&b"):
        return "use logger=online or logger=offline"
    only = "W&B is the only logger, and history.csv is in every run directory; " if option.isalpha() else ""
    return f"{only}choose from {', '.join(known)}"


_CURES = {"model": _model, "block": _block, "dataset": _dataset, "hardware": _hardware, "logger": _logger}
