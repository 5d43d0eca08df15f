"""history.csv has one row per epoch, also after a resume."""

import pytest

from acmix_exp.run.directory import History, Run


def epochs(run):
    return [(int(row["epoch"]), float(row["map50_95"])) for row in run.history()]


def test_a_repeated_epoch_is_written_once(tmp_path):
    history = History(Run(tmp_path), resumed=False)
    history.add({"epoch": 1, "map50_95": 0.1})
    history.add({"epoch": 2, "map50_95": 0.2})
    resumed = History(Run(tmp_path), resumed=True)
    resumed.add({"epoch": 2, "map50_95": 0.25})
    resumed.add({"epoch": 3, "map50_95": 0.3})
    assert epochs(Run(tmp_path)) == [(1, 0.1), (2, 0.25), (3, 0.3)]


def test_a_restart_drops_the_old_rows(tmp_path):
    History(Run(tmp_path), resumed=False).add({"epoch": 5, "map50_95": 0.5})
    History(Run(tmp_path), resumed=False).add({"epoch": 1, "map50_95": 0.1})
    assert epochs(Run(tmp_path)) == [(1, 0.1)]


@pytest.mark.parametrize("row", ["x,0.1,0.2", "1,y,0.2", "1,0.1,z", "nan,0.1,0.2", "inf,0.1,0.2", "0,0.1,0.2", "1,0.1"])
def test_rows_that_are_no_epoch_are_left_out(make_run, row):
    run = make_run()
    (run.path / "history.csv").write_text(f"epoch,map50,map50_95\n{row}\n2,nan,0.2\n")
    assert [entry["epoch"] for entry in run.history()] == ["2"]
