"""What people give to ``acmix_exp.load`` and ``acmix_exp.build``: one line that names the argument."""

from __future__ import annotations

from pathlib import Path

import pytest

import acmix_exp
from acmix_exp.errors import ConfigError
from tests.report import builders
from tests.robustness.cases import Row, add

WRONG_FOLDERS = {
    "": (
        "the folder of all experiments",
        "one line that names the experiments in it",
        "one of the experiments in it: demo",
    ),
    "nothing": ("a folder that does not exist", "one line", "no such folder; must be the folder of an experiment"),
    "demo/RUN": (
        "one run's folder",
        "one line that names its experiment",
        "is a run; must be the folder of its experiment",
    ),
    "demo/RUN/weights": ("a folder of something else", "one line", "holds no runs; must be one that does"),
}
WRONG_ARGUMENTS = {
    "`build` of a model that does not exist": ({"model": "yolov8q"}, "model=yolov8q: no such model; did you mean "),
    "`build` with a block that does not exist": ({"block": "acmx"}, "block=acmx: must be one of acmix, "),
    "`build` with a misspelt option of a block": ({"hed": 4}, "block.hed=4: unknown key; did you mean block.head?"),
    "`build` with an option that does not fit the width": (
        {"head": 3},
        "block.head=3: must divide the channels of every ",
    ),
    "`build` with a placement that does not exist": (
        {"placement": "p4"},
        "placement=p4: must be one of backbone_p3p4p5, ",
    ),
    "`build` with a site that the network lacks": (
        {"placement": ["psa"]},
        "sites=psa: yolov8n has no such site; must be ",
    ),
}
for have, here, _ in WRONG_FOLDERS.values():
    add(Row("Python", f"`load` of {have}", here))
for have in WRONG_ARGUMENTS:
    add(Row("Python", have, "one line that names what is valid"))


@pytest.mark.parametrize("folder", WRONG_FOLDERS)
def test_a_folder_without_runs_is_refused_in_one_line(folder: str, tmp_path: Path) -> None:
    run = builders.add_run(tmp_path / "demo", "baseline", 0, epochs=2, pictures=False)
    (run / "weights").mkdir(exist_ok=True)
    path = tmp_path / folder.replace("RUN", run.name)
    with pytest.raises(ConfigError) as refusal:
        acmix_exp.load(path)
    assert str(refusal.value).startswith(f"folder={path}: ")
    assert WRONG_FOLDERS[folder][2] in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("have", WRONG_ARGUMENTS)
def test_what_cannot_be_built_is_refused_in_one_line(have: str) -> None:
    arguments, words = WRONG_ARGUMENTS[have]
    with pytest.raises(ConfigError) as refusal:
        acmix_exp.build(**arguments)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
