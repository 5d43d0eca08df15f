"""A full disk, a limit of the shell or something in the way: one line with the cause, and nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from acmix_exp import files
from acmix_exp.errors import StorageError, storage_fault
from acmix_exp.report.build import build
from acmix_exp.run.claim import Claim
from acmix_exp.run.owner import Owner
from acmix_exp.sweep import check
from tests.robustness.cases import Row, add, case
from tests.robustness.commands import COMMON, finish, only_run, temporaries, tiny_data

SECTION = "Interruptions and disks"
MB = 1 << 20


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data"))


def file_size(limit: int):
    """For preexec_fn: no file of the command may grow beyond that (``ulimit -f``)."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def one_line_of(err: str, cause: str) -> str:
    assert "Traceback" not in err, err
    (line,) = [line for line in err.splitlines() if line.startswith("acmix_exp: ")]
    assert cause in line
    assert "rerun the same command once that is solved" in line
    return line


# In one process.


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EFBIG", "EIO"])
@case(
    SECTION,
    have="a disk full, over quota or failing while a file is written",
    here="the old file stays; the error names it",
)
def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, number):
    path, code = tmp_path / "status.json", getattr(errno, number)
    files.write_json(path, {"old": True})

    def fsync(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"status\.json") as raised:
        files.write_json(path, {"old": False})
    assert storage_fault(raised.value) == f"{os.strerror(code)}: {path}"
    assert files.read_json(path) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


def test_which_errors_end_a_command():
    assert storage_fault(StorageError("No space left on device: a")) == "No space left on device: a"
    assert storage_fault(OSError(errno.EMFILE, "Too many open files"), "here") == "Too many open files: here"
    assert storage_fault(FileNotFoundError(errno.ENOENT, "No such file", "a")) is None
    assert storage_fault(ValueError("No space left on device")) is None


@pytest.fixture
def command(tmp_path, monkeypatch, program):
    """``command("name=a")``: exit code and stderr of the program in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: program(*arguments)[::2]


IN_THE_WAY = {  # what is at a path: the path, the arguments, what the line says
    "a file at runs/NAME": ("runs/a", "name=a", "runs/a is a file"),
    "a file at runs": ("runs", "name=a", "runs is a file"),
    "a file above runs_dir": ("file", "runs_dir=file/runs", "Not a directory"),
    "a dangling link at runs/NAME": ("runs/a -> gone", "name=a", "runs/a is a symbolic link to gone"),
    "a dangling link at runs": ("runs -> gone", "name=a", "runs is a symbolic link to gone"),
    "a link to itself at runs/NAME": ("runs/a -> a", "name=a", "runs/a is a symbolic link to a"),
    "a link to a file at runs/NAME": ("runs/a -> ../file", "name=a", "runs/a is a symbolic link to ../file"),
    "a name with a slash": ("", "name=a/b", "must be the name of a folder"),
    "a name that is . or ..": ("", "name=..", "must be the name of a folder"),
    "a name that begins with -": ("", "name=-a", "must be the name of a folder"),
    "a name of more than 255 bytes": ("", f"name={'a' * 256}", "too long; must have at most 255 bytes"),
    "a name of 100 Chinese characters": ("", f"name={'数' * 100}", "too long; must have at most 255 bytes"),
}
for have in IN_THE_WAY:
    add(Row(SECTION, have, "one line that names it, exit code 2, nothing written"))


@pytest.mark.parametrize("have", IN_THE_WAY)
def test_what_is_in_the_way_is_named(command, tmp_path, data, have):
    there, argument, says = IN_THE_WAY[have]
    (tmp_path / "file").touch()
    path, _, target = there.partition(" -> ")
    if path:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).symlink_to(target) if target else (tmp_path / path).touch()
    before = sorted(tmp_path.rglob("*"))
    code, err = command(*COMMON, f"dataset.path={data}", argument)
    assert code == 2
    assert len(err.splitlines()) == 1, err
    assert says in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("target", ["", "gone"])
@case(
    SECTION,
    have="a file or a dangling link where the run directory should be",
    here="one line that names it, exit code 2",
)
def test_something_at_the_run_directory_is_named(command, tmp_path, data, target):
    arguments = [*COMMON, f"dataset.path={data}", "logger=disabled"]
    assert command(*arguments, "task=plan")[0] == 0
    folder = tmp_path / "runs" / "default"
    folder.mkdir(parents=True, exist_ok=True)
    run = folder / "baseline-s0-00000000"
    run.symlink_to(target) if target else run.touch()
    (line,) = check.run_folders([run, run])
    assert line.startswith(f"name=default: {run} is a {'symbolic link' if target else 'file'}")


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EMFILE"])
@case(
    SECTION,
    have="no inode, or no file handle, left for a new file",
    here="one line with the cause and the file's own name, not that of a temporary one",
)
def test_a_file_that_cannot_be_made_is_named(tmp_path, monkeypatch, number):
    def mkstemp(dir: Path, prefix: str) -> None:
        code = getattr(errno, number)
        raise OSError(code, os.strerror(code), f"{dir}/{prefix}x8d_k2a1")

    monkeypatch.setattr(files.tempfile, "mkstemp", mkstemp)
    with pytest.raises(OSError, match=r"'[^']*/status\.json'$"):
        files.write_json(tmp_path / "status.json", {})


def test_no_room_for_a_claim_names_it_and_leaves_nothing(tmp_path, monkeypatch):
    def write_text(path: Path, text: str, encoding: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match=r"\.claim-"):
        Claim(tmp_path, Owner.here())
    assert not list(tmp_path.iterdir())


@case(
    SECTION,
    have="a folder in place of a file of a run (status.json, history.csv, train.log), a file in place of weights/",
    here="one line that names it, exit code 2, before the first run",
)
@pytest.mark.parametrize("name", ["status.json", "config.yaml", "history.csv", "result.json", "train.log", ".lock"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path, name):
    run = tmp_path / "default" / "baseline-s0-00000000"
    (run / name).mkdir(parents=True)
    assert check.run_folders([run]) == [f"name=default: {run / name} is a folder; must be a file or a free name"]


@pytest.mark.parametrize("target", ["", "gone"])
@pytest.mark.parametrize("name", ["weights", "images", "wandb"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, name, target):
    run = tmp_path / "default" / "baseline-s0-00000000"
    run.mkdir(parents=True)
    (run / name).symlink_to(target) if target else (run / name).touch()
    (line,) = check.run_folders([run])
    assert line.startswith(f"name=default: {run / name} is a {'symbolic link' if target else 'file'}")


@case(
    SECTION, have="half-written summaries, reports and images of a killed process", here="removed by the next command"
)
def test_what_killed_processes_left_is_removed(tmp_path):
    left = [tmp_path / name for name in (".images.making-ab", ".report-ab", ".summary.json.ab", ".report.html.ab")]
    for path in left:
        path.touch() if path.name.endswith((".json.ab", ".html.ab")) else path.mkdir()
    others = [tmp_path / name for name in (".lock", ".summary.lock", ".report.lock", ".other")]
    for path in others:
        path.touch()
    build(tmp_path)
    files.remove_temporaries(tmp_path, "images")
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in others)


# Real trainings.


@pytest.mark.slow
@case(
    SECTION,
    have="no room for the weights (a full disk, or `ulimit -f`)",
    here="one line with cause and file, exit code 1; the same command resumes when there is room",
    reported="ultralytics #5793",
)
@pytest.mark.parametrize(
    ("limit", "file", "reason"),
    [(4 * MB, "last.pt", "no checkpoint was saved"), (10 * MB, "training.state", "none was saved yet")],
)
def test_no_room_for_the_weights(tmp_path, data, limit, file, reason):
    line = ("-m", "seed=0,1", "train.epochs=2")
    code, out, err = finish(tmp_path, data, *line, preexec_fn=file_size(limit))
    assert code == 1
    assert f"weights/{file}" in one_line_of(err, "File too large: ")
    assert "baseline seed 0 is interrupted: File too large" in out
    assert "baseline seed 1 is pending" in out
    assert not temporaries(tmp_path)
    code, _, err = finish(tmp_path, data, *line)
    assert code == 0, err
    assert "restarted from scratch: " in err
    assert reason in err


@pytest.mark.slow
@case(
    SECTION,
    have="no room for even a small file",
    here="one line with cause and file, exit code 1, nothing half-written",
)
def test_no_room_at_all(tmp_path, data):
    code, _, err = finish(tmp_path, data, preexec_fn=file_size(100))
    assert code == 1
    one_line_of(err, "File too large: runs/default/")
    assert not temporaries(tmp_path)
    assert finish(tmp_path, data, "train.epochs=1")[0] == 0


@pytest.mark.slow
@case(
    SECTION,
    have="no room for the summary or the report",
    here="the table is printed, one line names the file, exit code 1",
)
def test_no_room_for_the_report(tmp_path, data):
    assert finish(tmp_path, data, "train.epochs=1")[0] == 0
    run = only_run(tmp_path)
    shutil.rmtree(run.path / "wandb", ignore_errors=True)
    for limit, file in ((1_000, "summary.json"), (20_000, "runs/default")):
        code, out, err = finish(tmp_path, data, "train.epochs=1", "report.auto=true", preexec_fn=file_size(limit))
        assert code == 1
        assert file in one_line_of(err, "File too large: ")
        assert "baseline" in out
        assert not temporaries(tmp_path)
    assert run.is_done()
    assert finish(tmp_path, data, "train.epochs=1", "report.auto=true")[0] == 0


@pytest.mark.slow
@case(SECTION, have="too many open files", here="one line with the cause, exit code 1")
def test_too_many_open_files(tmp_path, data):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))  # noqa: E731
    code, _, err = finish(tmp_path, data, preexec_fn=limit)
    assert code == 1
    one_line_of(err, "Too many open files")


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(size)``: a folder on a disk of that many MB, made larger by a second call."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(megabytes: int, mode: str = "rw") -> Path:
        remount = "remount," if os.path.ismount(folder) else ""
        options = f"{remount}size={megabytes}m,{mode}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("mounting needs rights")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_small_disk_and_then_a_larger_one(tmp_path, data, small_disk):
    """No room in turn for the first checkpoint, the first state to resume from, and the second."""
    disk = small_disk(10)
    line = (f"runs_dir={disk}/runs", "train.epochs=3")
    for size in (10, 40, 90):
        small_disk(size)
        code, _, err = finish(tmp_path, data, *line)
        assert code == 1
        one_line_of(err, "No space left on device: ")
        assert not temporaries(disk)
    small_disk(200)
    code, _, err = finish(tmp_path, data, *line)
    assert code == 0, err
    (run,) = (disk / "runs" / "default").glob("baseline-*")
    assert only_run(disk).status()["resumed"], run


@pytest.mark.slow
@case(SECTION, have="runs_dir on a read-only disk", here="one line, exit code 2, before the first run")
def test_a_read_only_disk(tmp_path, data, small_disk):
    disk = small_disk(1, "ro")
    code, _, err = finish(tmp_path, data, f"runs_dir={disk}/runs")
    assert code == 2
    assert "can't be written (Read-only file system)" in err
    assert "Traceback" not in err


@pytest.mark.slow
@case(
    SECTION,
    have="a full disk for the cache of scans",
    here="the data set is read again each time; nothing else changes",
)
def test_a_full_cache(tmp_path, data, small_disk):
    disk = small_disk(1)
    subprocess.run(["dd", "if=/dev/zero", f"of={disk}/fill", "bs=4k"], capture_output=True, check=False)
    environment = {**os.environ, "XDG_CACHE_HOME": str(disk)}
    code, _, err = finish(tmp_path, data, "train.epochs=1", env=environment)
    assert code == 0, err
    assert [path.name for path in disk.rglob("*") if path.is_file()] == ["fill"]
