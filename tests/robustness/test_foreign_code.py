"""Folders and files that are imported, or read, in place of those of an installed package."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmix_exp import installed
from acmix_exp.errors import ConfigError
from acmix_exp.installed import Module
from acmix_exp.sweep.compose import compose_cells
from tests.robustness.cases import case
from tests.robustness.commands import COMMON, finish, only_run, tiny_data

SECTION = "Installed packages"
TASKS = ("train", "plan", "profile", "evaluate", "judge", "export", "repeat", "report")


@pytest.fixture(autouse=True)
def _looked_up_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    installed.in_children.cache_clear()
    yield
    installed.in_children.cache_clear()


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ultralytics_in(folder: Path, version: str = "8.4.190") -> Path:
    return write(folder / "ultralytics" / "__init__.py", f'__version__ = "{version}"\n').parent


def faults(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose_cells(arguments)
    return caught.value.lines


def command(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [os.environ["PYTHONPATH"], *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(reversed(paths))}
    line = [sys.executable, "-m", "acmix_exp", *arguments]
    return subprocess.run(line, cwd=folder, env=environment, text=True, capture_output=True, timeout=100, check=False)


# in the working folder, on PYTHONPATH


@case(
    SECTION,
    have="a modified `ultralytics/` in the working folder",
    here="refused by every task with its absolute path, before anything is written",
    reported="ultralytics #6960, #9441, #18121",
)
@pytest.mark.parametrize("task", TASKS)
def test_ultralytics_in_the_working_folder(tmp_path: Path, task: str) -> None:
    place = ultralytics_in(tmp_path)
    (line,) = faults(f"task={task}")
    assert line.startswith(f"ultralytics: {place} would be imported in place of the installed package; move it")
    assert "allow_foreign_ultralytics=true" in line
    assert list(tmp_path.iterdir()) == [place]


@case(
    SECTION,
    have="`torch/`, `yaml.py`, `numpy/`, `random.py`, `queue.py` in the working folder",
    here="refused with its absolute path",
)
@pytest.mark.parametrize("file", ["torch/__init__.py", "yaml.py", "numpy/__init__.py", "random.py", "six.py"])
def test_other_modules_in_the_working_folder(tmp_path: Path, file: str) -> None:
    name = file.split("/")[0].removesuffix(".py")
    place = write(tmp_path / file)
    (module,) = installed.found(installed.child_path())
    assert module == Module(name, str(place.parent if place.name == "__init__.py" else place), "foreign")


def test_a_command_in_such_a_folder_ends_in_one_line(tmp_path: Path) -> None:
    place = write(tmp_path / "queue.py", 'raise RuntimeError("mine")\n')
    done = command(tmp_path, "arm=baseline")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"acmix_exp: queue: {place} would be imported in place of the module of Python; ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [place]


@case(
    SECTION,
    have="`json.py`, `typing.py`, `signal.py`, `struct.py` in the working folder, which the command itself needs",
    here="one line with the absolute path, exit code 2, no traceback",
)
@pytest.mark.parametrize("file", ["json.py", "typing.py", "urllib/__init__.py"])
def test_what_the_first_imports_need(tmp_path: Path, file: str) -> None:
    place = write(tmp_path / file, 'raise RuntimeError("mine")\n')
    name, path = place.relative_to(tmp_path).parts[0].removesuffix(".py"), tmp_path / file.split("/")[0]
    done = command(tmp_path, "task=plan")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"acmix_exp: {name}: {path} would be imported in place of the module of Python; move it or start in another "
        "folder\n"
    )


@case(
    SECTION,
    have="scripts `test.py`, `code.py`, a folder `ultralytics/` or `yaml/` without `__init__.py`",
    here="not imported, so not refused",
)
def test_what_is_not_imported_is_not_refused(tmp_path: Path) -> None:
    for file in ("test.py", "code.py", "train.py", "utils/__init__.py", "ultralytics/cfg/my.yaml", "yaml/a.yaml"):
        write(tmp_path / file)
    assert installed.found(installed.child_path()) == []


@case(
    SECTION,
    have="a package in a folder or a zip file on PYTHONPATH",
    here="refused with its path; the line names the entry to take off the import path",
)
@pytest.mark.parametrize("name", ["yaml", "random"])
def test_in_a_zip_file(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "modules.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.py", "")
    path = installed.child_path()
    (module,) = installed.found([str(archive), *path])
    assert module == Module(name, str(archive / f"{name}.py"), "foreign")
    (line,) = installed.refusals([module], allowed=False)
    assert f"take {archive} off the import path" in line


@case(
    SECTION,
    have="a sitecustomize that adds a folder or a finder of modules, a .pth file that inserts one",
    here="what it leads to is refused with its path",
)
@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.path.insert(1, {folder!r})",
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None):\n"
        "        return PathFinder.find_spec(name, [{folder!r}]) if name == 'ultralytics' else None\n"
        "sys.meta_path.insert(0, Finder)\n",
    ],
    ids=["path", "finder"],
)
def test_by_sitecustomize(tmp_path: Path, text: str) -> None:
    place = ultralytics_in(tmp_path / "elsewhere")
    write(tmp_path / "startup" / "sitecustomize.py", text.format(folder=str(place.parent)))
    done = command(tmp_path, "task=plan", "arm=baseline", path=tmp_path / "startup")
    assert done.returncode == 2
    assert done.stderr.startswith(f"acmix_exp: ultralytics: {place} would be imported in place of the installed")


@case(
    SECTION,
    have="a module that appears, or is imported, after the plan was made",
    here="the training process looks at what it really imported, and refuses it",
)
@pytest.mark.parametrize("name", ["dateutil", "fractions"])
def test_what_a_child_has_imported_is_looked_at(tmp_path: Path, name: str) -> None:
    place = write(tmp_path / f"{name}.py")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {name}; sys.path.pop(0)\n"
        "from acmix_exp.worker import _refuse_foreign; _refuse_foreign([])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], text=True, capture_output=True, cwd="/", check=False)
    assert f"ConfigError: {name}: {place} would be imported in place of the " in done.stderr


def test_a_child_looks_modules_up_where_the_parent_expects_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "mine"), os.environ["PYTHONPATH"]]))
    code = "import json, sys; from acmix_exp import installed; print(json.dumps([sys.path, installed.child_path()]))"

    def paths(environment: dict[str, str]) -> list[list[str]]:
        line = [sys.executable, "-c", code]
        done = subprocess.run(line, cwd=tmp_path, env=environment, text=True, capture_output=True, check=True)
        first, expected = json.loads(done.stdout)
        return [[str(tmp_path), *first[1:]], expected]

    _, expected = paths(dict(os.environ))
    actual, again = paths({**os.environ, "PYTHONPATH": installed.python_path()})
    assert actual == expected == again


# what is allowed, and how it is recorded


@case(
    SECTION,
    have="`allow_foreign_ultralytics=true`",
    here="used; the hash of its files is part of the run's identity, and provenance.json has path, version and hash",
)
def test_an_allowed_module_is_part_of_the_identity(tmp_path: Path) -> None:
    place = ultralytics_in(tmp_path)
    compose_cells(["allow_foreign_ultralytics=true", "arm=baseline"])
    before = installed.code(installed.in_children())
    assert list(before) == ["ultralytics"]
    write(place / "nn" / "block.py", "changed = True\n")
    assert installed.code(installed.in_children())["ultralytics"] != before["ultralytics"]


@case(SECTION, have="a foreign ultralytics of another version than the pin", here="refused, allowed or not")
def test_an_allowed_module_is_within_the_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)  # another test may have imported the installed one
    place = ultralytics_in(tmp_path, "8.3.40")
    (line,) = faults("allow_foreign_ultralytics=true", "arm=baseline")
    assert line == f"ultralytics: {place} is version 8.3.40; must be >=8.4.190,<8.5"


@case(
    SECTION,
    have="`yolov8.yaml` or `yolov8n.yaml` in the working folder, as people edit it to add a block",
    here="not read: the network is that of the installed ultralytics, changed by the config alone",
)
def test_a_network_in_the_working_folder_is_not_read(tmp_path: Path, make_config) -> None:
    from ultralytics.utils import ROOT

    from acmix_exp.yolo.model import build_model

    text = (ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text(encoding="utf-8")
    for name in ("yolov8.yaml", "yolov8n.yaml"):
        (tmp_path / name).write_text(f"activation: torch.nn.ReLU()\n{text}".replace("C2f", "C3"))
    for arm in ("baseline", "mixed"):
        model = build_model(make_config(f"arm={arm}"), nc=2)
        kinds = {type(module).__name__ for module in model.modules()}
        assert {"C2f", "SiLU"} <= kinds
        assert not {"C3", "ReLU"} & kinds


# installed packages: as they are, changed, editable


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages with an ultralytics whose RECORD has its files."""
    folder = tmp_path / "site-packages"
    place = ultralytics_in(folder)
    write(place / "nn" / "tasks.py", "default = 1\n")
    write(place / "cfg" / "default.yaml", "lr0: 0.01\n")
    rows = []
    for file in sorted(path for path in place.rglob("*") if path.is_file()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).decode().rstrip("=")
        rows.append(f"{file.relative_to(folder)},sha256={digest},{file.stat().st_size}\n")
    write(folder / "ultralytics-8.4.190.dist-info" / "RECORD", "".join(rows))
    write(folder / "ultralytics-8.4.190.dist-info" / "METADATA", "Name: ultralytics\nVersion: 8.4.190\n")
    monkeypatch.setattr(installed, "_installed_folders", lambda: [str(folder)])
    return folder


def judged(site_packages: Path, *first: Path) -> list[Module]:
    path = [*map(str, first), str(site_packages)]
    place = installed._locate("ultralytics", path)
    assert place is not None
    module = installed._judged("ultralytics", place)
    return [*([module] if module else []), *installed.modified(path)]


def edit_source(package: Path) -> str:
    write(package / "nn" / "tasks.py", "default = 2\n")
    return "ultralytics/nn/tasks.py"


def edit_source_unseen(package: Path) -> str:
    """Size and time of modification stay."""
    file = package / "nn" / "tasks.py"
    before = file.stat()
    edit_source(package)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "ultralytics/nn/tasks.py"


def edit_config(package: Path) -> str:
    write(package / "cfg" / "default.yaml", "lr0: 0.02\n")
    return "ultralytics/cfg/default.yaml"


def remove_file(package: Path) -> str:
    (package / "nn" / "tasks.py").unlink()
    return "ultralytics/nn/tasks.py"


def hide_behind_a_package(package: Path) -> str:
    """A package goes before a module of the same name."""
    write(package / "nn" / "tasks" / "__init__.py", "default = 2\n")
    return "ultralytics/nn/tasks/__init__.py"


def remove_metadata(package: Path) -> str:
    (package.parent / "ultralytics-8.4.190.dist-info").rename(package.parent / "moved")
    return "no ultralytics-VERSION.dist-info beside it"


@case(
    SECTION,
    have="a file of the installed ultralytics edited, added or removed, whatever its date; `cfg/default.yaml` too",
    here="refused, the file is named; or allowed and part of the identity",
)
@pytest.mark.parametrize(
    "change",
    [edit_source, edit_source_unseen, edit_config, remove_file, hide_behind_a_package, remove_metadata],
    ids=lambda change: change.__name__,
)
def test_an_installed_package_that_was_edited(site_packages: Path, change) -> None:
    assert judged(site_packages) == []
    about = change(site_packages / "ultralytics")
    (module,) = judged(site_packages)
    assert module == Module("ultralytics", str(site_packages / "ultralytics"), "modified", about)
    (line,) = installed.refusals([module], allowed=False)
    assert f"was changed ({about}); reinstall it, or add allow_foreign_ultralytics=true" in line


def by_url(site_packages: Path, source: Path) -> list[Path]:
    info = site_packages / "ultralytics-8.4.190.dist-info"
    write(info / "direct_url.json", json.dumps({"url": source.as_uri(), "dir_info": {"editable": True}}))
    return [source]


def by_link(site_packages: Path, source: Path) -> list[Path]:
    (site_packages / "ultralytics").symlink_to(source / "ultralytics")
    return []


def by_egg_link(site_packages: Path, source: Path) -> list[Path]:
    remove_metadata(site_packages / "ultralytics")
    write(site_packages / "ultralytics.egg-link", f"{source}\n.\n")
    return [source]


@case(
    SECTION,
    have="`pip install -e` of one's own ultralytics, or a link to it among the installed packages",
    here="counts as installed; the hash of its files is part of the run's identity, so an edit makes new runs",
)
@pytest.mark.parametrize("install", [by_url, by_link, by_egg_link], ids=lambda install: install.__name__)
def test_an_editable_install(tmp_path: Path, site_packages: Path, install) -> None:
    source = tmp_path / "my fork"
    (site_packages / "ultralytics").rename(tmp_path / "removed")
    place = ultralytics_in(source)
    first = install(site_packages, source)
    (module,) = judged(site_packages, *first)
    assert module.kind == "editable"
    assert installed.refusals([module], allowed=False) == []
    before = installed.code([module])
    write(place / "__init__.py", '__version__ = "8.4.190"  # edited\n')
    assert installed.code([module]) != before


# a real run


@pytest.mark.slow
@case(
    SECTION,
    have="runs of the installed and of a foreign ultralytics in one folder",
    here="different runs, never averaged; evaluate, export and repeat of the one are refused with the other",
)
def test_runs_of_a_foreign_ultralytics(tmp_path: Path) -> None:
    import shutil

    import ultralytics

    data = tiny_data(tmp_path / "set")
    place = tmp_path / "ultralytics"
    shutil.copytree(Path(ultralytics.__file__).parent, place, ignore=shutil.ignore_patterns("__pycache__"))
    conv = place / "nn" / "modules" / "conv.py"
    conv.write_text(conv.read_text().replace("default_act = nn.SiLU()", "default_act = nn.ReLU()"))
    allow = "allow_foreign_ultralytics=true"
    code, _, err = finish(tmp_path, data, "train.epochs=1", "name=foreign", allow)
    assert code == 0, err
    foreign = only_run(tmp_path, "foreign")
    facts = foreign.provenance()["imported"]["ultralytics"]
    assert (facts["path"], facts["kind"], facts["version"]) == (str(place), "foreign", ultralytics.__version__)
    assert foreign.provenance()["identity"]["code"] == {"ultralytics": facts["sha256"][:16]}
    place.rename(tmp_path / "aside")
    code, _, err = finish(tmp_path, data, "train.epochs=1", "name=stock")
    assert code == 0, err
    stock = only_run(tmp_path, "stock")
    assert stock.name != foreign.name
    assert "code" not in stock.provenance()["identity"]
    for task in ("evaluate", "repeat", "export"):
        done = command(tmp_path, f"task={task}", f"run={foreign.path}", *COMMON[3:4])
        assert done.returncode == 2
        assert "changed: the code of ultralytics (as installed, was hash " in done.stderr
    (tmp_path / "aside").rename(place)
    done = command(tmp_path, "task=evaluate", f"run={stock.path}", allow)
    assert (done.returncode, "changed: the code of ultralytics (hash " in done.stderr) == (2, True)
    done = command(tmp_path, "task=evaluate", f"run={foreign.path}", allow)
    assert done.returncode == 0, done.stderr
