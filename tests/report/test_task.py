"""What ``task=report`` refuses, in one line and before it writes anything."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from acmix_exp.config import Config, ReportConfig
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import Composed
from acmix_exp.tasks import report


@pytest.fixture
def cell(folder):
    return Composed(Config(name=folder.name, runs_dir=str(folder.parent)), ())


def test_a_reference_that_is_no_row(folder, add, cell):
    add("baseline", 0, 0.3)
    add("mixed", 0, None)
    with pytest.raises(ConfigError, match=r"^report.reference=basline: .* choose from baseline, mixed$"):
        report.report(replace(cell, config=replace(cell.config, report=ReportConfig(reference="basline"))))
    assert not list(folder.glob("summary.*"))


def test_no_run_that_can_be_read(folder, add, cell):
    for seed in (0, 1):
        (add("baseline", seed, 0.3) / "config.yaml").write_text("seed: [")
    with pytest.raises(ConfigError, match=r"^name=test: no run in .* can be read \(baseline-s0-.* and 1 more\)"):
        report.report(cell)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_only_be_read(add, cell, monkeypatch, number):
    add("baseline", 0, 0.3)

    def build(folder, asked):
        raise OSError(number, "no", str(folder / ".report.lock"))

    monkeypatch.setattr(report, "build", build)
    with pytest.raises(ConfigError, match=r"^runs_dir=.*: .*/test/.report.lock cannot be written; copy the folder$"):
        report.report(cell)


def test_a_full_disk_is_no_such_folder(add, cell, monkeypatch):
    add("baseline", 0, 0.3)
    monkeypatch.setattr(report, "build", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="full"):
        report.report(cell)
