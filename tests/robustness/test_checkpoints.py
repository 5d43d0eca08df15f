"""Checkpoints from elsewhere: never run, and named as what they are."""

from __future__ import annotations

import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.cases import Row, add, case
from tests.robustness.evil_files import SHELL, TRACE, Calls, Named, attacked, command, refused, write_zip

SECTION = "Checkpoints"
QUICK = (
    *("train=quick", "train.epochs=1", "train.imgsz=64", "train.batch=4", "hardware=cpu", "hardware.workers=0"),
    *("logger=disabled", "report.auto=false", "arm=baseline"),
)


def attacks() -> dict[str, tuple[Callable[[], Any], str]]:
    """What is added to a real checkpoint, and the name that the refusal gives."""
    network = {"nc": 1, "activation": f"__import__('os').system('{SHELL}')", "backbone": [], "head": []}
    return {
        "os.system": (lambda: Calls(os.system, SHELL), "posix.system"),
        "eval": (lambda: Calls(eval, f"__import__('os').system('{SHELL}')"), "builtins.eval"),
        "exec": (lambda: Calls(exec, f"import os; os.system('{SHELL}')"), "builtins.exec"),
        "subprocess": (lambda: Named("subprocess.call", ["touch", TRACE]), "subprocess.call"),
        "a chain of getattr": (lambda: Named("builtins.getattr", Named("os.path"), "os"), "os.path"),
        "getattr of a module class": (
            lambda: Named("builtins.getattr", Named("ultralytics.nn.tasks.DetectionModel"), "__init__"),
            "builtins.getattr",
        ),
        "functools.partial": (lambda: Calls(__import__("functools").partial, os.system, SHELL), "functools.partial"),
        "torch.hub.load": (lambda: Named("torch.hub.load", ".", "evil"), "torch.hub.load"),
        "torch.load": (lambda: Named("torch.serialization.load", "other.pt"), "torch.serialization.load"),
        "copyreg": (lambda: Named("copyreg._reconstructor", Named("builtins.object"), None, None), "copyreg."),
        "import of a module": (lambda: Named("evil.Anything"), "evil.Anything"),
        "import by name": (lambda: Calls(__import__, "evil"), "builtins.__import__"),
        "a module that text_model needs": (lambda: Named("clip.model.CLIP"), "clip.model.CLIP"),
        "a network that evaluates its YAML": (
            lambda: Named("ultralytics.nn.tasks.DetectionModel", network),
            "ultralytics.nn.tasks.DetectionModel",
        ),
        "a class kept to be called later": (
            lambda: {"act": Named("ultralytics.nn.tasks.DetectionModel"), "yaml": network},
            "ultralytics.nn.tasks.DetectionModel",
        ),
        "a function of ultralytics": (lambda: Named("ultralytics.nn.tasks.parse_model"), "ultralytics.nn.tasks.parse"),
        "a command of ultralytics": (
            lambda: Named("ultralytics.utils.downloads.safe_download", "http://127.0.0.1:9/x"),
            "ultralytics.utils.downloads.safe_download",
        ),
        "a tensor of another type": (
            lambda: Named(
                "torch._tensor._rebuild_from_type_v2", Named("os.system"), Named("torch.Tensor"), (SHELL,), {}
            ),
            "os.system",
        ),
        "webbrowser": (lambda: Named("webbrowser.open", "http://127.0.0.1:9"), "webbrowser.open"),
        "a pickle in a pickle": (lambda: Named("pickle.loads", pickle.dumps(Calls(os.system, SHELL))), "pickle.loads"),
        "numpy.load": (lambda: Named("numpy.load", "x.npy", None, True), "numpy.load"),
    }


def evil_modules(folder: Path) -> None:
    """Modules in the working folder that leave a trace when they are imported."""
    for name in ("evil", "clip"):
        (folder / f"{name}.py").write_text(f"open({TRACE!r}, 'w').close()\n")


def faults(path: Path, **changes: Any) -> list[str]:
    """The preflight's lines for a baseline with these weights."""
    from acmix_exp.yolo import preflight
    from tests.yolo.builders import make_config

    network = _network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "build_stock", lambda *_: (network, []))
        return list(preflight.preflight([make_config(arm__insert=False, model__pretrained=str(path), **changes)]))


@cache
def _network() -> Any:
    """The network without weights that the preflight builds for every config of these tests."""
    from acmix_exp.yolo.preflight import build_stock
    from acmix_exp.yolo.sites import Network
    from tests.yolo.builders import make_config

    config = make_config(arm__insert=False)
    network, lines = build_stock(config, Network.of(config.model))
    assert lines == []
    return network


for _name, (_, _path) in attacks().items():
    add(Row(SECTION, f"weights with one more key that asks for {_name}", "refused, naming what it asks for; never run"))


@pytest.mark.parametrize("name", attacks())
def test_an_attack_is_named_and_never_runs(
    name: str, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    evil_modules(tmp_path)
    make, path = attacks()[name]
    places = ("note", "model", "ema", "optimizer", "train_args")
    for number, key in enumerate(places if name in ("os.system", "a network that evaluates its YAML") else places[:2]):
        (line,) = faults(attacked(stock, tmp_path / f"{number}.pt", key, make()))
        assert "\n" not in line
        assert path in line
        assert "allow_unsafe_checkpoint=true" in line
    assert not (tmp_path / TRACE).exists()
    assert not {"evil", "clip"} & sys.modules.keys()


@case(
    SECTION,
    have="a real YOLOv8n with one more key that calls os.system, as `model.pretrained`",
    here="one line that names posix.system, exit code 2, before the first job; `allow_unsafe_checkpoint=true` reads it",
)
@pytest.mark.slow
def test_the_command_line_refuses(stock: Path, tmp_path: Path) -> None:
    path = attacked(stock, tmp_path / "weights.pt", "note", Calls(os.system, f"touch {TRACE}"))
    for variables in ({}, {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}, {"ULTRALYTICS_SAFE_LOAD": "0"}):
        done = command(tmp_path, *QUICK, f"model.pretrained={path}", **variables)
        assert "weights.pt" in refused(done, tmp_path, "posix.system")
        assert not list(tmp_path.glob("runs/*/*"))


FORMATS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "an empty file": (lambda path, stock: path.write_bytes(b""), "an empty file"),
    "a folder": (lambda path, stock: path.mkdir(), "a folder"),
    "a pointer of git-lfs": (
        lambda path, stock: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "a pointer of git-lfs",
    ),
    "an HTML page": (lambda path, stock: path.write_text("\n<!DOCTYPE html><title>404</title>"), "an HTML page"),
    "a safetensors file": (
        lambda path, stock: path.write_bytes((40).to_bytes(8, "little") + b'{"__metadata__":{}}'.ljust(64)),
        "a safetensors file",
    ),
    "an ONNX file": (
        lambda path, stock: path.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\0\0"),
        "an ONNX file",
    ),
    "a weights file cut short": (lambda path, stock: path.write_bytes(stock.read_bytes()[:-5000]), "cut short"),
    "some other zip": (lambda path, stock: write_zip(path, {"a.txt": b"a"}), "a zip archive without weights"),
    "a compressed pickle bomb": (
        lambda path, stock: write_zip(path, {"a/data.pkl": b"\0" * (1 << 26)}, zipfile.ZIP_DEFLATED),
        "a compressed archive",
    ),
    "a pickle of 65 MB": (
        lambda path, stock: write_zip(path, {"a/data.pkl": b"\0" * (65 << 20)}),
        "an archive with a pickle of 65 MB",
    ),
    "two pickles in an archive": (
        lambda path, stock: write_zip(path, {"a/data.pkl": b"\x80\x02N.", "b/data.pkl": b"\x80\x02N."}),
        "an archive that holds an entry twice",
    ),
    "a tar archive": (lambda path, stock: _tar(path), "a tar archive"),
    "a text file": (lambda path, stock: path.write_text("not weights"), "a text file"),
}


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))


for _name, (_, _words) in FORMATS.items():
    add(Row(SECTION, f"{_name} as `model.pretrained`", f"refused before the first job: it is {_words}"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_no_checkpoint_is_named(name: str, stock: Path, tmp_path: Path) -> None:
    from acmix_exp.errors import ConfigError

    make, words = FORMATS[name]
    path = tmp_path / "yolov8n.pt"
    make(path, stock)
    try:
        (line,) = faults(path)
    except ConfigError as error:
        (line,) = error.lines
    assert words in line
    assert line.startswith(f"model.pretrained={path}: ")
    assert "; must be " in line
