"""``model.yaml=my.yaml``: what is odd in a YAML of the user's is named, or does not matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from acmix_exp.config import ModelConfig
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo import families
from acmix_exp.yolo.sites import Network
from tests.robustness.cases import Row, add, case

SECTION = "What is trained"
Change = Callable[[dict[str, Any]], Any]


def with_row(index: int, *row: Any) -> Change:
    """The row of a layer replaced."""

    def change(content: dict[str, Any]) -> None:
        rows = content["backbone"] + content["head"]
        rows[index] = list(row)
        content["backbone"], content["head"] = rows[:10], rows[10:]

    return change


REFUSED: dict[str, tuple[Change, str]] = {  # what is odd in a YAML of YOLOv8, and what the line says
    "without a list `head:`": (
        lambda content: content.update(head=5),
        "its last layer is None; must be Detect, v10Detect or RTDETRDecoder",
    ),
    "of a segmenter, with `model.task=detect`": (
        with_row(22, [15, 18, 21], 1, "Segment", ["nc", 32, 256]),
        "its last layer is Segment; must be Detect, v10Detect or RTDETRDecoder for model.task=detect, or model.task=",
    ),
    "with two heads": (
        lambda content: content["head"].insert(-1, [[15, 18], 1, "Detect", ["nc"]]),
        "layer 22 is Detect, and the last layer Detect; must have one head",
    ),
    "with a list for the repeats of a layer": (
        with_row(2, -1, [3, 6], "C2f", [128, True]),
        "row 2 of backbone: is [-1, [3, 6], 'C2f', [128, True]]; must be [from, repeats, module, args]",
    ),
    "with a layer that reads one after itself": (
        with_row(11, [-1, 60], 1, "Concat", [1]),
        "layer 11, Concat, cannot be read (reads layer 60, and must read one before it)",
    ),
    "with a stride of 0": (
        with_row(3, -1, 1, "Conv", [256, 3, 0]),
        "layer 3, Conv, cannot be read (gives 64 channels at stride 0)",
    ),
    "with a layer of 0 channels": (
        with_row(3, -1, 1, "Conv", [0, 3, 2]),
        "layer 3, Conv, cannot be read (gives 0 channels at stride 8)",
    ),
    "with `scales: [n, s]`": (
        lambda content: content.update(scales=["n", "s"]),
        "its scales have ['n', 's']; must be [depth, width, most channels] by letter, such as n: [0.33, 0.25, 1024]",
    ),
    "with a scale of two numbers": (
        lambda content: content.update(scales={"n": [0.33, 0.25]}),
        "its scales have [0.33, 0.25]; must be [depth, width, most channels] by letter",
    ),
}
for _have in REFUSED:
    add(Row(SECTION, f"a YAML of one's own {_have}", "one line with the file and the layer or key, exit code 2"))


def written(path: Path, change: Change) -> Path:
    """A YAML of YOLOv8 with a change."""
    content = families.yaml_of(ModelConfig())
    change(content)
    path.write_text(yaml.safe_dump({key: content[key] for key in content if key not in ("scale", "yaml_file")}))
    return path


@pytest.mark.parametrize("have", REFUSED)
def test_what_is_odd_is_named(have: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    change, words = REFUSED[have]
    path = written(tmp_path / "mine.yaml", change)
    with pytest.raises(ConfigError) as caught:
        Network.of(ModelConfig(yaml=str(path)))
    (line,) = caught.value.lines
    assert line.startswith(f"model.yaml={path}: ")
    assert words in line


def test_it_is_named_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "mine.yaml", REFUSED["with two heads"][0])
    with pytest.raises(ConfigError) as caught:
        compose_cells([f"model.yaml={path}", "hardware=cpu"])
    assert len(caught.value.lines) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["mine.yaml"]


@case(
    SECTION,
    have="a YAML of one's own without `scales:` or `nc:`",
    here="taken as it is: ultralytics' default depth and width, and the classes of the data",
)
def test_scales_and_the_number_of_classes_may_be_missing(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        del content["scales"], content["nc"]

    model = ModelConfig(yaml=str(written(tmp_path / "mine.yaml", change)))
    assert families.yaml_of(model)["nc"] == 80
    assert families.identity(model)["scale"] is None
    assert Network.of(model).title == "mine"
    assert Network.of(model).sites["backbone_p5"].channels == 1024


@case(
    SECTION,
    have="a YAML of one's own with a layer that the head does not depend on",
    here="no site: a block there would change nothing",
)
def test_a_layer_that_is_not_used_is_no_site(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.yaml", lambda content: content["head"].insert(-1, [15, 1, "C2f", [256]]))
    found, stock = (Network.of(model).sites for model in (ModelConfig(yaml=str(path)), ModelConfig()))
    assert {name: layer.index for name, layer in found.items()} == {name: layer.index for name, layer in stock.items()}


@case(
    SECTION,
    have="`model.scale=s` with a YAML of one's own that has no scales",
    here="one line that says so, exit code 2: every scale would be the same network",
)
def test_a_scale_that_the_yaml_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "mine.yaml", lambda content: content.pop("scales"))
    with pytest.raises(ConfigError) as caught:
        compose_cells([f"model.yaml={path}", "model.scale=s", "block.head=2", "hardware=cpu"])
    assert caught.value.lines == [f"model.scale=s: model.yaml={path} has no scales; leave it out"]
