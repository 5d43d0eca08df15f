"""history.csv has one row per epoch, also after a resume."""

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
