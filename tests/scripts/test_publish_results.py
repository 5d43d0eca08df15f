"""scripts/publish_results.py: what is published of an experiment, and what stays on the machine."""

from __future__ import annotations

import importlib.util
import json
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from acmix_exp.report.planned import Asked
from acmix_exp.report.write import write_summary
from tests.report import builders

SCRIPT = Path(__file__).parents[2] / "scripts" / "publish_results.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("publish_results", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with a report without figures."""
    module = script()

    def build(folder: Path, asked: Asked) -> None:
        write_summary(folder, asked)
        (folder / "report.html").write_text(f"against {asked.reference}")
        (folder / "figures").mkdir()
        for name in ("forest.png", "forest.svg", "rates.png"):
            (folder / "figures" / name).write_bytes(b"")

    monkeypatch.setattr(module, "build", build)
    return module


def unpacked(published: Path) -> Path:
    """The experiment's folder as the archive of a publication holds it."""
    with tarfile.open(published / "runs.tar.xz") as archive:
        archive.extractall(published / "unpacked", filter="data")
    (folder,) = (published / "unpacked").iterdir()
    return folder


def change(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/jane/x/d.yaml", ".../d.yaml"),
        ("/home/jane doe/x/d.yaml", ".../d.yaml"),
        ("/home/jane+a, b/x/d.yaml", ".../d.yaml"),
        ("~/x/d.yaml", ".../d.yaml"),
        ("~jane/x/d.yaml", ".../d.yaml"),
        ("../x/d.yaml", ".../d.yaml"),
        ("/home/jane/x/", ".../x"),
        ("file:///home/jane/d.yaml", ".../d.yaml"),
        ("https://h.org/a/b", "https://h.org/a/b"),
        (".../d.yaml", ".../d.yaml"),
        ("data/d.yaml", "data/d.yaml"),
        ("and/or", "and/or"),
        ("AMD EPYC / 2 cores / 8 GiB", "AMD EPYC / 2 cores / 8 GiB"),
    ],
)
def test_the_path_of_a_value(publish: ModuleType, text: str, kept: str) -> None:
    assert publish.cleaned({"deep": [{"value": text}]}) == {"deep": [{"value": kept}]}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no such file: '/home/jane doe/x, y/z.pt'", "no such file: '.../z.pt'"),
        ("/home/jane doe/x/z.pt is missing", ".../z.pt is missing"),
        ("/a/b and /c/d, /e/f:/g/h", ".../b and .../d, .../f:.../h"),
        ("see https://h.org/a/b and 3/4 of /dev/shm/x", "see https://h.org/a/b and 3/4 of /dev/shm/x"),
    ],
)
def test_paths_in_a_sentence(publish: ModuleType, text: str, kept: str) -> None:
    assert publish.cleaned({"error": text}) == {"error": kept}


def test_paths_in_a_command(publish: ModuleType) -> None:
    command = "python -m acmix_exp 'dataset.path=/home/jane doe/d.yaml' model.pretrained=/a+b/c.pt 'seed=range(0,2)'"
    kept = "python -m acmix_exp dataset.path=.../d.yaml model.pretrained=.../c.pt 'seed=range(0,2)'"
    assert publish.cleaned({"command": command}) == {"command": kept}


def test_no_text_about_the_machine_is_copied(publish: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "runs" / "jane", tmp_path / "results"
    paths = builders.add_runs(source, ("baseline", "mixed"), seeds=2, epochs=2)
    for path in paths:
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["model"]["pretrained"] = "/secret place/yolov8n.pt"
        config["dataset"]["path"] = "/secret/d.yaml"
        config["train"]["extra"] = {"cfg": "/secret/deep/cfg.yaml"}
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        change(path / "status.json", host="secret-vm", owner=12345, pid=12345)
        git = {"commit": "3e6d516", "dirty": True, "diff": "provenance.diff", "diff_complete": True}
        change(path / "provenance.json", git=git, command="python /secret/x/acmix_exp 'a=/secret place/b'")
        (path / "provenance.diff").write_text(
            "diff --git a/x.py b/x.py\n--- /dev/null\n+++ b/x.py\n+FILE = '/secret/deep/z.npz'\n"
        )
        (path / "weights").mkdir()
    lines = publish.publish(source, target)
    folder = unpacked(target)
    assert folder.name == "jane"
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    for path in target.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path
        assert path.suffix != ".pt"
    mixed = next(path for path in folder.iterdir() if path.name.startswith("mixed-s0"))
    config = yaml.safe_load((mixed / "config.yaml").read_text())
    assert config["model"]["pretrained"] == ".../yolov8n.pt"
    assert (config["dataset"]["path"], config["train"]["extra"]["cfg"]) == (".../d.yaml", ".../cfg.yaml")
    diff = (mixed / "provenance.diff").read_text()
    assert diff == "diff --git a/x.py b/x.py\n--- /dev/null\n+++ b/x.py\n+FILE = '.../z.npz'\n"
    assert json.loads((mixed / "provenance.json").read_text())["git"]["diff_complete"] is False
    assert any("provenance.diff" in line for line in lines)
    assert {path.parent.name.split("-")[1] for path in folder.glob("*/images")} == {"s0"}


def test_unfinished_runs_are_included_and_named(publish: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "runs" / "demo", tmp_path / "results"
    paths = builders.add_runs(source, ("baseline", "mixed"), seeds=3, epochs=2, pictures=False)
    change(paths[1] / "status.json", status="failed", error="no space left on /secret/disk/x")
    (paths[1] / "result.json").unlink()
    change(paths[2] / "status.json", status="interrupted")
    lines = publish.publish(source, target)
    assert lines[0].endswith("4 finished runs and their report")
    assert lines[1] == "unfinished runs, included as they are: 1 failed, 1 interrupted"
    assert len(list(unpacked(target).iterdir())) == 6
    assert "baseline seed 1 is failed: no space left on .../x" in (target / "summary.md").read_text()


@pytest.mark.parametrize("error", [None, "NonFiniteLoss: loss is not finite (nan) in epoch 3"])
def test_a_run_that_diverged_has_diverged_in_the_publication_too(
    publish: ModuleType, tmp_path: Path, error: str | None
) -> None:
    source, target = tmp_path / "runs" / "demo", tmp_path / "results"
    paths = builders.add_runs(source, ("baseline", "mixed"), seeds=2, epochs=2, pictures=False)
    if error:
        change(paths[3] / "status.json", status="failed", error=error)
        (paths[3] / "result.json").unlink()
    else:
        change(paths[3] / "result.json", metrics={"map50_95": float("nan"), "map50": 0.5})
    publish.publish(source, target)
    write_summary(unpacked(target))
    for folder in (target, target / "unpacked" / "demo"):
        assert "1 of 2 runs diverged" in (folder / "summary.md").read_text()


@pytest.mark.parametrize(("keys", "reference"), [({"report": {"reference": "mixed"}}, "mixed"), ({}, "baseline")])
def test_the_reference_is_read_from_configs_of_any_version(
    publish: ModuleType, tmp_path: Path, keys: dict[str, object], reference: str
) -> None:
    source, target = tmp_path / "runs" / "demo", tmp_path / "results"
    for path in builders.add_runs(source, ("baseline", "mixed"), seeds=1, epochs=2, pictures=False):
        config = yaml.safe_load((path / "config.yaml").read_text())
        config["model"]["a_key_of_an_older_version"] = 1
        (path / "config.yaml").write_text(yaml.safe_dump({**config, **keys}))
    publish.publish(source, target)
    assert (target / "report.html").read_text() == f"against {reference}"


def test_a_second_publication_replaces_the_first(publish: ModuleType, tmp_path: Path) -> None:
    source, target = tmp_path / "runs" / "demo", tmp_path / "results"
    builders.add_runs(source, ("baseline",), seeds=1, epochs=2, pictures=False)
    (target / "figures").mkdir(parents=True)
    (target / "figures" / "old.png").write_bytes(b"")
    (target / "runs.tar.xz").write_bytes(b"old")
    (target / "README.md").write_text("by hand")
    (source / "profile.json").write_text(json.dumps({"rows": [], "weights": "/secret/place/x.pt"}))
    publish.publish(source, target)
    published = {"README.md", "figures", "report.html", "runs.tar.xz", "table.tex"}
    assert {path.name for path in target.iterdir()} == published | {f"summary.{kind}" for kind in ("csv", "json", "md")}
    assert [path.name for path in (target / "figures").iterdir()] == ["forest.png"]
    assert (target / "README.md").read_text() == "by hand"
    folder = unpacked(target)
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["profile.json"]
    assert json.loads((folder / "profile.json").read_text()) == {"rows": [], "weights": ".../x.pt"}


def test_the_same_runs_give_the_same_archive(publish: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "runs" / "demo"
    paths = builders.add_runs(source, ("baseline", "mixed"), seeds=1, epochs=2)
    (paths[1] / "outcomes.npz").write_bytes(b"damaged")
    publish.publish(source, tmp_path / "first")
    with tarfile.open(tmp_path / "first" / "runs.tar.xz") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.mtime, entry.uid, entry.uname, entry.mode) for entry in entries} == {(0, 0, "", 0o644)}
    folder = unpacked(tmp_path / "first")
    assert (folder / paths[1].name / "outcomes.npz").read_bytes() == b"damaged"
    publish.publish(folder, tmp_path / "second")
    assert (tmp_path / "second" / "runs.tar.xz").read_bytes() == (tmp_path / "first" / "runs.tar.xz").read_bytes()


def test_a_folder_without_finished_runs_is_refused(publish: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no finished run; it must be an experiment's folder"):
        publish.publish(tmp_path, tmp_path / "results")
    assert not (tmp_path / "results").exists()
