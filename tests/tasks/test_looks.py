"""seeds=auto: which runs each look trains, what stops them, and what the table says in the end."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest

from acmix_exp.errors import STOPS, ConfigError
from acmix_exp.tasks import train
from acmix_exp.tasks.plan import plan as show_plan
from acmix_exp.tasks.prospects import first_line
from tests.robustness.commands import tiny_data
from tests.tasks.looks_by_hand import SMALL, ByHand, effects, plan_of

ARMS = "arm=baseline,conv,mixed"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("acmix_exp.sweep.live_view.INTERVAL_SECONDS", 0.01)
    return tiny_data(tmp_path / "data")


@pytest.fixture
def command(data, monkeypatch):
    """``command(executor, "arm=...")``: the exit code of a training, and the rows of its summary by arm and, of swept
    ones, value."""

    def run(executor: ByHand, *arguments: str) -> tuple[int, dict[str, dict]]:
        monkeypatch.setattr(train.executors, "create", executor.create)
        before = {number: signal.getsignal(number) for number in STOPS}
        try:
            code = train.train(plan_of(data, *arguments))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        tables = json.loads(Path("runs/auto/summary.json").read_text())["tables"]
        return code, {row["arm"]: row for table in tables for row in table["rows"]}

    return run


def names(arm: str, seeds: range) -> list[str]:
    return [f"{arm}-s{seed}" for seed in seeds]


def test_arms_stop_at_the_look_that_decides_them_and_the_baseline_goes_on_with_the_rest(command, capsys):
    executor = ByHand(effects(mixed=0.1))
    code, rows = command(executor, ARMS, *SMALL)
    assert code == 0
    first, second, *more = executor.trained
    assert first == [name for arm in ("baseline", "conv", "mixed") for name in names(arm, range(6))]
    assert second == names("baseline", range(6, 8)) + names("mixed", range(6, 8))
    assert more == []
    assert [rows[arm]["n"] for arm in ("baseline", "conv", "mixed")] == [8, 6, 8]
    assert [rows[arm]["verdict"] for arm in ("conv", "mixed")] == ["no_difference", "better"]
    assert [rows[arm]["look"] for arm in ("baseline", "conv", "mixed")] == [None, 6, 8]
    assert rows["mixed"]["p_adjusted"] == pytest.approx(2 / 2**8)
    assert rows["mixed"]["simultaneous_low"] > 0
    output = capsys.readouterr()
    assert "decided at 6 seeds: conv no difference (stopped" in output.err
    assert "to be tested at 8 seeds: mixed." in output.err
    assert "Decided at 8 seeds: mixed better." in output.out
    provenance = json.loads(next(Path("runs/auto").glob("mixed-s0-*/provenance.json")).read_text())
    assert provenance["planned_seeds"] == list(range(10))
    assert provenance["seeds_plan"] == {"looks": [6, 8, 10], "shares": [0, 0.02, 0.03]}


@pytest.mark.slow
def test_all_arms_may_be_decided_at_the_first_look(command):
    executor = ByHand(lambda arm, seed: 0.5)
    code, rows = command(executor, ARMS, *SMALL)
    assert (code, len(executor.trained)) == (0, 1)
    assert {rows[arm]["verdict"] for arm in ("conv", "mixed")} == {"no_difference"}


def test_the_last_look_decides_everything(command):
    deltas = [1, 0, 1, 1, 0, 1, 2, 2, 0, -1]
    executor = ByHand(lambda arm, seed: 0.5 + (deltas[seed] / 100 if arm == "mixed" else 0))
    _, rows = command(executor, "arm=baseline,mixed", *SMALL)
    assert [len(part) for part in executor.trained] == [12, 4, 4]
    assert (rows["mixed"]["verdict"], rows["mixed"]["look"]) == ("no_difference", 10)


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_go_on_at_the_same_look_with_the_same_decisions(command):
    whole = ByHand(effects(mixed=0.1))
    _, expected = command(whole, ARMS, *SMALL)
    for path in Path("runs/auto").glob("*-s[67]-*"):
        shutil.rmtree(path)
    stopped = ByHand(effects(mixed=0.1), stop_at=6)
    code, rows = command(stopped, ARMS, *SMALL)
    assert code == 130
    assert (rows["conv"]["verdict"], rows["mixed"]["verdict"]) == ("no_difference", "interim")
    again = ByHand(effects(mixed=0.1))
    code, rows = command(again, ARMS, *SMALL)
    assert code == 0
    assert again.trained == [names("baseline", range(6, 8)) + names("mixed", range(6, 8))]
    assert {arm: row["verdict"] for arm, row in rows.items()} == {arm: row["verdict"] for arm, row in expected.items()}


@pytest.mark.slow
def test_a_finished_command_trains_nothing_more(command):
    command(ByHand(effects(mixed=0.1)), ARMS, *SMALL)
    again = ByHand(effects())
    code, _ = command(again, ARMS, *SMALL)
    assert (code, again.trained) == (0, [[]])


@pytest.mark.slow  # tests/robustness/test_seeds_auto.py has the decision alone, and so of the next
def test_a_failed_run_leaves_its_look_open_and_the_same_command_takes_it(command, capsys):
    def values(arm, seed):
        return "out of memory" if (arm, seed) == ("conv", 3) else effects(mixed=0.1)(arm, seed)

    failing = ByHand(values)
    code, rows = command(failing, ARMS, *SMALL)
    assert (code, len(failing.trained)) == (1, 1)
    assert {rows[arm]["verdict"] for arm in ("conv", "mixed")} == {"interim"}
    assert "conv-s3" in capsys.readouterr().err
    again = ByHand(effects(mixed=0.1))
    code, rows = command(again, ARMS, *SMALL)
    assert code == 0
    assert again.trained == [["conv-s3"], names("baseline", range(6, 8)) + names("mixed", range(6, 8))]


@pytest.mark.slow
def test_an_arm_that_diverged_stops_and_the_rest_goes_on(command):
    def values(arm, seed):
        diverged = "NonFiniteLoss: loss is nan"
        return diverged if (arm, seed) == ("conv", 3) else effects(mixed=0.1)(arm, seed)

    executor = ByHand(values)
    code, rows = command(executor, ARMS, *SMALL)
    assert code == 1
    assert executor.trained[1] == names("baseline", range(6, 8)) + names("mixed", range(6, 8))
    assert (rows["conv"]["verdict"], rows["mixed"]["verdict"]) == ("diverged", "better")


def test_the_harness_check_has_the_seeds_of_the_first_look(command):
    executor = ByHand(lambda arm, seed: effects(mixed=0.1)("baseline" if arm == "identity" else arm, seed))
    _, rows = command(executor, "arm=baseline,identity,mixed", *SMALL)
    assert executor.trained[1] == names("baseline", range(6, 8)) + names("mixed", range(6, 8))
    assert rows["identity"]["verdict"] == "harness_ok"
    assert rows["identity"]["n"] == 6


@pytest.mark.slow
def test_every_value_of_a_sweep_has_decisions_of_its_own(command):
    values = effects(mixed=0.1)
    executor = ByHand(values)
    code, _ = command(executor, "arm=baseline,mixed", "block.kernel_att=3,5", *SMALL)
    assert code == 0
    assert [len(part) for part in executor.trained] == [18, 6]
    tables = json.loads(Path("runs/auto/summary.json").read_text())["tables"]
    assert [(row["arm"], row["look"]) for row in tables[0]["rows"]] == [("baseline", None), ("mixed", 8), ("mixed", 8)]


@pytest.mark.slow
def test_few_seeds_of_an_earlier_command_are_part_of_the_first_look(command):
    command(ByHand(effects(mixed=0.1)), ARMS, "seed=range(0,3)")
    executor = ByHand(effects(mixed=0.1))
    _, rows = command(executor, ARMS, *SMALL)
    assert executor.trained[0] == [name for arm in ("baseline", "conv", "mixed") for name in names(arm, range(3, 6))]
    assert rows["mixed"]["verdict"] == "better"


def refusal(data: Path, *arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        train.train(plan_of(data, *arguments))
    return str(caught.value)


def test_enough_seeds_of_another_plan_are_refused(command, data):
    command(ByHand(effects()), ARMS, "seed=range(0,6)")
    assert "another plan trained" in refusal(data, ARMS, *SMALL)


def test_other_looks_than_those_of_the_folder_are_refused(command, data):
    command(ByHand(effects()), ARMS, *SMALL)
    line = refusal(data, ARMS, "seeds=auto")
    assert line.startswith("seeds_plan.looks=[6,8,12,16], shares=[0,0.016,0.014,0.02]: ")
    assert "looks=[6,8,10], shares=[0,0.02,0.03]" in line


@pytest.mark.slow
def test_an_arm_of_the_family_that_the_command_leaves_out_is_refused(command, data):
    command(ByHand(effects()), ARMS, *SMALL)
    assert "has runs of conv too" in refusal(data, "arm=baseline,mixed", *SMALL)


@pytest.mark.parametrize(
    ("arms", "words"),
    [
        ("arm=mixed,conv", "report.reference=baseline, which this command does not train"),
        ("arm=baseline", "no arm to compare"),
        ("arm=baseline,identity", "no arm to compare"),
    ],
)
def test_a_command_without_a_comparison_is_refused(data, arms, words):
    assert words in refusal(data, arms, *SMALL)
    assert not Path("runs").exists()


def test_the_first_line_says_what_each_look_can_show(data):
    line = first_line(plan_of(data, ARMS, *SMALL))
    assert line == (
        "seeds=auto: the looks share the 5 % of false claims: 0 at 6 seeds (smallest p 0.031: can stop an arm, not "
        "call it better or worse), 0.02 at 8 seeds (smallest p 0.0078), 0.03 at 10 seeds (smallest p 0.002)."
    )


@pytest.mark.slow
def test_the_plan_shows_the_runs_of_the_next_look(command, data, capsys):
    assert show_plan(plan_of(data, ARMS, "task=plan", *SMALL)) == 0
    output = capsys.readouterr()
    assert "18 runs for the next look; at most 30 runs in all" in " ".join(output.out.split())
    assert output.err == ""
    command(ByHand(effects(mixed=0.1), stop_at=6), ARMS, *SMALL)
    capsys.readouterr()
    show_plan(plan_of(data, ARMS, "task=plan", *SMALL))
    output = capsys.readouterr()
    assert "22 runs for the next look" in " ".join(output.out.split())
    assert "18 done, 4 left" in output.out
    assert "to be tested at 8 seeds: mixed." in output.err


class Detached(ByHand):
    """A cluster whose jobs outlive the command."""

    def interrupt(self) -> str | None:
        return "detached; scancel 7" if self.open else None


def test_without_waiting_the_same_command_submits_look_after_look(command, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    slurm = ("hardware=slurm", "hardware.device=cpu", "hardware.slurm.wait=false")
    cluster = Detached(effects(mixed=0.1))
    Path("runs/auto").mkdir(parents=True)
    Path("runs/auto/summary.json").write_text(json.dumps({"tables": []}))  # a command that detaches writes no table
    for look in (1, 2):
        code, _ = command(cluster, ARMS, *SMALL, *slurm)
        assert (code, len(cluster.trained)) == (0, look)
        cluster.wait(0)  # the jobs end
    code, rows = command(cluster, ARMS, *SMALL, *slurm)
    assert (code, cluster.trained[2:]) == (0, [[]])
    assert cluster.trained[1] == names("baseline", range(6, 8)) + names("mixed", range(6, 8))
    assert rows["mixed"]["verdict"] == "better"
