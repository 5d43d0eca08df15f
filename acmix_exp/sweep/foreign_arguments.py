"""Arguments and values as other tools take them (``imgsz=640``, ``model=yolov8s.pt``), answered with our keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from acmix_exp import model_tasks
from acmix_exp.config import GROUPS, options
from acmix_exp.errors import setting
from acmix_exp.sweep.literals import items_of, optional_keys, override_key
from acmix_exp.sweep.task_keys import unused
from acmix_exp.yolo.families import FAMILIES, SCALES

# Names that other tools have for our keys. A name that only one key ends in, such as ``imgsz``, is found without this.
SAME = {
    "train.epochs": "max_epochs num_epochs",
    "train.imgsz": "img img_size image_size",
    "train.batch": "batch_size bs",
    "train.optimizer": "optim",
    "train.lr0": "lr learning_rate",
    "hardware.device": "gpu cuda",
    "hardware.workers": "num_workers",
    "model.pretrained": "weights weight",
    "model/placement": "placement",
    "runs_dir": "project save_dir output output_dir",
    "logger.project": "wandb_project",
    "name": "exp_name experiment_name run_name",
    "run": "ckpt checkpoint run_dir",
}
KEYS = {name: key for key, names in SAME.items() for name in names.split()}
RERUN = "rerun the same command: it resumes interrupted runs and skips finished ones"
CHOOSE = "choose the network with model=OPTION, model.scale=, model/placement=OPTION and block=OPTION"
PREDICT = "predict with yolo predict model=runs/NAME/RUN/weights/best.pt source=IMAGES"
GPUS = "use 'hardware.device=[0,1]', the indices of the GPUs; runs are spread over them"
ANSWERS = {
    "amp": "use hardware.precision=fp16, bf16 or fp32",
    "half": "use hardware.precision=fp16 to train, export.quantize=16 with task=export",
    "fp16": "use hardware.precision=fp16",
    "bf16": "use hardware.precision=bf16",
    "int8": "use task=export export.quantize=8",
    "nms": "use train.extra.nms=VALUE to train, export.nms=VALUE with task=export",
    "simplify": "task=export does not simplify: it takes minutes, and nothing runs faster",
    "resume": RERUN,
    "ckpt_path": f"{RERUN}; model.pretrained=FILE.pt starts from weights, run=runs/NAME/RUN names a finished run",
    "exist_ok": f"leave it out and {RERUN}",
    "patience": "leave it out: every run trains all its epochs",
    "cfg": CHOOSE,
    "hyp": "use train=OPTION and train.extra.ARGUMENT=VALUE",
    "gpus": GPUS,
    "devices": GPUS,
    "tensorboard": "W&B is the only logger, and history.csv is in every run directory",
    "deterministic": "leave it out: every run is deterministic",
    "plots": "leave it out: task=report draws the figures",
    "save": "use train.keep=best, last, both or none",
    "save_period": "use train.save_every=N; train.keep=best, last, both or none says which weights stay",
    "sync_bn": "leave it out: a run trains on one device",
    "debug": "use train=quick train.epochs=1",
    "source": PREDICT,
    "predict": PREDICT,
}
# Modes and tasks of ultralytics, and words that people use for them, by our task; empty: leave it out.
TASKS = {"train": "train", "export": "export", "benchmark": "profile", "summary": "report"}
TASKS |= dict.fromkeys(("val", "test", "eval", "validate"), "evaluate") | dict.fromkeys(("yolo", "detect"), "")
FLAGS = ("help", "version", "multirun", "config-dir", "cfg", "run", "info", "resolve", "package", "hydra-help")


def flag_line(flag: str, value: str | None, known: Collection[str]) -> str:
    """The answer to ``--epochs``, of whose value ``value`` is the next argument, or to a misspelt flag."""
    name, _, given = flag.lstrip("-").partition("=")
    value = given or value or "VALUE"
    if name in GROUPS[1:] or name in known or name in ("data", "mode") or (cure := _cure(name, value, known)):
        cure = f"use {setting(name, value)}" if name in known and name not in GROUPS else _cure(name, value, known)
        return f"{flag}: settings are KEY=VALUE, without dashes; {cure}"
    close = difflib.get_close_matches(name, FLAGS, n=1, cutoff=0.6)
    return f"{flag}: no such flag; {f'did you mean --{close[0]}?' if close else 'settings are KEY=VALUE; see --help'}"


def answers(overrides: Sequence[str], known: Collection[str], folders: Sequence[Path]) -> list[str]:
    """One line for each override that is another tool's argument, or names an option that is not in its group.

    known: the keys of the schema. folders: those that hold the groups' options.
    """
    lines: list[str] = []
    task = next((text.partition("=")[2] for text in reversed(overrides) if override_key(text) == "task"), "train")
    for number, override in enumerate(overrides):
        key, equals, value = override.lstrip("+~").partition("=")
        if override.startswith("~") and key in GROUPS[1:]:
            lines.append(f"{override}: a group needs one of its options; see --help")
        elif not equals and not override.startswith("~"):
            before = overrides[number - 1] if number else ""
            if before.endswith("=") and len(before) > 1:
                return [f"{before} {override}: write {setting(before[:-1], override)}, without the space"]
            return [*lines, _bare_words(overrides[number:], known, folders)]
        elif key in GROUPS and value.startswith("["):
            options = value.strip("[]").replace(" ", "")
            lines.append(f"{key}={value}: takes one option; to compare several: -m {setting(key, options)}")
        elif key in _CURES:
            lines += _option_lines(key, value, folders)
        elif key == "seeds" and value not in ("auto", "null"):
            seeds = f"range(0,{value})" if value.isdecimal() else value
            lines.append(f"seeds={value}: must be auto; use -m {setting('seed', seeds)}")
        elif key == "task" and (ours := TASKS.get(value.lower())) not in (None, value):
            lines.append(f"task={value}: no such task; use task={ours or 'train'}")
        elif key == "task" and value.lower() in model_tasks.TASKS:
            lines.append(f"task={value}: no such task; use model.task={value.lower()}")
        elif equals and value == "None" and key in optional_keys():
            lines.append(f"{key}=None: use {key}=null")
        elif equals and key not in known and not key.startswith(("block.", "train.extra.", "hydra.", "hydra/")):
            lines += _key_lines(key, value, task, known)
    return lines


def _key_lines(key: str, value: str, task: str, known: Collection[str]) -> Iterator[str]:
    """The line for a key that is not in the schema: what to type, or nothing, which leaves the key to Hydra."""
    cure = _cure(key.rpartition(".")[2], value or "VALUE", known, key) if "/" not in key else ""
    ours = re.match(r"use '?([\w./]+)=", cure)
    if ours and (refusal := unused(task, {ours[1]: f"{ours[1]}={value}"})):
        cure = refusal[0].partition(": ")[2]
    if not cure and not re.fullmatch(r"[^\W\d]\w*([./]\w+)*(@[\w.:]*)?", key, re.ASCII):
        cure = "settings are KEY=VALUE; see --help"
    if cure:
        yield f"{key}={value}: unknown key; {cure}"


def _bare_words(words: Sequence[str], known: Collection[str], folders: Iterable[Path]) -> str:
    """The answer to words that are no settings (``imgsz 640``, ``imgsz: 640``, ``yolo train``): one line for all."""
    words = [words[0], *(word for word in words[1:] if "=" not in word.strip("="))]
    text = " ".join(words)
    key, value = [*filter(None, re.split(r"[\s:=]+", text)), "VALUE", "VALUE"][:2]
    if words[0] in TASKS:
        task = next((task for word in words if (task := TASKS.get(word))), "train")
        return f"{text}: settings are KEY=VALUE; use task={task}"
    groups = [folder.relative_to(conf) for conf in folders for folder in conf.iterdir() if folder.is_dir()]
    group = next((group for group in groups if words[0] in options(str(group))), None)
    cure = f"use {setting(key, value)}" if key in known and key not in GROUPS else _cure(key, value, known)
    return f"{text}: settings are KEY=VALUE; {cure or (f'use {group}={words[0]}' if group else 'see --help')}"


def _cure(name: str, value: str, known: Collection[str], key: str = "") -> str:
    """What to type for another tool's argument; empty if it is none. key: the whole key, if ``name`` ends it."""
    name = name.lower().replace("-", "_")
    switch = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
    if name == "data" or key == "dataset.yaml":
        return _data(value)
    if name in GROUPS and not key:
        return f"use {name}=OPTION"
    if name == "mode" and not key.startswith("logger"):
        return f"use task={TASKS.get(value.lower()) or 'train'}"
    if name in ("seeds", "num_seeds"):
        return f"use -m 'seed=range(0,{value})'"
    if name == "wandb":
        return f"use logger={'disabled' if switch is False or value == 'disabled' else 'online'}"
    if name in ("device", "gpu", "cuda") and re.fullmatch(r"\[?\d+(,\d+)+\]?", value):
        return f"use 'hardware.device=[{value.strip('[]')}]'"
    if name == "scale" and value.upper() not in map(str.upper, SCALES):
        return _ultralytics(name, value)
    if key == "model.name":  # as it was called in version 0.1
        return f"use {setting('model.family', value)}"
    if name in ("seed", "name", "tags") and key != name:
        return f"use {setting(name, value)}"
    if name == "pretrained" and switch is not None:
        return f"use model.pretrained={'yolov8n.pt, with the letter of model.scale' if switch else 'null'}"
    if name == "amp" and switch is not None:
        return f"use hardware.precision={'fp16' if switch else 'fp32'}"
    if name in ANSWERS:
        return ANSWERS[name]
    ends = [one for one in known if one.rpartition(".")[2] == name and "." in one]
    ours = KEYS.get(name) or (ends[0] if len(ends) == 1 else name)
    if ours not in (name, key):
        return f"use {setting(ours, value)}"
    return _ultralytics(name, value)


def _ultralytics(name: str, value: str) -> str:
    from acmix_exp.yolo.arguments import OWNED_ARGS, UNUSED_ARGS, known_arguments

    if name in OWNED_ARGS:
        return f"it is set by {OWNED_ARGS[name]}"
    if name in UNUSED_ARGS:
        return "it is no argument of training; leave it out"
    return f"use {setting(f'train.extra.{name}', value)}" if name in known_arguments() else ""


def _data(value: str) -> str:
    name = Path(value).stem.lower()
    if "/" not in value and name in options("dataset") and not Path(value).exists():
        return f"use dataset={name}"
    if Path(value).suffix.lower() in (".yaml", ".yml") or value == "VALUE":
        return f"use dataset=yolo {setting('dataset.path', value)}"
    return (
        f"use dataset=voc_xml {setting('dataset.path', value)} for a folder of Pascal VOC, "
        "or dataset=yolo dataset.path=DATA.yaml"
    )


def _option_lines(group: str, value: str, folders: Iterable[Path]) -> Iterator[str]:
    known = {path.stem for folder in folders for path in (folder / group).glob("*.yaml")}
    if not value or value == "null" or re.search(r"[({\[$]", value):
        return
    if group == "hardware" and re.fullmatch(r"\d+(,\d+)+", value):
        yield f"hardware={value}: no such option; use hardware=gpu 'hardware.device=[{value}]'"
        return
    for option in map(str.strip, items_of(value)):
        if option.strip("'\"").removesuffix(".yaml") not in known:
            yield f"{group}={option}: no such option; {_CURES[group](option, sorted(known))}"


_NETWORK = re.compile(r"(yolo(?:v|-)?\d+|rtdetr)-?(resnet\d+|[a-z])?(6)?u?(?:[-_](.*))?", re.IGNORECASE)


def _model(option: str, known: list[str]) -> str:
    path = Path(option)
    stem = path.stem if path.suffix in (".pt", ".yaml", ".yml") else option
    named = _NETWORK.fullmatch(stem)
    family = _family(named[1].lower().replace("-", ""), known) if named else None
    if path.suffix in (".yaml", ".yml") and (path.is_file() or family is None):
        return f"use {setting('model.yaml', option)}"
    if family is None or named is None:
        if path.suffix == ".pt" and not named:
            return f"use {setting('model.pretrained', option)}"
        return f"choose from {', '.join(known)}; its scale is model.scale=, a YAML of your own model.yaml=FILE.yaml"
    scale = f" model.scale={named[2].lower()}" if (named[2] or "").lower() in SCALES else ""
    first, _, rest = (named[4] or "").partition("-")
    variant = "p6" if named[3] else first.lower()
    if variant in FAMILIES[family].variants:
        scale, rest = f"{scale} model.variant={variant}", rest if named[3] is None else named[4] or ""
    else:
        rest = named[4] or ""
    task = next((task.name for task in model_tasks.TASKS.values() if task.suffix == f"-{rest.lower()}"), None)
    if task:
        weights = f" {setting('model.pretrained', option)}" if path.suffix == ".pt" else ""
        return f"use model={family}{scale} model.task={task}{weights}"
    if rest.lower() in ("sem", "depth"):
        return f"{stem} is no detector; use model={family}{scale}"
    if path.suffix == ".pt" and not rest:
        return f"use model={family}{scale} {setting('model.pretrained', option)}"
    return f"use model={family}{scale}{' ' + _block(rest, options('block'))[4:] if rest else ''}"


def _family(name: str, known: Collection[str]) -> str | None:
    """The family with that name, however people spell it: yolov11 and yolo11, yolo8 and yolov8."""
    number = name.lstrip("yolv")
    return next(
        (each for each in (name, f"yolo{number}", f"yolov{number}") if each in known and each in FAMILIES), None
    )


def _arm(option: str, known: list[str]) -> str:
    name = option.lower()
    if name in ("none", "stock", "yolov8"):
        return "use arm=baseline"
    if name in options("block"):
        return f"use {'arm=mixed' if name == 'acmix' else f'arm=configured block={name}'}"
    close = difflib.get_close_matches(name, known, n=1)
    return f"{f'did you mean {close[0]}? ' if close else ''}choose from {', '.join(known)}"


def _block(option: str, known: list[str]) -> str:
    if option.lower() in ("none", "baseline"):
        return "use arm=baseline, the stock network"
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


_CURES = {"arm": _arm, "model": _model, "block": _block, "dataset": _dataset, "hardware": _hardware, "logger": _logger}
