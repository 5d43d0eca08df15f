"""Arguments as other tools take them, paths and names as people have them, and what each task does with a setting."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.config import Config, DatasetConfig, value_of
from acmix_exp.data import resolve
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.planning import refuse_split
from tests.robustness.cases import Row, add, case

SECTION = "Command line"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def faults(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose_cells(arguments)
    return caught.value.lines


def values(key: str, *arguments: str) -> list[Any]:
    return [value_of(cell.config, key) for cell in compose_cells(arguments)]


# Typed: what the answer says to type.
ANSWERS = {
    "imgsz=640": "use train.imgsz=640",
    "+imgsz=640": "use train.imgsz=640",
    "++imgsz=640": "use train.imgsz=640",
    "imgsz 640": "use train.imgsz=640",
    "imgsz: 640": "use train.imgsz=640",
    "imgsz = 640": "use train.imgsz=640",
    "--img 640": "use train.imgsz=640",
    "train.img_size=640": "use train.imgsz=640",
    "epochs=3": "use train.epochs=3",
    "--epochs 3": "use train.epochs=3",
    "-epochs 3": "use train.epochs=3",
    "--epochs=3": "use train.epochs=3",
    "batch=8": "use train.batch=8",
    "--batch-size 8": "use train.batch=8",
    "lr0=0.1": "use train.lr0=0.1",
    "train.lr=0.1": "use train.lr0=0.1",
    "optimizer=SGD": "use train.optimizer=SGD",
    "device=0": "use hardware.device=0",
    "device=0,1": "use 'hardware.device=[0,1]'",
    "workers=8": "use hardware.workers=8",
    "train.workers=8": "use hardware.workers=8",
    "amp": "use hardware.precision=",
    "train.amp=true": "use hardware.precision=fp16",
    "half=true": "use hardware.precision=fp16",
    "resume=true": "rerun the same command",
    "resume": "rerun the same command",
    "ckpt_path=a.pt": "model.pretrained=FILE.pt",
    "exist_ok=true": "rerun the same command",
    "weights=a.pt": "use model.pretrained=a.pt",
    "--weights a.pt": "use model.pretrained=a.pt",
    "pretrained=a.pt": "use model.pretrained=a.pt",
    "pretrained=true": "use model.pretrained=yolov8n.pt",
    "pretrained=false": "model.pretrained=null",
    "project=out": "use runs_dir=out",
    "save_dir=out": "use runs_dir=out",
    "patience=50": "every run trains all its epochs",
    "cos_lr=true": "use train.extra.cos_lr=true",
    "train.mosaic=0": "use train.extra.mosaic=0",
    "train.scale=0.5": "use train.extra.scale=0.5",
    "trian.epochs=3": "use train.epochs=3",
    "TRAIN.EPOCHS=3": "use train.epochs=3",
    "batch-size=8": "use train.batch=8",
    "train.epochs:3": "use train.epochs=3",
    "train.epochs 3": "use train.epochs=3",
    "--train.epochs 3": "use train.epochs=3",
    "cuda=0": "use hardware.device=0",
    "placement=sppf": "use model/placement=sppf",
    "residual=false": "use model.placement.residual=false",
    "group=g": "use logger.group=g",
    "source=a.jpg": "yolo predict model=runs/NAME/RUN/weights/best.pt",
    "predict": "yolo predict model=runs/NAME/RUN/weights/best.pt",
    "tracker=bytetrack.yaml": "it is no argument of training; leave it out",
    "dataset.root=None": "use dataset.root=null",
    "model.pretrained=None": "use model.pretrained=null",
    "dataset.yaml=d.yaml": "use dataset=yolo dataset.path=d.yaml",
    "cfg=yolov8n.yaml": "model=OPTION",
    "mode=train": "use task=train",
    "mode=val": "use task=evaluate",
    "task=val": "use task=evaluate",
    "task=detect": "use task=train",
    "yolo detect train": "use task=train",
    "seeds=3": "use -m 'seed=range(0,3)'",
    "data=coco.yaml": "use dataset=coco",
    "data=path/data.yaml": "use dataset=yolo dataset.path=path/data.yaml",
    "dataset=path/data.yaml": "use dataset=yolo dataset.path=path/data.yaml",
    "dataset=bccd": "dataset=yolo dataset.path=",
    "model=yolov8s": "use model=yolov8 model.scale=s",
    "model=yolov8n.pt": "use model=yolov8 model.scale=n model.pretrained=yolov8n.pt",
    "model=yolov8n-ACmix.yaml": "use model=yolov8 model.scale=n block=acmix",
    "model=yolov8n-seg.pt": "use model=yolov8 model.scale=n model.task=segment model.pretrained=yolov8n-seg.pt",
    "task=pose": "no such task; use model.task=pose",
    "model=runs/best.pt": "use model.pretrained=runs/best.pt",
    "model=yolo11n": "use model=yolo11 model.scale=n",
    "model=yolov11s.pt": "use model=yolo11 model.scale=s model.pretrained=yolov11s.pt",
    "model=yolov26": "use model=yolo26",
    "model=yolo9t": "use model=yolov9 model.scale=t",
    "model=yolov5nu.pt": "use model=yolov5 model.scale=n model.pretrained=yolov5nu.pt",
    "model=yolov5n6u.pt": "use model=yolov5 model.scale=n model.variant=p6 model.pretrained=yolov5n6u.pt",
    "model=yolo26n-p2": "use model=yolo26 model.scale=n model.variant=p2",
    "model=yolo26s-p2-ema": "use model=yolo26 model.scale=s model.variant=p2 block=ema",
    "model=yolo26n-depth.pt": "is no detector; use model=yolo26 model.scale=n",
    "model=yolov7": "yolo11, yolo12, yolo26",
    "model=my/network.yaml": "use model.yaml=my/network.yaml",
    "model.name=yolo11": "use model.family=yolo11",
    "block=cbam": "use block=custom block.target=ultralytics.nn.modules.conv.CBAM",
    "block=biformer": "use block=custom block.target=",
    "block=my_module.MyBlock": "use block=custom block.target=my_module.MyBlock",
    "block=ACmix": "use block=acmix",
    "block=[acmix,ema]": "-m block=acmix,ema",
    "arm=[baseline,mixed]": "-m arm=baseline,mixed",
    "arm=baseline,mixed": "-m arm=baseline,mixed",
    "seed=range(0,3)": "-m 'seed=range(0,3)'",
    "model/placement=[sppf,neck]": "-m model/placement=sppf,neck",
    "hardware.device=0,1": "'hardware.device=[0,1]'",
    "tags=a,b": "'tags=[a,b]'",
    "train.extra.source=a": "does not use it; leave it out",
    "train.extra.mosaik=0": "did you mean train.extra.mosaic?",
    "hydra.run.dir=out": "use runs_dir=DIR name=NAME",
    "hydra.job.chdir=true": "acmix_exp does not use it",
    "arm=acmix": "use arm=mixed",
    "arm=ema": "use arm=configured block=ema",
    "arm=none": "use arm=baseline",
    "block=none": "use arm=baseline",
    "acmix": "use block=acmix",
    "ablation": "use experiment=ablation",
    "hardware=3060": "use hardware=gpu",
    "hardware=rtx4090": "use hardware=gpu",
    "hardware=cuda": "use hardware=gpu",
    "hardware=0": "use hardware=gpu hardware.device=0",
    "hardware=0,1": "use hardware=gpu 'hardware.device=[0,1]'",
    "logger=wandb": "use logger=online or logger=offline",
    "logger=tensorboard": "history.csv is in every run directory",
    "logger=csv": "history.csv is in every run directory",
    "wandb=false": "use logger=disabled",
    "--helpp": "did you mean --help?",
    "-x": "settings are KEY=VALUE; see --help",
    "数据=3": "unknown key",
    "~model": "a group needs one of its options",
    "+train.imgsz=64": "write train.imgsz=VALUE without the plus sign",
}
for answer in dict.fromkeys(ANSWERS.values()):
    same = ", ".join(f"`{typed}`" for typed in ANSWERS if ANSWERS[typed] == answer)
    add(Row(SECTION, same, f"one line, exit code 2: {answer.rstrip('=')}"))


@pytest.mark.parametrize(("typed", "answer"), ANSWERS.items(), ids=ANSWERS)
def test_what_other_tools_take_is_answered_with_our_key(typed: str, answer: str) -> None:
    (line,) = faults(*typed.split())
    assert line.lstrip("+").startswith(typed.lstrip("+").split()[0].split("=6")[0].rstrip(":"))
    assert answer in line


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("weights=my weights/a.pt", "use 'model.pretrained=my weights/a.pt'"),
        ("data=数据/my set/d.yaml", "use dataset=yolo 'dataset.path=数据/my set/d.yaml'"),
        ("project=my runs", "use 'runs_dir=my runs'"),
        ("model=it's/a.pt", """use 'model.pretrained=it'"'"'s/a.pt'"""),
    ],
)
def test_what_an_answer_says_to_type_has_the_quotes_of_the_shell(typed: str, answer: str) -> None:
    (line,) = faults(typed)
    assert line.endswith(answer)


@case(
    SECTION,
    have="`task=evaluate run=... epochs=3`: another tool's argument whose key the task does not use",
    here="one line, exit code 2: what the task takes, and not a key that would be refused next",
)
@pytest.mark.parametrize("typed", ["epochs=3", "conf=0.5", "lr=0.1", "project=out"])
def test_an_answer_is_of_the_task(typed: str) -> None:
    (line,) = faults("task=evaluate", "run=a", typed)
    assert line.startswith(f"{typed}: unknown key; task=evaluate does not use it; it takes run, split, dataset, ")


def test_a_folder_that_the_data_set_does_not_use_is_refused() -> None:
    (line,) = faults("dataset=yolo", "dataset.path=d.yaml", "dataset.root=b")
    assert line.startswith("dataset.root=b: must be left out with dataset=yolo")


def test_a_space_behind_the_equals_sign() -> None:
    assert faults("train.epochs=", "3") == ["train.epochs= 3: write train.epochs=3, without the space"]


@case(
    SECTION,
    have="`~name/data`, of no user of this machine",
    here="the folder of that name; `~` and `~user` are home folders, in `run` and `runs_dir` too",
)
@pytest.mark.parametrize("key", ["dataset.path", "dataset.root", "runs_dir", "run"])
def test_a_tilde(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    of_task = {"dataset.path": ["dataset=yolo"], "run": ["task=evaluate"]}.get(key, [])
    assert values(key, *of_task, f"{key}=~no one/a") == ["~no one/a"]
    expanded = "~/a" if key.startswith("dataset") else "/home/me/a"  # a data set's is expanded when it is read
    assert values(key, *of_task, f"{key}=~/a") == [expanded]
    with pytest.raises(ConfigError, match="no such file"):
        resolve(Config(dataset=DatasetConfig("yolo", "~no one/d.yaml")).dataset)


@pytest.mark.parametrize("typed", ["arm=glob(zz*)", "seed=range(3,3)"])
def test_a_sweep_of_no_value(typed: str) -> None:
    (line,) = faults("-m", typed)
    assert line.startswith(f"{typed}: stands for no value")


@case(
    SECTION,
    have="`-m` with `runs_dir=a,b` or `name=a,b`, which hold a comma and cannot be swept",
    here="one line with the corrected command: `'name=\"a,b\"'`",
)
@pytest.mark.parametrize("key", ["runs_dir", "name", "logger.project"])
def test_a_comma_where_nothing_can_be_swept(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_split(compose_cells(["-m", f"{key}=数 1,b"]))
    (line,) = caught.value.lines
    assert line == f"{key}=数 1,b: can't be swept; give it one value, in quotes inside the shell's: '{key}=\"数 1,b\"'"
    (argument,) = shlex.split(line.rpartition("shell's: ")[2])
    assert values(key, "-m", argument) == ["数 1,b"]


@pytest.mark.parametrize("typed", ["model=yolov8.yaml", "dataset=shapes.yaml", "+block=lska", "++arm=mixed"])
def test_a_name_of_an_option_is_taken_as_before(typed: str) -> None:
    assert len(compose_cells([typed])) == 1


# Paths and names as typed inside the shell's quotes.
TYPED = [
    "数据/my set/data.yaml",
    "结果 (1)",
    "a[1].yaml",
    "[a]",
    "{a}",
    "a#b",
    "#a",
    "a&b;c",
    "it's",
    'say "hi"',
    "a=b",
    "x=1,y=2",
    "a,b",
    "100%",
    "$HOME",
    "~/数据",
    "me@host:a",
    "C:\\data\\set",
    "data\\",
    "a{b}(c)[d]",
    "a)",
    "f(1)",
    "😀",
    "ＡＢＣ（１），",
    "e\u0301",
    " a  b ",
    "001",
    "1e5",
    "0x1F",
    "1_000",
    "true",
    "off",
    "inf",
    "12:30",
    "-1",
]


@case(
    SECTION,
    have="paths with Chinese letters, spaces, brackets, `#`, `&`, `;`, `'`, `=`, `%`, `$`, `~`, `,`, a trailing `\\`",
    here="taken as typed, with the shell's quotes alone; in a sweep a comma separates values",
)
@pytest.mark.parametrize("first", range(0, len(TYPED), 4), ids=lambda first: " | ".join(TYPED[first : first + 4]))
def test_a_path_is_taken_as_typed(first: int) -> None:
    """Four in one command, of which each is a path in one of four keys."""
    given = dict(zip(("dataset.path", "logger.notes", "logger.group", "logger.entity"), TYPED[first:], strict=False))
    (cell,) = compose_cells(["dataset=yolo", "dataset.path=x", *(f"{key}={typed}" for key, typed in given.items())])
    assert {key: value_of(cell.config, key) for key in given} == given


@pytest.mark.parametrize("plus", ["", "++"])
@pytest.mark.parametrize("typed", ["数据/my set (1)", "a,b", "1e5"])
def test_every_key_of_text_is_taken_as_typed(typed: str, plus: str) -> None:
    given = dict.fromkeys(("dataset.root", "runs_dir", "logger.entity"), typed)
    (cell,) = compose_cells([f"{plus}{key}={typed}" for key in given])
    assert {key: value_of(cell.config, key) for key in given} == given


@case(
    SECTION,
    have="`name=001`, `name=1e5`, `name=true`, `name=0x1F`",
    here="these names, not the numbers 1, 100000.0 and 31, nor True",
)
@pytest.mark.parametrize("name", ["实验 1", "a (1)", "a,b", "a=b", "a#b&c", "it's", "001", "1e5", "true", "0x1F", "😀"])
def test_a_name_is_taken_as_typed(name: str) -> None:
    assert values("name", f"name={name}") == [name]


@pytest.mark.parametrize("name", ["a/b", "..", ".a", "-a", "~a", " a", "a ", "a\tb", "a\\b", ""])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name: str) -> None:
    (line,) = faults(f"name={name}")
    assert line.startswith(f"name={name}: must be the name of a folder")


@pytest.mark.parametrize(
    ("typed", "tags"),
    [
        ("[中文,b]", ["中文", "b"]),
        ("[a b,c(1)]", ["a b", "c(1)"]),
        ("[001,1e5,true]", ["001", "1e5", "true"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("[a=b,c#d]", ["a=b", "c#d"]),
        ("[s${seed},中 ${seed}]", ["s0", "中 0"]),
        ("[]", []),
    ],
)
def test_tags_are_taken_as_typed(typed: str, tags: list[str]) -> None:
    assert values("tags", f"tags={typed}") == [tags]


@pytest.mark.parametrize(
    ("typed", "seen"),
    [("'a b'", "a b"), ('"数据"', "数据"), ("a${seed}（1）", "a0（1）"), ("\\${seed}", "${seed}"), ("null", None)],
)
def test_what_hydras_users_write_keeps_its_meaning(typed: str, seen: str | None) -> None:
    assert values("dataset.path", "dataset=yolo", f"dataset.path={typed}") == [seen]


@pytest.mark.parametrize(
    ("line", "key", "seen"),
    [
        (["-m", "seed=0,1"], "seed", [0, 1]),
        (["-m", "seed=range(0,3)"], "seed", [0, 1, 2]),
        (["-m", "block.kernel_att=choice(3,5)"], "block.kernel_att", [3, 5]),
        (["-m", "block=glob(l*)"], "block.name", ["lsk", "lska"]),
        (["-m", "model.scale=n,s"], "model.scale", ["n", "s"]),
        (["-m", "dataset=yolo", "dataset.path=数据 1/d.yaml,数据(2)/d.yaml"], "dataset.path", None),
        (["experiment=ablation", "arm=mixed", "seed=0", "dataset=yolo", "dataset.path=a b,c d"], "dataset.path", None),
    ],
)
def test_in_a_sweep_a_comma_separates_values(line: list[str], key: str, seen: list[Any] | None) -> None:
    assert values(key, *line) == (seen or line[-1].partition("=")[2].split(","))


@pytest.mark.parametrize("typed", ["model.scale=n,s", "dataset.path=choice(a,b)", "block.target=a,b"])
def test_a_refused_text_comes_with_the_corrected_command(typed: str) -> None:
    key, _, value = typed.partition("=")
    (line,) = faults(*(["block=custom"] if key == "block.target" else []), typed)
    assert line.endswith(f"""'{key}="{value}"'""")


def test_messages_show_values_as_typed() -> None:
    assert faults("nmae=数据 1") == ["nmae=数据 1: unknown key; did you mean name?"]
    assert faults("tags=中文") == ["tags=中文: must be a list, [a,b]"]
    lines = faults("-m", "model.pretrained=数据 1.pt,b(2).pt")
    assert [line.split(": ")[0] for line in lines] == ["model.pretrained=数据 1.pt", "model.pretrained=b(2).pt"]
