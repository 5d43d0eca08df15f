"""Pickles and archives that are made to look harmless: each is refused, or read without running anything."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.yolo import checkpoint_file
from acmix_exp.yolo.pickle_scan import scan
from tests.robustness.cases import Row, add, case
from tests.robustness.evil_files import SHELL, TRACE, Calls, entries, name, text, with_opcodes, write_zip

SECTION = "Checkpoints"
NETWORK = "ultralytics.nn.tasks.DetectionModel"
CALL = name(NETWORK) + text("yolov8n.yaml") + pickle.TUPLE1 + pickle.REDUCE
SYSTEM = name("os.system") + text(SHELL) + pickle.TUPLE1 + pickle.REDUCE
EMPTY = name("torch.nn.modules.linear.Identity") + pickle.EMPTY_TUPLE + pickle.NEWOBJ

OPCODES: dict[str, tuple[bytes, str]] = {  # what is set as one more key: the name in the refusal
    "a call whose result is overwritten": (CALL + b"s" + text("note") + b"N", NETWORK),
    "a call whose result is dropped": (CALL + pickle.POP + b"N", NETWORK),
    "a call in the name of a storage": (b"(" + text("storage") + CALL + text("0") + b"tQ", NETWORK),
    "a storage of a foreign class": (b"(" + text("storage") + name("os.system") + text("0") + b"tQ", "os.system"),
    "a call whose method is asked for": (name("builtins.getattr") + CALL + text("forward") + b"\x86R", NETWORK),
    "a call in a state that is set twice": (EMPTY + b"}" + text("x") + CALL + b"sb}b", NETWORK),
    "an object made with arguments": (name(NETWORK) + text("yolov8n.yaml") + b"\x85\x81", NETWORK),
    "a module name put together": (text("os") + text("system") + b"\x93" + text(SHELL) + b"\x85R", "os.system"),
    "the opcode INST": (b"(" + text(SHELL) + b"ios\nsystem\n", "os.system"),
    "the opcode OBJ": (b"(" + name("os.system") + text(SHELL) + b"o", "os.system"),
    "the opcode NEWOBJ_EX": (name("subprocess.Popen") + text(SHELL) + b"\x85}\x92", "subprocess.Popen"),
    "a method of a known class": (b"ctorch.nn.modules.module\nModule.__call__\n", "Module.__call__"),
    "a module behind a known class": (b"cultralytics.nn.tasks\nos.system\n", "ultralytics.nn.tasks.os.system"),
    "operator.attrgetter": (name("operator.attrgetter") + text("system") + b"\x85R", "operator.attrgetter"),
    "operator.methodcaller": (name("operator.methodcaller") + text("run") + b"\x85R", "operator.methodcaller"),
    "an import by torch": (
        name("torch._utils._import_dotted_name") + text("os.system") + b"\x85R",
        "torch._utils._import_dotted_name",
    ),
    "a tensor of another class": (name("torch._utils._rebuild_wrapper_subclass") + b")R", "_rebuild_wrapper_subclass"),
    "an array of objects": (name("numpy.core.multiarray._reconstruct") + b")R", "numpy.core.multiarray._reconstruct"),
    "a name of Python 2": (b"c__builtin__\neval\n" + text("1") + b"\x85R", "builtins.eval"),
    "a registered extension": (b"\x82\x01", "damaged"),
    "a persistent id of its own": (SYSTEM + b"Q", "os.system"),
    "an index of 2 billion": (b"Nr\xff\xff\xff\x7f" + SYSTEM, "os.system"),
    "a string of 200 GB": (b"\x8d\xff\xff\xff\xff\x30\x00\x00\x00abc", "damaged"),
    "a dict with other methods": (
        name("collections.OrderedDict") + b")R}" + text("keys") + SYSTEM + b"s" + text("get") + b"Nsb",
        "os.system",
    ),
    "a name that moves the cursor": (b"cos\n\x1b[2J\x1b[H\n", "os.?[2J?[H"),
    "a name of a million letters": (b"cos\n" + b"x" * 1_000_000 + b"\n", "os.xxx"),
}
for _name in OPCODES:
    add(Row(SECTION, f"weights whose pickle holds {_name}", "refused, in one line; never run"))


def why_not(path: Path) -> str:
    """The line that refuses the file; empty if it is read."""
    from acmix_exp.yolo import checkpoints

    try:
        checkpoints.load(path)
    except (ConfigError, checkpoint_file.NotACheckpoint) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("case_name", OPCODES)
def test_opcodes(case_name: str, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opcodes, words = OPCODES[case_name]
    line = why_not(with_opcodes(stock, tmp_path / "weights.pt", opcodes))
    assert words in line
    assert line.isprintable()
    assert len(line) < 1000
    assert not (tmp_path / TRACE).exists()


def evil(stock: Path, path: Path) -> Path:
    return with_opcodes(stock, path, SYSTEM)


def two_cases(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    content = entries(stock)
    pickled = next(key for key in content if key.endswith("/data.pkl"))
    write_zip(path, {pickled.replace("data.pkl", "DATA.PKL"): other[pickled], **content})


def another_folder_first(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    pickled = next(value for key, value in other.items() if key.endswith("/data.pkl"))
    write_zip(path, {"evil/data.pkl/": b"", "evil/data.pkl ": pickled, **entries(stock)})


def joined(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    path.write_bytes(write_zip(path, other).read_bytes() + stock.read_bytes())


def in_a_comment(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    """The directory of the one archive in the comment of the other: readers may take either."""
    first = write_zip(path, other).read_bytes()
    end = stock.read_bytes()[-22:]
    path.write_bytes(first[:-2] + struct.pack("<H", len(end)) + end)


def renamed_in_place(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    """Another name in the entry's own header than in the directory."""
    data = write_zip(path, other).read_bytes()
    path.write_bytes(data.replace(b"/data.pkl", b"/data.pkx", 1))


def under_an_absolute_name(path: Path, stock: Path, other: dict[str, bytes]) -> None:
    write_zip(path, {f"/{key}": value for key, value in other.items()} | entries(stock))


ARCHIVES: dict[str, Callable[[Path, Path, dict[str, bytes]], None]] = {
    "DATA.PKL beside data.pkl": two_cases,
    "a second folder with a pickle": another_folder_first,
    "two archives in one file": joined,
    "a second directory in its comment": in_a_comment,
    "an entry with two names": renamed_in_place,
    "the same entries under absolute names": under_an_absolute_name,
}
for _name in ARCHIVES:
    add(Row(SECTION, f"an archive of weights with {_name}", "refused, or read as scanned; never run"))


@pytest.mark.parametrize("case_name", ARCHIVES)
def test_archives_that_two_readers_read_differently(
    case_name: str, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = entries(evil(stock, tmp_path / "evil.pt"))
    path = tmp_path / "weights.pt"
    ARCHIVES[case_name](path, stock, other)
    why_not(path)
    assert not (tmp_path / TRACE).exists()


@case(SECTION, have="a pickle in the bytes of a tensor", here="read as numbers; never unpickled")
def test_a_pickle_in_a_tensor(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = entries(stock)
    key = next(key for key in content if key.endswith("/data/0"))
    content[key] = pickle.dumps(Calls(os.system, SHELL)).ljust(len(content[key]), b"\0")
    assert why_not(write_zip(tmp_path / "weights.pt", content)) == ""
    assert not (tmp_path / TRACE).exists()


def saved(value: object, *, zipped: bool) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


OLD: dict[str, Callable[[], bytes]] = {
    "a bare pickle": lambda: pickle.dumps(Calls(os.system, SHELL)),
    "a bare pickle of protocol 0": lambda: pickle.dumps(Calls(os.system, SHELL), protocol=0),
    "a file of torch before 1.6": lambda: saved({"model": Calls(os.system, SHELL)}, zipped=False),
}


@pytest.mark.parametrize("case_name", OLD)
@case(SECTION, have="a bare pickle or a file of torch before 1.6 that calls os.system", here="refused, naming that")
def test_old_formats(case_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    path.write_bytes(OLD[case_name]())
    assert "posix.system" in why_not(path)
    assert checkpoint_file.foreign(path) == ["posix.system"]
    assert not (tmp_path / TRACE).exists()


@case(SECTION, have="weights behind a symbolic link", here="the file that it leads to is scanned and read")
def test_a_link(stock: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pt", tmp_path / "bad.pt"
    good.symlink_to(stock)
    bad.symlink_to(evil(stock, tmp_path / "evil.pt"))
    assert why_not(good) == ""
    assert "os.system" in why_not(bad)


@case(
    SECTION,
    have="weights that are replaced between the scan and the reading",
    here="what was scanned is read: both use one private copy",
)
def test_a_file_that_changes_after_the_scan(stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acmix_exp.yolo import checkpoints

    monkeypatch.chdir(tmp_path)
    path, other = tmp_path / "weights.pt", evil(stock, tmp_path / "evil.pt")
    path.write_bytes(stock.read_bytes())

    def replace_then(*arguments: object) -> None:
        path.write_bytes(other.read_bytes())
        checkpoint_file.require_safe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "require_safe", replace_then)
    assert why_not(path) == ""
    assert not (tmp_path / TRACE).exists()
    assert "os.system" in why_not(path)


def test_deep_nesting_is_read(stock: Path, tmp_path: Path) -> None:
    assert why_not(with_opcodes(stock, tmp_path / "weights.pt", b"N" + pickle.TUPLE1 * 200_000)) == ""


def test_the_scan_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = scan(pickle.dumps([Calls(os.system, SHELL), Calls(exec, "1/0")]))
    assert found.foreign() == ["builtins.exec", "posix.system"]
    assert not (tmp_path / TRACE).exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "weights.pt", {"a/data.pkl": b"\0" * (1 << 26)}, zipfile.ZIP_DEFLATED)
    assert "a compressed archive" in why_not(path)
