"""``task=power``: seeds, runs and time by difference, from a folder or from ``sd``; and what it refuses."""

from __future__ import annotations

import re
import shutil
import time

import pytest

from acmix_exp.errors import ConfigError
from acmix_exp.report.sample_size import seeds_for
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.tasks.power import power
from tests.report.builders import add_runs


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def printed(capsys):
    """``printed("sd=0.01")``: what is printed, and the rows of its numbers as lists of words."""

    def run(*arguments):
        assert power(compose_cells(["task=power", *arguments])) == 0
        out = capsys.readouterr().out
        rows = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines() if re.match(r"\s*0\.\d+\s", line)]
        return " ".join(out.split()), rows

    return run


def refused(*arguments):
    with pytest.raises(ConfigError) as caught:
        power(compose_cells(["task=power", *arguments]))
    (line,) = caught.value.lines
    return line


def test_a_standard_deviation_of_a_run_is_enough(printed, tmp_path):
    text, rows = printed("sd=0.01", "+experiment=ablation_full", "seed=0", "arm=baseline,identity,conv,attention,mixed")
    assert "3 comparisons with baseline, 5 rows to train" in text
    assert "sd=0.01 is that of a run; a delta has 1.414 times that" in text
    assert "time: not known, because runs/ablation_full has no finished run" in text
    seeds = [seeds_for(effect, 0.01 * 2**0.5, 3) for effect in (0.005, 0.01, 0.02)]
    assert [row[:4] for row in rows] == [
        ["0.005", "0.5", str(seeds[0]), str(5 * seeds[0])],
        ["0.01", "1", str(seeds[1]), str(5 * seeds[1])],
        ["0.02", "2", str(seeds[2]), str(5 * seeds[2])],
    ]
    assert list(tmp_path.iterdir()) == []


def test_one_arm_is_one_comparison(printed):
    text, _ = printed("sd=0.01", "name=mine")
    assert "1 comparison with baseline, 2 rows to train" in text
    assert "runs/mine has no finished run" in text


def test_a_folder_gives_spread_its_upper_limit_and_the_time(printed, tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "identity", "conv", "mixed"), seeds=4, pictures=False)
    text, rows = printed("name=pilot")
    assert "2 comparisons with baseline, 4 rows to train" in text
    sd, upper = map(
        float, re.search(r"of a delta: ([\d.]+), over 4 seeds; its upper limit \(80 %\): ([\d.]+)", text).groups()
    )
    assert upper / sd == pytest.approx((3 / 1.005) ** 0.5, abs=0.02)  # 1.005: 20 % quantile of chi-square, 3 degrees
    assert "4 seeds: no arm can be called better or worse; at least 6 are needed; with 6, differences above" in text
    assert "1 run at once; a run took 11.1 min on AMD EPYC (2 cores)" in text
    for row, effect in zip(rows, (0.005, 0.01, 0.02), strict=True):
        seeds, at_limit = int(row[2]), int(row[5])
        assert seeds == pytest.approx(seeds_for(effect, sd, 2), abs=1)  # sd is printed with three digits
        assert at_limit == pytest.approx(seeds_for(effect, upper, 2), rel=0.02, abs=1)
        assert (int(row[3]), int(row[6])) == (4 * seeds, 4 * at_limit)
        hours, minutes = map(int, re.fullmatch(r"(\d+) h (\d+) min", row[4]).groups())
        assert 60 * hours + minutes == pytest.approx(4 * seeds * 666.2 / 60, abs=1)


def test_the_command_may_name_other_arms_and_hardware_than_the_folder_has(printed, tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "mixed"), seeds=6, pictures=False)
    _, alone = printed("name=pilot")
    text, rows = printed("name=pilot", "+experiment=ablation", "hardware=pool")
    assert "3 comparisons with baseline, 4 rows to train" in text
    assert "2 runs at once" in text
    assert int(rows[0][2]) > int(alone[0][2])
    assert "6 seeds: true differences above about" in text


def test_the_stock_network_alone_gives_the_spread_of_a_run(printed, tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline",), seeds=5, pictures=False)
    text, _ = printed("name=pilot")
    assert "over 5 seeds, 1.414 times that of a run, as no two arms share seeds" in text
    assert "1 comparison with baseline, 2 rows to train" in text


def test_sd_beats_the_runs_of_the_folder(printed, tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "mixed"), seeds=3, pictures=False)
    text, rows = printed("name=pilot", "sd=0.02")
    assert "sd=0.02 is that of a run" in text
    assert rows[0][2] == str(seeds_for(0.005, 0.02 * 2**0.5, 1))


def test_effects_and_level_may_be_chosen(printed):
    text, rows = printed("sd=0.01", "power.effects=[0.03]", "power.level=0.9")
    assert "with 90 % probability" in text
    assert [row[:3] for row in rows] == [["0.03", "3", str(seeds_for(0.03, 0.01 * 2**0.5, 1, 0.9))]]


def test_it_answers_in_seconds(printed, tmp_path):
    add_runs(tmp_path / "runs" / "pilot", seeds=8, pictures=False)
    start = time.monotonic()
    printed("name=pilot")
    assert time.monotonic() - start < 5


def test_a_folder_without_runs_is_named_with_those_that_have_some(tmp_path):
    assert refused("name=none").startswith("name=none: no runs in runs/none; must be a folder of experiments")
    add_runs(tmp_path / "runs" / "pilot", ("baseline",), seeds=1, pictures=False)
    assert "must be one of pilot; or give sd=0.01" in refused("name=none")


def test_one_seed_has_no_spread(tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "mixed"), seeds=1, pictures=False)
    assert refused("name=pilot").startswith("name=pilot: runs/pilot has no arm with two finished seeds")


def test_equal_seeds_have_no_spread(tmp_path):
    add_runs(tmp_path / "runs" / "pilot", ("baseline", "identity"), seeds=1, pictures=False)
    (path,) = (tmp_path / "runs" / "pilot").glob("baseline-*")
    for seed in (1, 2):
        copy_of(path, seed)
    assert refused("name=pilot").startswith("name=pilot: all seeds in runs/pilot are equal, so there is no spread")


def copy_of(path, seed):
    """The same run under another seed."""
    copy = path.with_name(path.name.replace("-s0-", f"-s{seed}-"))
    copy.mkdir()
    for name in ("config.yaml", "result.json", "status.json", "provenance.json", "history.csv"):
        text = (path / name).read_text()
        copy.joinpath(name).write_text(re.sub(r'("?seed"?): 0', rf"\1: {seed}", text))


def test_tables_that_share_a_reference_are_one_study(printed, tmp_path):
    """Two values of a key, each by a command of its own: two tables of one family."""
    folder = tmp_path / "runs" / "pilot"
    add_runs(folder, ("baseline", "mixed"), seeds=4, pictures=False)
    for path in list(folder.glob("mixed-*")):
        copy = path.with_name(path.name.replace("mixed-s", "mixed-s1"))
        shutil.copytree(path, copy)
        for name in ("config.yaml", "provenance.json"):
            text = (copy / name).read_text()
            (copy / name).write_text(re.sub(r'("?kernel_att"?): 7', r"\1: 5", text))
    text, _ = printed("name=pilot")
    assert "and 1 more table of the same family" in text
    assert "2 comparisons with baseline, 3 rows to train" in text
    assert text.count("comparisons with baseline") == 1


@pytest.mark.parametrize(("given", "at_once"), [((), 1), (("hardware=pool",), 2), (("hardware.runs_at_once=auto",), 1)])
def test_runs_at_once_are_those_of_the_folder_or_of_the_command(printed, tmp_path, given, at_once):
    folder = tmp_path / "runs" / "pilot"
    add_runs(folder, ("baseline", "mixed"), seeds=3, pictures=False)
    for path in folder.glob("*/config.yaml"):
        path.write_text(path.read_text() + "hardware: {runs_at_once: auto}\n")
    assert f"{at_once} run" in printed("name=pilot", "hardware.device=cpu", *given)[0]
