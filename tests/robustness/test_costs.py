"""Costs that were easy to get wrong: of another form, of another size, of another network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.robustness.cases import case

SECTION = "Figures and numbers"


def costs(imgsz: int = 640, sites: tuple[str, ...] = ("backbone_p4",), **block: object) -> dict:
    from acmix_exp.config import ArmConfig, Config, ModelConfig, PlacementConfig
    from acmix_exp.profile import complexity
    from acmix_exp.yolo.model import build_model

    arm = ArmConfig(name="arm", insert=bool(block))
    model = ModelConfig(placement=PlacementConfig(name="here", sites=list(sites)))
    return complexity(build_model(Config(arm=arm, block=dict(block), model=model), nc=3), imgsz)[0]


@case(
    SECTION,
    have="`block.head=2,4,8`: a published formula makes 8 heads the cheapest, and they are the slowest",
    here="GFLOPs count what runs: 0.220, 0.242 and 0.286 at 128 channels, 40 x 40; the published form stands beside it",
)
def test_more_heads_cost_more() -> None:
    found = [costs(name="acmix", head=head) for head in (2, 4, 8)]
    assert [round(cost["gflops_block"], 3) for cost in found] == [0.220, 0.242, 0.286]
    published = [cost["gflops_published"] - cost["gflops"] + cost["gflops_block"] for cost in found]
    assert [round(figure, 3) for figure in published] == [0.242, 0.242, 0.242]
    fused = [cost["parameters_fused"] for cost in found]
    assert fused[0] < fused[1] < fused[2]


@case(
    SECTION,
    have="attention in a network whose GFLOPs ultralytics multiplies up from a 32 x 32 image: 9.7 printed for 8.5",
    here="its counter runs on an image of the size asked for; what it does not see is counted by the package",
)
@pytest.mark.parametrize("imgsz", [192, pytest.param(320, marks=pytest.mark.slow)])
def test_ultralytics_counter_is_not_extrapolated(imgsz: int) -> None:
    bare, acmix, hat = costs(imgsz), costs(imgsz, name="acmix", path="conv"), costs(imgsz, name="hat")
    assert bare["gflops_ultralytics"] == pytest.approx(bare["gflops"], rel=1e-3)
    assert acmix["gflops_ultralytics"] == pytest.approx(bare["gflops"], rel=1e-3)  # it misses the block
    assert hat["gflops_ultralytics"] == pytest.approx(hat["gflops"], rel=0.02)


@case(
    SECTION,
    have="runs of version 0.1 and newer runs in one table: the GFLOPs of the older are those of the published form",
    here="the figures of a newer run are shown, else a note names the arms and the command that counts them anew",
)
def test_runs_counted_by_the_older_rule_are_named(tmp_path: Path) -> None:
    from acmix_exp.report.write import write_summary
    from tests.report import builders

    paths = builders.add_runs(tmp_path / "x", ("baseline", "mixed"), seeds=2, epochs=2)
    write_summary(tmp_path / "x")
    noted = (tmp_path / "x" / "summary.md").read_text()
    assert "GFLOPs of mixed are those of the published form" in noted
    newer = next(path for path in paths if path.name.startswith("mixed-s1"))
    result = json.loads((newer / "result.json").read_text())
    result["cost"] |= {"gflops": 9.5, "gflops_published": 8.48}
    (newer / "result.json").write_text(json.dumps(result))
    write_summary(tmp_path / "x")
    assert "those of the published form" not in (tmp_path / "x" / "summary.md").read_text()
    rows = json.loads((tmp_path / "x" / "summary.json").read_text())["tables"][0]["rows"]
    assert {row["gflops"] for row in rows if row["arm"] == "mixed"} == {9.5}


@case(
    SECTION,
    have="a block of one's own without `flops`, or with the `flops()` of another project that takes other arguments",
    here="torch counts it, and it stands in the GFLOPs of the blocks; the run does not fail after its training",
)
def test_a_custom_block_counts_as_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_project.py").write_text(
        "from torch import nn\n"
        "class Point(nn.Conv2d):\n"
        "    def __init__(self, channels):\n"
        "        super().__init__(channels, channels, 1)\n"
        "    def flops(self):\n"
        "        return 'unknown'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    cost = costs(name="custom", target="other_project.Point")
    assert cost["gflops_block"] == pytest.approx(2 * 128 * 128 * 1600 / 1e9)
    assert cost["parameters_block"] == 128 * 129
