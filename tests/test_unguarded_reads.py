"""Nothing in the package reads a file in a way that can run code, but for the places that are listed here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "acmix_exp"
# Calls that read what may hold code, by the last parts of their name: the files that may make them, and why it is safe.
ALLOWED = {
    "eval": [],
    "exec": [],
    "compile": [],
    "__import__": [],
    "os.system": [],
    "pickle.load": [],
    "pickle.loads": [],
    "joblib.load": [],
    "marshal.loads": [],
    "shelve.open": [],
    "dill.load": [],
    "pickle.Unpickler": [],
    "pickle._Unpickler": ["yolo/pickle_scan.py"],  # its find_class gives stand-ins
    "torch.hub.load": [],
    "torch_load": [],
    "torch_safe_load": [],
    "attempt_load": [],
    "attempt_load_weights": [],
    "attempt_load_one_weight": [],
    "YOLO": ["yolo/stock_api.py"],  # made from a YAML
    "RTDETR": ["yolo/stock_api.py"],
    "YOLOWorld": [],
    "load_checkpoint": ["yolo/checkpoints.py"],  # after the scan, restricted by the variables of the child
    "strip_optimizer": ["yolo/run.py"],  # the same, of what the run has just written
    "torch.jit.load": ["yolo/exporter.py"],  # what was exported a moment before
    "AutoBackend": ["yolo/exporter.py"],
    "InferenceSession": ["yolo/exporter.py"],
    "check_det_dataset": ["yolo/sample_dataset.py"],  # of a definition that ultralytics ships
    "instantiate": [],
    "yaml.unsafe_load": [],
    "yaml.full_load": [],
    "yaml.load_all": [],
    # By a name of the package, of a command line, or of a class that the scan has seen in a package that is known.
    "import_module": [
        *("__init__.py", "cli.py", "moved.py", "nn/custom.py", "nn/registry.py"),
        *("yolo/checkpoints.py", "yolo/safe_globals.py"),
    ],
    "resolve_name": ["worker.py"],
    "spec_from_file_location": [],
    "run_path": [],
}
# Calls that are safe with an argument.
NEEDED = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "numpy.load": ("allow_pickle", "False"),
}
LOADERS = ("LOADER", "SafeLoader", "CSafeLoader")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call and, as one without arguments, every class that another is derived from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node
        elif isinstance(node, ast.ClassDef):
            yield from ((ast.unparse(base), ast.Call(base, [], [])) for base in node.bases)


def matches(name: str, rule: str) -> bool:
    """``exec`` is the builtin, not a method; of other names the last parts count."""
    if rule in ("eval", "exec", "compile", "__import__"):
        return name in (rule, f"builtins.{rule}")
    return f".{name}".endswith(f".{rule}")


def faults(source: str, file: str) -> list[str]:
    found = []
    for name, call in calls(ast.parse(source)):
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        found += [name for rule, files in ALLOWED.items() if matches(name, rule) and file not in files]
        found += [
            f"{name} without {key}={value}"
            for rule, (key, value) in NEEDED.items()
            if matches(name, rule) and options.get(key) != value
        ]
        if matches(name, "yaml.load") and not any(ast.unparse(arg).endswith(LOADERS) for arg in call.args[1:]):
            found.append(f"{name} without a safe loader")
        if options.get("shell") == "True":
            found.append(f"{name} with shell=True")
    return found


def test_the_package() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in sorted(PACKAGE.rglob("*.py"))
        if (lines := faults(path.read_text(encoding="utf-8"), path.relative_to(PACKAGE).as_posix()))
    }
    assert found == {}


def test_no_entry_is_stale() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    for rule, files in ALLOWED.items():
        for file in files:
            assert any(matches(name, rule) for name, _ in calls(ast.parse(sources[file]))), (rule, file)


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "class Reader(pickle.Unpickler): pass",
        "YOLO(path)",
        "ultralytics.YOLO(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "hydra.utils.instantiate(cfg)",
        "subprocess.run(line, shell=True)",
        "load_checkpoint(path)",
    ],
)
def test_an_unguarded_call_is_found(line: str) -> None:
    assert faults(line, "run/training.py")


@pytest.mark.parametrize(
    "line", ["model.eval()", "re.compile('a')", "np.load(path, allow_pickle=False)", "torch.compile"]
)
def test_a_safe_call_is_not(line: str) -> None:
    assert faults(line, "run/training.py") == []
