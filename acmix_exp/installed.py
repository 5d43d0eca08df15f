"""Which file a module name stands for in the child processes, and whether it is that of an installed package.

A folder ``ultralytics/`` or a file ``random.py`` in the working folder, on PYTHONPATH, or on a path that a .pth file
or sitecustomize adds is imported in place of the installed package. Nothing is imported to find out, so this module
needs little more than ``sys`` and ``os``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import site
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES, BuiltinImporter, FrozenImporter, PathFinder
from typing import Any, NamedTuple

ALLOW = "allow_foreign_ultralytics"
PIN = ((8, 4, 190), (8, 5))  # of ultralytics: from the first version, below the second; as in pyproject.toml
PIN_TEXT = ">=8.4.190,<8.5"
DISTRIBUTIONS = {  # top-level module -> its distribution, if that has another name
    "PIL": "pillow",
    "antlr4": "antlr4-python3-runtime",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "hydra": "hydra-core",
    "mpl_toolkits": "matplotlib",
    "pynvml": "nvidia-ml-py",
    "thop": "ultralytics-thop",
    "yaml": "pyyaml",
}
PACKAGES = (  # what the command and its child processes import
    *("ultralytics", "torch", "torchvision", "triton", "torchgen", "functorch", "numpy", "scipy", "omegaconf", "wandb"),
    *("matplotlib", "rich", "jinja2", "markupsafe", "packaging", "sympy", "mpmath", "networkx", "typing_extensions"),
    *("filelock", "fsspec", "polars", "psutil", "requests", "urllib3", "certifi", "charset_normalizer", "idna"),
    *("pygments", "markdown_it", "mdurl", "pydantic", "pydantic_core", "click", "platformdirs", "onnx", "onnxruntime"),
    *("cycler", "contourpy", "fontTools", "kiwisolver", "pyparsing", "six", "annotated_types", "typing_inspection"),
    *DISTRIBUTIONS,
)
HEAVY = ("ultralytics", "torch", "torchvision", "triton", "torchgen", "functorch", "cv2", "wandb")  # not in the parent
# Modules of the standard library that none of the processes imports, and whose names users give to their own files.
UNUSED = frozenset(
    (
        *("antigravity", "cmd", "code", "codeop", "crypt", "doctest", "getopt", "idlelib", "imp", "optparse", "pdb"),
        *("pipes", "sched", "shelve", "test", "this", "tkinter", "trace", "turtle", "uu", "venv", "wave", "webbrowser"),
        *("xmlrpc", "zipapp"),
    )
)


class Module(NamedTuple):
    """A module that is not simply the file of an installed package."""

    name: str
    path: str  # absolute: the folder of a package, or a file
    kind: str  # foreign | editable (pip install -e) | modified (files of the installed package were changed)
    about: str = ""  # of kind modified: one of its changed files


def python_path() -> str:
    """PYTHONPATH of a child process: the user's, and behind it the folder of this package if it is not installed."""
    given = os.environ.get("PYTHONPATH")
    own = [] if any(_same(_OWN_PARENT, folder) for folder in _installed_folders()) else [_OWN_PARENT]
    return os.pathsep.join([*([given] if given else []), *own])


def child_path() -> list[str]:
    """``sys.path`` of a child process that starts now: the working folder comes first, as with ``python -m``."""
    first = [] if os.environ.get("PYTHONSAFEPATH") else [os.getcwd()]
    rest = sys.path[0 if sys.flags.safe_path else 1 :]
    added = [entry for entry in python_path().split(os.pathsep)[-1:] if entry == _OWN_PARENT]
    start = next((i for i, entry in enumerate(rest) if _is_standard(entry)), 0)
    return list(dict.fromkeys([*first, *rest[:start], *added, *rest[start:]]))


def found(path: Sequence[str], own: Collection[str] = ()) -> list[Module]:
    """Every module that is looked up in ``path`` and is not simply installed, and every such module imported so far.

    own: modules that the user names, for which being imported in place of an installed one is no fault.
    """
    names = dict.fromkeys([*PACKAGES, *_shadows_of_standard_library(path)])
    modules = [module for name in names if (place := _locate(name, path)) and (module := _judged(name, place))]
    known = {module.name for module in modules} | {*own, "acmix_exp"}
    for name, imported in list(sys.modules.items()):
        place = None if "." in name or name in known else _place(getattr(imported, "__spec__", None))
        if place and (name in names or _is_shadow(name, place)) and (judged := _judged(name, place)):
            modules.append(judged)
    return modules


def refusals(modules: Iterable[Module], *, allowed: bool, foreseen: bool = True) -> list[str]:
    """A line for every module that must not be used. Editable installs, and with ``allowed`` the others, may be used.

    ultralytics must be of a supported version in any case, because inner functions of it are used. foreseen: false in
    a child process, for modules that its parent did not know of: these are in no identity, so nothing allows them.
    """
    modules = list(modules)
    lines = [_refusal(module, foreseen) for module in modules if module.kind != "editable" and not allowed]
    place, imported = _locate("ultralytics", child_path()), sys.modules.get("ultralytics")
    version = getattr(imported, "__version__", None) or (place and written_version(place))
    if not lines and version and not is_supported(version):
        lines.append(f"ultralytics: {place} is version {version}; must be {PIN_TEXT}")
    return lines


def is_supported(version: str) -> bool:
    """Whether a version of ultralytics is within the pin."""
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    return PIN[0] <= numbers < PIN[1]


def allowed_by(arguments: Iterable[str]) -> bool:
    """Whether a command line allows foreign modules; before the config can be composed, which imports some."""
    values = [text.partition("=")[2] for text in arguments if text.lstrip("+").startswith(f"{ALLOW}=")]
    return bool(values) and values[-1].strip("'\"").lower() not in ("false", "no", "off", "0")


@lru_cache(maxsize=1)
def in_children() -> list[Module]:
    """:func:`found` and :func:`modified` for child processes of this one; looked up once."""
    path = child_path()
    return [*found(path), *modified(path)]


def modified(path: Sequence[str]) -> list[Module]:
    """ultralytics, if a file of the installed package is not the one that was installed: people edit it in place."""
    place = _locate("ultralytics", path)
    about = place and not os.path.islink(place) and _changed_file(place)
    return [Module("ultralytics", place, "modified", about)] if place and about else []


def code(modules: Iterable[Module]) -> dict[str, str]:
    """The part of a run's identity for code that no version tells: module -> hash of its files; usually empty."""
    return {module.name: digest(module.path)[:16] for module in modules}


def startup_files() -> dict[str, str]:
    """The files that Python ran at the start of this process, and will in its children, and that are not installed."""
    modules = {name: sys.modules.get(name) for name in ("sitecustomize", "usercustomize")}
    files = {name: getattr(module, "__file__", None) for name, module in modules.items()}
    return {name: file for name, file in files.items() if file and not is_installed(file)}


def other_package(path: Sequence[str]) -> str | None:
    """The folder of another copy of this package that child processes would import; None if it is the same."""
    own, place = os.path.dirname(os.path.abspath(__file__)), _locate("acmix_exp", path)
    return None if place is None or os.path.realpath(place) == os.path.realpath(own) else place


def digest(path: str) -> str:
    """SHA-256 over a file, or over the names and contents of the files of a folder without caches of Python."""
    files = sorted(_files(path))
    stamps = tuple((file, *_stamp(file)) for file in files)
    return _digest(path, stamps)


def _stamp(file: str) -> tuple[int, ...]:
    stat = os.stat(file)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


@lru_cache(maxsize=64)
def _digest(path: str, stamps: tuple[tuple[Any, ...], ...]) -> str:
    total = hashlib.sha256()
    for file, *_ in stamps:
        with open(file, "rb") as content:
            own = hashlib.file_digest(content, "sha256").digest()
        total.update(os.fsencode(os.path.relpath(file, path)) + b"\0" + own)
    return total.hexdigest()


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        while path and not os.path.isfile(path):  # a module in a zip file counts as that file
            path = os.path.dirname(path)
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (file for name in names if os.path.isfile(file := os.path.join(folder, name)))


def _refusal(module: Module, foreseen: bool) -> str:
    name, path, kind, about = module
    cure = f", or add {ALLOW}=true, which records it by a hash" if foreseen else ""
    if kind == "modified":
        return f"{name}: the installed package {path} was changed ({about}); reinstall it{cure}"
    parent, folder = os.path.dirname(path), os.getcwd()
    remedy = "move it or start in another folder"
    if not _same(parent, folder):
        remedy = f"take {parent} off the import path (PYTHONPATH, a .pth file or sitecustomize)"
    what = "module of Python" if name in sys.stdlib_module_names else "installed package"
    return f"{name}: {path} would be imported in place of the {what}; {remedy}{cure}"


def _is_standard(entry: str) -> bool:
    """Whether an entry of ``sys.path`` is the standard library, or the zip file that Python looks for before it."""
    return _same(entry, _STANDARD) or entry.endswith(f"python{sys.version_info[0]}{sys.version_info[1]}.zip")


def _is_shadow(name: str, place: str) -> bool:
    """Whether a module that is not of an installed package has the name of one, or of the standard library."""
    if is_installed(place):
        return False
    if name in sys.stdlib_module_names:
        return True
    spec = PathFinder.find_spec(name, _installed_folders())
    # ultralytics leaves empty folders tests/tmp/runs beside itself when it runs in pytest.
    return spec is not None and (
        spec.origin is not None or any(map(_holds_files, spec.submodule_search_locations or ()))
    )


def _holds_files(folder: str) -> bool:
    return any(files for _, _, files in os.walk(folder))


def _shadows_of_standard_library(path: Sequence[str]) -> Iterator[str]:
    """Names of the standard library that a folder before it on the path holds too."""
    for entry in path:
        if _same(entry, _STANDARD):
            return
        names = {name.partition("/")[0].partition(".")[0] for name in _listed(entry or ".")}
        for name in sorted(names & sys.stdlib_module_names - UNUSED):
            if not (BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name)):
                yield name


def _listed(entry: str) -> list[str]:
    """The names in a folder or zip file of ``sys.path``; none if it is missing."""
    try:
        return os.listdir(entry)
    except NotADirectoryError:
        from zipfile import BadZipFile, ZipFile

        try:
            with ZipFile(entry) as archive:
                return archive.namelist()
        except (OSError, BadZipFile):
            return []
    except OSError:
        return []


def _locate(name: str, path: Sequence[str]) -> str | None:
    """The folder or file of a top-level module; of a package without ``__init__.py`` its first folder.

    The finders are asked in their order: those of editable installs are last, that of a sitecustomize may be first.
    """
    entries = [os.path.abspath(entry or ".") for entry in path]
    for finder in sys.meta_path:
        if finder in (BuiltinImporter, FrozenImporter) or not hasattr(finder, "find_spec"):
            continue
        if spec := finder.find_spec(name, entries if finder is PathFinder else None):
            return _place(spec)
    return None


def _place(spec: Any) -> str | None:
    if spec is None or spec.origin in ("built-in", "frozen"):
        return None
    if spec.submodule_search_locations:
        return os.path.abspath(next(iter(spec.submodule_search_locations)))
    return os.path.abspath(spec.origin) if spec.origin and spec.has_location else None


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one or ".") == os.path.realpath(other or ".")


_STANDARD = os.path.dirname(os.__file__)
_OWN_PARENT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


@lru_cache(maxsize=1)
def _installed_folders() -> list[str]:
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [*site.getsitepackages(), *user]


def is_installed(file: str) -> bool:
    """Whether a file is of the standard library or of a package that is installed, not editable."""
    real = os.path.realpath(file) + os.sep
    return real.startswith(tuple(os.path.realpath(folder) + os.sep for folder in [_STANDARD, *_installed_folders()]))


def _judged(name: str, place: str) -> Module | None:
    """None if the module is an installed package as it was installed."""
    parent, folders = os.path.dirname(place), _installed_folders()
    if any(_same(parent, folder) for folder in folders):
        return Module(name, place, "editable") if os.path.islink(place) else None
    if name in sys.stdlib_module_names:
        standard = (os.path.realpath(_STANDARD) + os.sep, os.path.realpath(os.path.join(_STANDARD, "lib-dynload")))
        return None if (os.path.realpath(parent) + os.sep).startswith(standard) else Module(name, place, "foreign")
    if any(_lists(each, name) for each in _distributions([parent], name)):  # pip install --target
        return None
    editable = any(_points_to(each, place) for each in _distributions(folders, name))
    return Module(name, place, "editable" if editable or _egg_link(name, place) else "foreign")


def _distributions(folders: list[str], module: str) -> Iterator[Any]:
    """The distributions in ``folders`` that may provide a module: by their name, or by their list of modules."""
    from importlib.metadata import distributions

    names = {module, DISTRIBUTIONS.get(module, module)}
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    for each in distributions(path=folders):
        name = re.sub(r"[-_.]+", "-", each.metadata["Name"] or "").lower()
        if name in normal or name.startswith(tuple(f"{n}-" for n in normal)) or module in _modules(each):
            yield each


def _modules(distribution: Any) -> list[str]:
    return (distribution.read_text("top_level.txt") or "").split()


def _lists(distribution: Any, module: str) -> bool:
    """Whether the RECORD of an installed distribution has files of the module."""
    record = distribution.read_text("RECORD") or ""
    return re.search(rf"^{re.escape(module)}(/|\.)", record, re.MULTILINE) is not None


def _points_to(distribution: Any, place: str) -> bool:
    """Whether an editable install is that of ``place``: by its URL, its .pth file or its finder."""
    url = json.loads(distribution.read_text("direct_url.json") or "{}")
    if (url.get("dir_info") or {}).get("editable"):
        from urllib.parse import unquote, urlsplit

        root = os.path.realpath(unquote(urlsplit(url.get("url", "")).path))
        if os.path.realpath(place).startswith(root + os.sep):
            return True
    for file in distribution.files or ():
        if str(file).endswith(".pth") or re.match(r"__editable__.*\.py$", str(file)):
            try:
                text = file.locate().read_text(encoding="utf-8")
            except OSError:
                continue
            if os.path.dirname(place) in text.splitlines() or repr(place) in text:
                return True
    return False


def _egg_link(name: str, place: str) -> bool:
    """Whether ``setup.py develop`` installed the folder that holds ``place``."""
    for folder in _installed_folders():
        try:
            with open(os.path.join(folder, f"{name}.egg-link"), encoding="utf-8") as file:
                return os.path.realpath(file.readline().strip()) == os.path.realpath(os.path.dirname(place))
        except OSError:
            continue
    return False


def _changed_file(place: str) -> str | None:
    """What tells that a package is not as installed: a file whose SHA-256 is not the one in the RECORD beside it, a
    module that the RECORD lacks, or no metadata at all. None too where the installer, say conda's, left no RECORD.
    """
    parent, name = os.path.split(place)
    metadata = [entry for entry in os.listdir(parent) if re.fullmatch(rf"{name}-[^-]+(-.*)?\.(dist|egg)-info", entry)]
    if not metadata:
        return f"no {name}-VERSION.dist-info beside it" if is_installed(place) else None
    try:
        with open(os.path.join(parent, metadata[0], "RECORD"), encoding="utf-8") as file:
            lines = dict(re.findall(rf"^({name}/.*),sha256=([\w-]+),\d*$", file.read(), re.MULTILINE))
    except OSError:
        return None
    for path, recorded in lines.items():
        try:
            with open(os.path.join(parent, path), "rb") as content:
                actual = hashlib.file_digest(content, "sha256").digest()
        except OSError:
            return str(path)
        if base64.urlsafe_b64encode(actual).decode().rstrip("=") != recorded:
            return str(path)
    present = (os.path.relpath(file, parent) for file in sorted(_files(place)) if file.endswith(_CODE))
    return next((path for path in present if path.replace(os.sep, "/") not in lines), None)


_CODE = (".py", *EXTENSION_SUFFIXES)


def written_version(place: str) -> str | None:
    """``__version__`` as a package's ``__init__.py`` states it, read without importing it."""
    try:
        with open(os.path.join(place, "__init__.py") if os.path.isdir(place) else place, encoding="utf-8") as file:
            match = re.search(r"^__version__\s*=\s*[\"']([^\"']+)", file.read(), re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return match[1] if match else None
