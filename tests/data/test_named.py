"""Data sets that ultralytics defines: found, downloaded completely, or refused with the place for the files."""

from __future__ import annotations

import io
import shutil
import sys
import urllib.error
import zipfile
from pathlib import Path

import pytest

from acmix_exp import child
from acmix_exp.child import USER_SETTINGS_VARIABLE, child_environment
from acmix_exp.config import DatasetConfig
from acmix_exp.data import find, inspect, resolve
from acmix_exp.data.find import DEFINITIONS
from acmix_exp.data.ultralytics_home import datasets_dir, definition
from acmix_exp.errors import ConfigError
from tests.data.builders import YoloSet, tree_state


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ultralytics settings of a user, whose datasets folder does not exist yet."""
    file = tmp_path / "home" / "Ultralytics" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"datasets_dir": "{tmp_path / "sets"}", "wandb": true}}')
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.delenv("YOLO_OFFLINE", raising=False)
    return file


def zipped(folder: Path, top: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}/{path.relative_to(folder)}")
        archive.writestr(f"{top}/../../escaped.txt", "no")
    return stream.getvalue()


def test_every_definition_is_found_without_an_import() -> None:
    pytest.importorskip("yaml")
    before = set(sys.modules)
    for file in DEFINITIONS.values():
        path = definition(file)
        assert path is not None
        assert path.name == file
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("ultralytics", "torch")}


def test_found_in_the_users_datasets_folder(yolo_set: YoloSet, settings: Path, tmp_path: Path) -> None:
    shutil.copytree(yolo_set.root, tmp_path / "sets" / "coco8")
    before = tree_state(settings.parent)
    dataset = resolve(DatasetConfig(name="coco8"))
    assert dataset.name == "coco8"
    assert len(dataset.names) == 80
    assert inspect(dataset).counts["train"]["person"] == 3
    assert tree_state(settings.parent) == before


@pytest.mark.parametrize("inner", ["", "coco8"], ids=["itself", "parent"])
def test_found_in_root(inner: str, yolo_set: YoloSet, settings: Path, tmp_path: Path) -> None:
    shutil.copytree(yolo_set.root, tmp_path / "root" / inner)
    dataset = resolve(DatasetConfig(name="coco8", root=str(tmp_path / "root")))
    assert dataset.source == tmp_path / "root" / inner


def test_downloaded_completely(
    yolo_set: YoloSet, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = zipped(yolo_set.root, "coco8")
    urls = []

    def answer(url: str, timeout: float) -> io.BytesIO:
        urls.append(url)
        return io.BytesIO(data)

    monkeypatch.setattr(find.urllib.request, "urlopen", answer)
    dataset = resolve(DatasetConfig(name="coco8"))
    assert dataset.source == tmp_path / "sets" / "coco8"
    assert len(dataset.splits["train"]) == 3
    resolve(DatasetConfig(name="coco8"))
    assert len(urls) == 1
    assert urls[0].endswith("/coco8.zip")
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize("answer", [b"<html>", urllib.error.URLError("no route"), TimeoutError("timed out")])
def test_failed_download_says_where_to_put_the_files(
    answer: bytes | Exception, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reply(url: str, timeout: float) -> io.BytesIO:
        if isinstance(answer, Exception):
            raise answer
        return io.BytesIO(answer)

    monkeypatch.setattr(find.urllib.request, "urlopen", reply)
    check_failure("coco8", tmp_path / "sets" / "coco8", "images/train, images/val, labels/train, labels/val")
    assert not (tmp_path / "sets").exists()


def check_failure(name: str, folder: Path, files: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(DatasetConfig(name=name))
    message = str(caught.value)
    assert message.startswith(f"dataset.name={name}: not in {folder.parent}, and the download failed (")
    assert f"; {files} must be in {folder}, or in FOLDER with dataset.root=FOLDER" in message
    assert "\n" not in message


def test_no_download_if_offline(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setattr(find.urllib.request, "urlopen", lambda *_, **__: pytest.fail("used the network"))
    monkeypatch.setattr(find, "run_child", lambda *_, **__: pytest.fail("started a child"))
    check_failure("coco128", tmp_path / "sets" / "coco128", "images/train2017, labels/train2017")
    check_failure("visdrone", tmp_path / "sets" / "VisDrone", "images/train, images/val, labels/train, labels/val")


def test_download_script_leaves_the_users_settings_unchanged(
    yolo_set: YoloSet, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child is replaced by one that does what ultralytics' script does: fill its datasets folder."""
    code = (
        "import json, os, pathlib, shutil, sys\n"
        "file = pathlib.Path(os.environ['YOLO_CONFIG_DIR'], 'Ultralytics', 'settings.json')\n"
        "place = pathlib.Path(json.loads(file.read_text())['datasets_dir'])\n"
        f"shutil.copytree({str(yolo_set.root)!r}, place / 'VisDrone')\n"
    )
    _child_runs(monkeypatch, code)
    before = tree_state(settings.parent)
    dataset = resolve(DatasetConfig(name="visdrone"))
    assert dataset.source == tmp_path / "sets" / "VisDrone"
    assert len(dataset.splits["train"]) == 3
    assert [path.name for path in (tmp_path / "sets").iterdir()] == ["VisDrone"]
    assert tree_state(settings.parent) == before


def _child_runs(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    body = "".join(f"    {line}\n" for line in code.splitlines())
    code = f"from acmix_exp.worker import serve\ndef work(job):\n{body}raise SystemExit(serve(lambda: work))"
    monkeypatch.setattr(child, "command", lambda task, folder: [sys.executable, "-c", code])


def test_script_that_fails(settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _child_runs(monkeypatch, "raise OSError('the host is away')\n")
    with pytest.raises(ConfigError, match=r"the download failed \(OSError: the host is away\); train2017\.txt"):
        resolve(DatasetConfig(name="coco"))
    assert not (tmp_path / "sets").exists()


def test_incomplete_data_set_is_not_written_into(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "sets" / "coco8" / "images" / "train").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"coco8 is incomplete; must contain images/train, images/val"):
        resolve(DatasetConfig(name="coco8"))


def test_datasets_folder_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert datasets_dir() == tmp_path / "datasets"


def test_a_child_with_private_settings_reads_the_users(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child_environment(1, None, {}) as variables:
        for name in ("YOLO_CONFIG_DIR", USER_SETTINGS_VARIABLE):
            monkeypatch.setenv(name, variables[name])
        assert variables["YOLO_CONFIG_DIR"] != str(tmp_path / "home")
        assert datasets_dir() == tmp_path / "sets"


def test_datasets_folder_of_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_CONFIG_DIR")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "Ultralytics").mkdir()
    (tmp_path / "Ultralytics" / "settings.json").write_text('{"datasets_dir": "/data/sets"}')
    assert datasets_dir() == Path("/data/sets")
