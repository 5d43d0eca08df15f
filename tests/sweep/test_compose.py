"""From a command line to cells: what makes an axis, where an interpolation is resolved, how often Hydra composes."""

from __future__ import annotations

import signal

import pytest

from acmix_exp import block_rules
from acmix_exp.config import options
from acmix_exp.errors import ConfigError
from acmix_exp.sweep import compose
from acmix_exp.sweep.compose import Composed, compose_cells


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """``folder("experiment/mine", text)`` adds an option to own/, a folder for --config-dir in the working folder."""
    monkeypatch.chdir(tmp_path)

    def add(option: str, text: str) -> None:
        path = tmp_path / "own" / f"{option}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return add


@pytest.fixture
def compositions(monkeypatch):
    """The overrides of every composition by Hydra."""
    calls = []
    original = compose.compose

    def counted(name: str, overrides: list[str], **options: object) -> object:
        calls.append(overrides)
        return original(name, overrides, **options)

    monkeypatch.setattr(compose, "compose", counted)
    return calls


def faults(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose_cells(arguments)
    return caught.value.lines


def alone(cell: Composed) -> Composed:
    """The cell, composed by a command that has no other."""
    (only,) = compose_cells(cell.overrides)
    return only


@pytest.mark.parametrize(
    "line",
    [
        "-m arm=baseline,mixed seed=0,1,7 hardware=cpu",
        "-m arm=baseline,mixed seed=range(0,3) tags=[s${seed}] dataset=yolo dataset.path=folds/${seed}/data.yaml",
        pytest.param("-m seed=1,2 logger.project=p_${logger.entity} logger.entity=e${seed}", marks=pytest.mark.slow),
        pytest.param("-m seed=1,2 block.kernel_att=3,5 block.kernel_conv=${block.kernel_att}", marks=pytest.mark.slow),
    ],
)
def test_a_cell_copied_for_another_seed_equals_a_composed_one(line):
    cells = compose_cells(line.split())
    assert len({cell.overrides for cell in cells}) == len(cells) > 1
    for cell in cells:
        assert cell == alone(cell)


def test_hydra_composes_once_per_choice_that_is_not_the_seed(compositions):
    cells = compose_cells(["experiment=ablation", "arm=baseline,mixed", "seed=range(0,50)"])
    assert len(cells) == 100
    assert len(compositions) == 3  # one more for what is common to all
    compositions.clear()
    compose_cells(["-m", "seed=range(0,50)", "tags=[s${seed}]"])
    assert len(compositions) == 2
    compositions.clear()
    compose_cells(["arm=mixed", "seed=3"])
    assert len(compositions) == 1


def test_an_interpolation_is_resolved_in_its_own_cell(folder):
    cells = compose_cells(["-m", "block.kernel_att=3,5", "block.kernel_conv=${block.kernel_att}"])
    assert [cell.config.block["kernel_conv"] for cell in cells] == [3, 5]
    cells = compose_cells(["-m", "seed=3,4", "tags=[s${seed}]"])
    assert [cell.config.tags for cell in cells] == [["s3"], ["s4"]]
    folder("dataset/folds", "name: yolo\npath: folds/${seed}/data.yaml\nroot: null\n")
    cells = compose_cells(["--config-dir", "own", "-m", "dataset=folds", "seed=0,1"])
    assert [cell.config.dataset.path for cell in cells] == ["folds/0/data.yaml", "folds/1/data.yaml"]
    params = "{seed: '0,1', block.kernel_att: '3,5', block.kernel_conv: '${block.kernel_att}'}"
    folder("experiment/mine", f"# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {params}\n")
    cells = compose_cells(["--config-dir", "own", "experiment=mine"])
    assert [(cell.config.seed, cell.config.block["kernel_conv"]) for cell in cells] == [(0, 3), (0, 5), (1, 3), (1, 5)]


def test_an_interpolation_may_make_an_axis_of_an_experiment(folder, monkeypatch):
    monkeypatch.setenv("BLOCKS", "lska,hat")
    params = "{block: '${oc.env:BLOCKS}', seed: 'range(0,${train.epochs})'}"
    folder("experiment/mine", f"# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params: {params}\n")
    cells = compose_cells(["--config-dir", "own", "experiment=mine", "train.epochs=2"])
    assert [(cell.config.block["name"], cell.config.seed) for cell in cells] == [
        ("lska", 0),
        ("lska", 1),
        ("hat", 0),
        ("hat", 1),
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("name=exp_${nope}", ["name=exp_${nope}: can't be resolved", "nope"]),
        ("-m seed=0,1 name=exp_${nope}", ["name=exp_${nope}: can't be resolved", "nope"]),
        ("dataset=yolo dataset.path=${oc.env:NO_VARIABLE}/data.yaml", ["dataset.path=${", "NO_VARIABLE"]),
        ("train.epochs=${name}", ["train.epochs=${name}", "Integer"]),
        ("name=${name}", ["name=${name}", "Recursive"]),
        ("dataset=fold_${seed}", ["dataset=fold_${seed}"]),
    ],
)
def test_an_interpolation_that_cannot_be_resolved_is_one_line(line, says):
    (fault,) = faults(*line.split())
    assert all(word in fault for word in says), fault


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-m block.kernel_att=3,4 arm=baseline,mixed", "block.kernel_att=4: must be "),
        (
            "-m model/placement=sppf,backbone_p4p5 arm=baseline,conv block.head=256",
            "model/placement=backbone_p4p5 arm=conv ",
        ),
        ("-m seed=0,-1 arm=baseline,mixed", "seed=-1: must be "),
        ("-m arm=mixed,conv3x3 model.pretrained=a.pt,null", "model.pretrained=a.pt: no such file"),
        ("-m seed=0,1 model.pretrained=ck${seed}.pt", "seed=0 model.pretrained=ck0.pt: no such file"),
    ],
)
def test_a_fault_of_some_cells_names_them(line, says):
    assert says in faults(*line.split())[0]


def test_many_faults_are_counted():
    lines = faults("-m", "seed=range(0,50)", "model.pretrained=ck${seed}.pt")
    assert len(lines) == 21
    assert lines[-1] == "and 30 more faults"


def test_axes_come_from_the_experiment_and_the_command_line_replaces_them():
    def axes(*arguments: str) -> tuple[list[str], list[int]]:
        cells = compose_cells(["experiment=ablation", *arguments])
        return list(dict.fromkeys(cell.config.arm.name for cell in cells)), sorted({cell.config.seed for cell in cells})

    every = ["baseline", "conv", "attention", "mixed"]
    assert axes() == (every, [0, 1, 2, 3, 4, 5])
    assert axes("arm=mixed", "seed=7,8") == (["mixed"], [7, 8])
    assert axes("arm=mixed", "++seed=5") == (["mixed"], [5])
    assert axes("arm=mixed", "seed=choice(1,4)") == (["mixed"], [1, 4])
    assert axes("~hydra.sweeper.params.seed") == (every, [0])
    assert axes("arm=glob(con*)", "seed=0") == (["configured", "conv", "conv3x3", "conv3x3_matched"], [0])
    assert axes("hydra.mode=RUN") == (["configured"], [0])
    assert axes("hydra.mode=RUN", "-m", "arm=mixed", "seed=0") == (["mixed"], [0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_composition_takes_effect_behind_it(monkeypatch, number):
    finished = []
    original = compose.compose

    def interrupted(name: str, overrides: list[str], **options: object) -> object:
        signal.raise_signal(number)
        finished.append(original(name, overrides, **options))
        return finished[-1]

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(compose, "compose", interrupted)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            compose_cells(["-m", "arm=baseline,mixed"])
        assert len(finished) == 1
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_glob_finds_the_options_of_the_users_folder_too(folder):
    folder("train/quicker", "epochs: 1\n")
    cells = compose_cells(["--config-dir", "own", "-m", "train=glob(quick*)"])
    assert [cell.config.train.epochs for cell in cells] == [12, 1]


@pytest.mark.parametrize("key", ["train.extra.mosaic=0", "+train.extra.mosaic=0", "++train.extra.mosaic=0"])
def test_train_extra_takes_new_keys_with_any_prefix(key):
    (cell,) = compose_cells([key])
    assert cell.config.train.extra == {"mosaic": 0}


@pytest.mark.parametrize("value", ["数据/data.yaml", "runs/x=1/data.yaml", "a #1;b&c/data.yaml", "it's/data.yaml"])
def test_a_value_that_needs_quotes_is_quoted(value):
    (cell,) = compose_cells(["dataset=yolo", f"dataset.path={value}"])
    assert cell.config.dataset.path == value
    (cell,) = compose_cells(["dataset=yolo", f"dataset.path={value}/${{seed}}", "seed=4"])
    assert cell.config.dataset.path == f"{value}/4"


def test_a_comma_in_a_path_separates_values_in_a_sweep_alone():
    for typed in ("dataset.path=数据,b/data.yaml", 'dataset.path="数据,b/data.yaml"'):
        (cell,) = compose_cells(["dataset=yolo", typed])
        assert cell.config.dataset.path == "数据,b/data.yaml"
    cells = compose_cells(["-m", "dataset=yolo", "dataset.path=数据,b/data.yaml"])
    assert [cell.config.dataset.path for cell in cells] == ["数据", "b/data.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("name", options("experiment"))
def test_every_cell_of_a_shipped_experiment_composes(name, monkeypatch):
    monkeypatch.setattr(block_rules, "missing_library", lambda block: None)  # as if every extra were installed
    assert len(compose_cells([f"experiment={name}"])) > 1


@pytest.mark.parametrize(
    "override",
    ["hydra/launcher=joblib", "hydra/sweeper=optuna", "hydra.launcher.n_jobs=2", "+hydra.sweeper.n_trials=5"],
)
def test_another_launcher_or_sweeper_is_answered_in_one_line(override):
    (fault,) = faults("-m", "seed=0,1", override)
    assert fault.startswith(f"{override}: ")
    assert "hardware=OPTION" in fault
    assert "hardware.runs_at_once" in fault


@pytest.mark.parametrize("engine", ["launcher: joblib", "launcher: submitit_slurm", "sweeper: optuna"])
def test_so_is_one_that_an_option_of_the_users_chooses(folder, engine):
    folder("experiment/mine", f"# @package _global_\ndefaults:\n  - override /hydra/{engine}\n")
    (fault,) = faults("--config-dir", "own", "experiment=mine")
    assert fault.startswith(f"hydra/{engine.replace(': ', '=')}: ")
    assert "hardware=OPTION" in fault


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config-dir", "nowhere"], "--config-dir=nowhere: no such folder"),
        (["--nonsense"], "--nonsense"),
        (["-m", "seed=interval(0,1)"], "seed=interval(0,1): can't be swept"),
        (["-m", "experiment=ablation,window"], "experiment=ablation,window: one experiment"),
    ],
)
def test_invalid_command_lines(arguments, says):
    (fault,) = faults(*arguments)
    assert says in fault
