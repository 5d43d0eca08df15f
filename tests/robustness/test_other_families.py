"""Families, variants and YAMLs of one's own: what does not exist or does not fit is named before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from acmix_exp.config import Config, ModelConfig
from acmix_exp.data import inspect, resolve
from acmix_exp.errors import ChangedError, ConfigError
from acmix_exp.run import fingerprints
from acmix_exp.sweep import arm
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.sweep.run_key import identity
from acmix_exp.yolo import families
from tests.robustness.cases import Row, add, case

SECTION = "What is trained"
REFUSED = {  # what people type: what the line says, and the row of the table
    "model=yolo12 model/placement=sppf": (
        ["model.placement.sites=sppf: yolo12n has no such site; must be one of backbone_p2, "],
        "a placement at a layer that the family does not have, such as the SPPF in YOLO12",
    ),
    "model=yolo26 model/placement=bottleneck_p3p4p5": (
        ["model.placement.sites=backbone_p3: yolo26n has nothing to replace there (layer 4, C3k2: ", "twice as many"],
        "`mode: replace` where a convolution changes the number of channels, as in C3k2 of the small scales",
    ),
    "model=yolo12 model/placement=bottleneck_p4p5": (
        [
            "sites=backbone_p4, backbone_p5: yolo12n has nothing to replace there (layer 6, layer 8, A2C2f: ",
            "attention",
        ],
        "`mode: replace` in a layer of attention",
    ),
    "model=yolov8 model/placement=swap_attention": (
        ["model.placement.sites=attention: yolov8n has no attention; use a family that has, such as yolo12 or yolo26"],
        "`model/placement=swap_attention` where there is no attention",
    ),
    "model=yolo26 model.placement.mode=swap model.placement.sites=[psa,backbone_p4]": (
        ["sites=backbone_p4: yolo26n has nothing to replace there (layer 6, C3k2: it holds no attention); use psa"],
        "`mode: swap` at a layer without attention",
    ),
    "model=yolo26 arm=no_attention": (
        ["arm=no_attention model/placement=backbone_p4p5: ", "use a placement of mode swap"],
        "`arm=no_attention` with a placement that leaves the attention where it is",
    ),
    "model=yolov9 model.scale=m model/placement=bottleneck_p4p5": (
        ["block.head=4: must divide", "backbone_p4 has 90"],
        "heads that do not divide the channels of a site of another family",
    ),
    "model=rtdetr model.scale=n": (
        ["model.scale=n: must be one of l, x, resnet50, resnet101, for RT-DETR"],
        "a scale that the family does not have (yolov9n, rtdetr-n)",
    ),
    "model=yolo11 model.variant=p2": (
        ["model.variant=p2: must be null: YOLO11 has no variants"],
        "a P2 or P6 variant that ultralytics does not ship",
    ),
    "model=yolov8 model.variant=p6 train.imgsz=96": (
        ["train.imgsz=96: must be a multiple of 64 for yolov8n-p6"],
        "an image size that a P6 network would round up",
    ),
    "model.yaml=yolo11-seg.yaml": (
        ["model.yaml=yolo11-seg.yaml: its last layer is Segment; must be Detect, v10Detect or RTDETRDecoder"],
        "a YAML of another task as `model.yaml`",
    ),
    "model=rtdetr +train.extra.dfl=2.0": (
        ["train.extra.dfl=2.0: the training of RT-DETR does not use it"],
        "a loss gain that RT-DETR ignores without a word",
    ),
}
for _, have in REFUSED.values():
    add(Row(SECTION, have, "one line with the reason and what would be right, exit code 2"))


@pytest.mark.parametrize("typed", REFUSED)
def test_what_does_not_fit_is_named(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        compose_cells(["hardware=cpu", *typed.split()])
    (line,) = caught.value.lines
    assert all(words in line for words in REFUSED[typed][0]), line


@case(
    SECTION,
    have="weights of YOLO26 for YOLO11, whose layers have the same classes and mostly the same shapes",
    here="refused before the first job, with what they are",
)
def test_weights_of_a_family_with_the_same_layers(tmp_path: Path) -> None:
    import torch
    from ultralytics.nn.tasks import DetectionModel

    from acmix_exp.yolo.preflight import preflight
    from tests.yolo.builders import make_config

    path = tmp_path / "weights.pt"
    torch.save({"model": DetectionModel("yolo26n.yaml", nc=2, verbose=False)}, path)
    keys: dict[str, Any] = {"arm__insert": False, "model__pretrained": str(path)}
    (line,) = preflight([make_config(model__family="yolo11", **keys)])
    assert line == (
        f"model.pretrained={path}: is yolo26n (task detect, 2 classes); must be a YOLO11 detector of scale n, "
        "as yolo11n.pt is (model.family=yolo11 model.scale=n)"
    )
    assert preflight([make_config(model__family="yolo26", **keys)]) == {}


def own(path: Path) -> Config:
    (cell,) = compose_cells([f"model.yaml={path}", "hardware=cpu"])
    return arm.apply(cell.config)


@case(
    SECTION,
    have="a YAML of one's own that is changed between two commands, or while its runs train",
    here="another run; a run that has begun fails with `changed:` and the file",
)
def test_a_yaml_of_ones_own_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = families.yaml_of(ModelConfig("yolo11"))
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    before = identity(own(path), "f")
    assert before["model"] == {"name": "mine", "scale": "n", "yaml": before["model"]["yaml"], "pretrained": None}
    moved = tmp_path / "other" / "mine.yaml"
    moved.parent.mkdir()
    moved.write_text("# a copy\n" + path.read_text())
    assert identity(own(moved), "f") == before
    content["backbone"][2][1] = 3
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    config = own(path)
    assert identity(config, "f") != before
    recorded = {**before, "data": inspect(resolve(config.dataset)).fingerprint}
    with pytest.raises(ChangedError, match=f"model.yaml={path} "):
        fingerprints.verify(config, recorded)
    path.unlink()
    with pytest.raises(ChangedError, match="no such file"):
        fingerprints.verify(config, recorded)
