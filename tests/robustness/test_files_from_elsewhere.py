"""What a copied run folder or data set holds is data: read, shown as text, and never run."""

from __future__ import annotations

import json
import os
import pickle
import tarfile
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from acmix_exp import config, custom_block
from acmix_exp.config import DatasetConfig
from acmix_exp.data import resolve
from acmix_exp.errors import ConfigError
from acmix_exp.outcomes import Outcomes
from acmix_exp.report.build import build
from acmix_exp.report.figures.detections import predictions
from acmix_exp.report.page_data import page_data
from acmix_exp.report.table import make_tables
from acmix_exp.run.replicates import FILE as REPLICATES
from acmix_exp.run.replicates import replicates
from tests.report.builders import add_run
from tests.robustness.cases import case
from tests.robustness.commands import tiny_data
from tests.robustness.evil_files import SHELL, TRACE, Calls, command
from tests.yolo.builders import make_config as a_config

SECTION = "Checkpoints"
ARCHIVE = Path(__file__).parents[1] / "fixtures" / "version_0_1.tar.xz"
TAG = f"!!python/object/apply:os.system ['{SHELL}']"


@case(
    SECTION,
    have="a copied config.yaml that asks for `${oc.env:SECRET}`, or holds `${` in a path",
    here="`${` is text there: nothing is looked up",
)
def test_a_config_is_not_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    path = tmp_path / "config.yaml"
    for asked in ("${oc.env:SECRET}", "a ${seed}", r"b \${seed}", "${oc.decode:'1+1'}", "${hydra:runtime.cwd}", "$x"):
        written = a_config(name=asked, dataset__path=asked, block={"name": "acmix", "note": asked}, tags=[asked])
        path.write_text(OmegaConf.to_yaml(asdict(written)))
        assert config.load(path) == config.from_plain(asdict(written)) == written


@pytest.mark.parametrize("line", ["_target_: os.system", "hydra: {run: {dir: /}}", f"name: {TAG}"])
@case(SECTION, have="a copied config.yaml with `_target_` or a Python tag", here="refused; nothing is called")
def test_a_config_calls_nothing(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(f"seed: 0\n{line}\n")
    with pytest.raises((OmegaConfBaseException, yaml.YAMLError)):
        config.load(path)
    assert not (tmp_path / TRACE).exists()


@case(SECTION, have="a data.yaml with a Python tag", here="refused with its line; nothing is called")
def test_a_data_yaml_with_a_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = tiny_data(tmp_path / "set")
    data.write_text(f"{data.read_text()}more: {TAG}\n")
    with pytest.raises(ConfigError, match=r"data\.yaml"):
        resolve(DatasetConfig(name="yolo", path=str(data)))
    assert not (tmp_path / TRACE).exists()


@case(SECTION, have="a data.yaml with a script under `download`", here="read; the script is not run")
def test_a_data_yaml_with_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = tiny_data(tmp_path / "set")
    for script in (f"import os; os.system('{SHELL}')", f"bash {SHELL}"):
        data.write_text(f'{data.read_text()}\ndownload: "{script}"\n')
        assert resolve(DatasetConfig(name="yolo", path=str(data))).names == {0: "square"}
        data.write_text(data.read_text().replace("images/val", "images/missing"))
        with pytest.raises(ConfigError):
            resolve(DatasetConfig(name="yolo", path=str(data)))
        data.write_text(data.read_text().replace("images/missing", "images/val").partition("\ndownload")[0])
    assert not (tmp_path / TRACE).exists()


@case(SECTION, have="a copied .npz file whose arrays are pickled objects", here="not unpickled: a damaged file")
def test_arrays_with_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = np.array([Calls(os.system, SHELL)], dtype=object)
    names = Outcomes.__dataclass_fields__
    np.savez(tmp_path / "outcomes.npz", **dict.fromkeys(names, evil))
    np.savez(tmp_path / REPLICATES, **dict.fromkeys(("stamp", "map50_95"), evil))
    with pytest.raises(ValueError, match="allow_pickle"):
        Outcomes.load(tmp_path / "outcomes.npz")
    replicates(tmp_path, "f" * 64, "val")
    (tmp_path / "outcomes.npz").write_bytes(pickle.dumps(Calls(os.system, SHELL)))
    with pytest.raises(ValueError, match="pickle"):
        Outcomes.load(tmp_path / "outcomes.npz")
    assert not (tmp_path / TRACE).exists()


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>"
LATEX = r"\input{/etc/passwd}$\frac{$"


@pytest.mark.slow
@case(
    SECTION,
    have="a copied run whose arm, classes, errors or versions hold HTML, LaTeX or mathtext",
    here="shown as typed, in report.html, table.tex and the figures",
)
def test_names_with_markup(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "test"
    for seed, error in ((0, None), (1, MARKUP)):
        for arm in ("baseline", "mixed"):
            path = add_run(folder, arm, seed, epochs=2)
            label = "baseline" if arm == "baseline" else f"{MARKUP}{LATEX}"
            for name in ("status.json", "result.json", "provenance.json"):
                content = json.loads((path / name).read_text())
                content |= {"arm": label, "error": error, "command": MARKUP, "versions": {MARKUP: MARKUP}}
                text = json.dumps(content).replace("RBC", json.dumps(MARKUP + LATEX)[1:-1])
                (path / name).write_text(text)
            for images in path.glob("images/*.json"):
                images.write_text(images.read_text().replace("RBC", json.dumps(MARKUP + LATEX)[1:-1]))
    report = build(folder)
    assert [figure.error for figure in report.figures if figure.error] == []
    page = (folder / "report.html").read_text()
    assert page.count("<script") == 2, "the page's own data and script"
    assert page.count("</script") == 2
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "default-src 'none'" in page
    lines = (folder / "table.tex").read_text().split("\n")
    table = "\n".join(line for line in lines if not line.startswith("%"))  # without comments
    assert r"\input" not in table
    assert "textbackslash{}input" in table


@case(
    SECTION,
    have="a copied run whose images.json names a file outside of its folder",
    here="not opened: a report holds nothing but what is in the run's images/",
)
def test_images_outside_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "test"
    path = add_run(folder, "baseline", 0, epochs=2)
    secret = tmp_path / "secret.jpg"
    cv2.imwrite(str(secret), np.zeros((64, 64, 3), np.uint8))
    images = path / "images" / "images.json"
    content = json.loads(images.read_text())
    for name in (str(secret), "../../../../secret.jpg"):
        for entry in content["images"]:
            entry["file"] = name
        images.write_text(json.dumps(content))
        with pytest.raises(FileNotFoundError):
            next(iter(predictions(make_tables(folder)[0])))
        assert json.loads(page_data(make_tables(folder)))["photos"] == {}


@case(
    SECTION,
    have="old or copied runs without stored images, history or outcomes",
    here="the page is made without the parts that need them",
)
def test_runs_without_images_history_and_outcomes(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "test"
    for arm in ("baseline", "mixed"):
        (add_run(folder, arm, 0, epochs=2, pictures=False) / "history.csv").unlink()
    assert [figure.error for figure in build(folder).figures if figure.error] == []
    page = (folder / "report.html").read_text()
    assert 'id="images"' not in page
    assert 'id="curves"' not in page
    assert 'class="overview"' in page


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A working folder with a copied run that names a module there, which leaves a trace when it is imported."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs", filter="data")
    (path,) = tmp_path.glob("runs/*/mixed-s0-*")
    values = yaml.safe_load((path / "config.yaml").read_text())
    values["block"] = {"name": "custom", "target": "their_block.Block"}
    (path / "config.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "their_block.py").write_text(f"open({TRACE!r}, 'w').close()\nfrom torch.nn import Identity as Block\n")
    return path


@pytest.mark.slow
@case(
    SECTION,
    have="a copied run whose config.yaml names a block of its author, with the module beside it or in the working "
    "folder, for `task=evaluate`, `export` or `repeat`",
    here="one line that names the module's file; it is imported if the command names it in block.target, or an earlier "
    "one of this machine did, and that is said",
)
def test_a_module_that_a_copied_run_names(copied: Path, tmp_path: Path) -> None:
    for task in ("evaluate", "repeat", "export format=torchscript"):
        done = command(tmp_path, *f"task={task}".split(), f"run={copied}")
        assert done.returncode == 2, done.stderr
        assert "needs block.target=their_block.Block, and no command on this machine has named" in done.stderr
        assert f"{tmp_path / 'their_block.py'} as it is now" in done.stderr
        assert not (tmp_path / TRACE).exists()
    # The module in the run's own folder is not even found.
    (tmp_path / "their_block.py").rename(copied / "their_block.py")
    done = command(tmp_path, "task=evaluate", f"run={copied}")
    assert done.returncode == 2
    assert "no module their_block in" in done.stderr
    (copied / "their_block.py").rename(tmp_path / "their_block.py")
    done = command(tmp_path, "task=report", "name=version_0_1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / TRACE).exists()
    done = command(tmp_path, "task=evaluate", f"run={copied}", "block=custom", "block.target=their_block.Block")
    assert f"block.target=their_block.Block: imports {tmp_path / 'their_block.py'}" in done.stderr


def test_a_module_that_changed_is_no_longer_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "own_block.py").write_text("x = 1\n")
    block = {"name": "custom", "target": "own_block.Block"}
    assert not custom_block.is_known("own_block.Block")
    custom_block.announce(block)
    assert f"imports {tmp_path / 'own_block.py'}" in capsys.readouterr().err
    assert custom_block.is_known("own_block.Block")
    assert not custom_block.is_known("own_block.Other")
    (tmp_path / "own_block.py").write_text("x = 2\n")
    assert not custom_block.is_known("own_block.Block")
