"""Sites by their role, from the YAML of a family: without torch, and equal to the networks that ultralytics builds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from acmix_exp.config import ModelConfig, PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo import families
from acmix_exp.yolo.sites import Network, Site, _network, resolve_sites, zero_init
from acmix_exp.yolo.yaml_layers import layers


def placement(*sites: object, mode: str = "after", **options: object) -> PlacementConfig:
    return PlacementConfig(name="test", mode=mode, sites=list(sites), **options)


def network(family: str = "yolov8", scale: str | None = None, variant: str | None = None) -> Network:
    return Network.of(ModelConfig(family, scale or families.FAMILIES[family].scales[0], variant))


YOLOV8 = network()


@pytest.mark.parametrize("value", ["backbone_p4", "backbone.p4", 6, "6"], ids=repr)
def test_a_site_by_name_or_index(value: object) -> None:
    assert resolve_sites(placement(value), YOLOV8) == [Site("backbone_p4", 6, 128, 16)]


def test_network_order_and_block_names() -> None:
    sites = resolve_sites(placement("backbone_p5", 6, mode="replace"), YOLOV8)
    assert [(site.name, site.channels, site.block_names) for site in sites] == [
        ("backbone_p4", 64, ["backbone_p4.0", "backbone_p4.1"]),
        ("backbone_p5", 128, ["backbone_p5"]),
    ]
    assert resolve_sites(placement(), YOLOV8) == []


@pytest.mark.parametrize(
    ("family", "scale", "variant", "indices", "neck"),
    [
        ("yolov8", "n", None, (4, 6, 8, 9, None), (12, 15, 18, 21)),
        ("yolov5", "n", None, (4, 6, 8, 9, None), (13, 17, 20, 23)),
        ("yolov9", "t", None, (4, 6, 8, 9, None), (12, 15, 18, 21)),
        ("yolov9", "e", None, (22, 25, 28, 29, None), (32, 35, 38, 41)),
        ("yolov10", "n", None, (4, 6, 8, 9, 10), (13, 16, 19, 22)),
        ("yolo11", "n", None, (4, 6, 8, 9, 10), (13, 16, 19, 22)),
        ("yolo12", "n", None, (4, 6, 8, None, None), (11, 14, 17, 20)),
        ("yolo26", "n", None, (4, 6, 8, 9, 10), (13, 16, 19, 22)),
        ("rtdetr", "l", None, (3, 7, 9, None, 11), (16, 21, 24, 27)),
        ("rtdetr", "resnet50", None, (2, 3, 4, None, 6), (11, 16, 19, 22)),
        ("yolo26", "n", "p2", (4, 6, 8, 9, 10), (13, 22, 25, 28)),
        ("yolov8", "n", "p6", (4, 6, 8, 11, None), (17, 20, 23, 26)),
    ],
    ids=str,
)
def test_roles(
    family: str, scale: str, variant: str | None, indices: tuple[int | None, ...], neck: tuple[int, ...]
) -> None:
    found = {name: layer.index for name, layer in network(family, scale, variant).sites.items()}
    roles = ("backbone_p3", "backbone_p4", "backbone_p5", "sppf", "psa")
    assert tuple(map(found.get, roles)) == indices
    assert tuple(map(found.get, ("neck_p4_down", "neck_p3", "neck_p4", "neck_p5"))) == neck


def test_groups_follow_the_variant() -> None:
    names = {variant: network("yolo26", "n", variant).groups["head_inputs"] for variant in (None, "p2", "p6")}
    assert names[None] == ["neck_p3", "neck_p4", "neck_p5"]
    assert names["p2"] == ["neck_p2", *names[None]]
    assert names["p6"] == [*names[None], "neck_p6"]
    of_group = resolve_sites(placement("neck"), network("yolov8", "n", "p6"))
    assert [site.name for site in of_group] == ["neck_p5_down", "neck_p4_down", *names["p6"]]
    assert network("yolov8", "n", "p6").stride == 64


def test_what_a_block_can_replace() -> None:
    n, m = (resolve_sites(placement("backbone_p4", mode="replace"), network("yolo26", scale))[0] for scale in "nm")
    assert (n.channels, n.paths) == (32, ("m.0.m.0.cv2", "m.0.m.1.cv2"))
    assert (m.channels, len(m.paths)) == (128, 2)
    (elan,) = resolve_sites(placement("neck_p3", mode="replace"), network("yolov9"))
    assert elan.paths == tuple(f"{part}.0.m.{i}.cv2" for part in ("cv2", "cv3") for i in range(3))
    for name, where, reason in (
        ("yolo11", "backbone_p3", "twice as many outputs as inputs"),
        ("yolo12", "backbone_p4", "area attention"),
        ("yolov10", "neck_p5", "depthwise"),
        ("rtdetr", "backbone_p4", "in no bottleneck"),
    ):
        with pytest.raises(ConfigError) as caught:
            resolve_sites(placement(where, mode="replace"), network(name))
        (line,) = caught.value.lines
        assert line.startswith(f"model.placement.sites={where}: ")
        assert reason in line
        assert "model.placement.mode=after" in line


@pytest.mark.parametrize(
    ("sites", "mode", "key", "right"),
    [
        (["backbone_p6"], "after", "model.placement.sites=backbone_p6", "backbone_p2"),
        (["psa"], "after", "model.placement.sites=psa", "yolov8n has no such site; must be one of backbone_p2"),
        ([5], "after", "model.placement.sites=5", "21"),
        ([-1], "after", "model.placement.sites=-1", "21"),
        ([8, "backbone_p5"], "after", "model.placement.sites=backbone_p5", "twice"),
        (["neck", "neck_p3"], "after", "model.placement.sites=neck_p3", "twice"),
        (["sppf"], "replace", "model.placement.sites=sppf", "mode=after"),
        (["sppf"], "before", "model.placement.mode=before", "replace"),
    ],
)
def test_unknown_sites_are_refused(sites: list[object], mode: str, key: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_sites(placement(*sites, mode=mode), YOLOV8)
    (line,) = caught.value.lines
    assert line.startswith(f"{key}:")
    assert right in line


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (ModelConfig("yolov7"), "model.family=yolov7: must be one of yolov8, yolov5, yolov9"),
        (ModelConfig("yolov9", "n"), "model.scale=n: must be one of t, s, m, c, e, for YOLOv9"),
        (ModelConfig("yolov8", "q"), "model.scale=q: must be one of n, s, m, l, x, for YOLOv8"),
        (ModelConfig("yolo26", "n", "p3"), "model.variant=p3: must be p2 or p6 or null"),
        (ModelConfig("yolo11", "n", "p2"), "model.variant=p2: must be null: YOLO11 has no variants"),
        (ModelConfig("yolov8", yaml="no.yaml"), "model.yaml=no.yaml: no such file"),
        (
            ModelConfig("yolov8", yaml="yolo11-seg.yaml"),
            "model.yaml=yolo11-seg.yaml: its last layer is Segment; must be",
        ),
        (ModelConfig("yolov8", yaml="yolov6.yaml", variant="p6"), "model.variant=p6: goes with a family"),
    ],
    ids=str,
)
def test_networks_that_do_not_exist(model: ModelConfig, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Network.of(model)
    assert str(caught.value).startswith(line)


def test_zero_init() -> None:
    assert zero_init(placement(6), pretrained=True)
    assert not zero_init(placement(6), pretrained=False)
    assert zero_init(placement(6, zero_init=True), pretrained=False)
    assert not zero_init(placement(6, zero_init=False), pretrained=True)
    assert not zero_init(placement(6, residual=False), pretrained=True)
    assert not zero_init(placement(6, mode="replace"), pretrained=True)
    with pytest.raises(ConfigError, match=r"zero_init=true: needs .*residual=true"):
        resolve_sites(placement(6, zero_init=True, residual=False), YOLOV8)


def test_a_yaml_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    shipped = families.yaml_of(ModelConfig("yolo11", "n"))
    shipped["head"][-1][0] = [16, 19]
    path.write_text(
        yaml.safe_dump({key: shipped[key] for key in ("nc", "scales", "backbone", "head")}, sort_keys=False)
    )
    model = ModelConfig("yolov8", "s", yaml=str(path))
    mine = Network.of(model)
    assert mine.title == "mine s"
    assert mine.groups["head_inputs"] == ["neck_p3", "neck_p4"]
    assert mine.sites["neck_p4"].channels == 256
    before = families.yaml_digest(model)
    path.write_text("# a comment\n" + path.read_text().replace("nc: 80", "nc: 3"))
    assert families.yaml_digest(model) == before
    path.write_text(path.read_text().replace("512", "256"))
    assert families.yaml_digest(model) != before
    assert Network.of(model).sites["neck_p4"].channels == 128
    with pytest.raises(ConfigError, match=r"^model\.scale=q: must be one of n, s, m, l, x, the scales of "):
        Network.of(ModelConfig("yolov8", "q", yaml=str(path)))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("- 1", "describes no network"),
        ("backbone: [", "cannot be read"),
        ("backbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: [[[0], 1, Detect]]", r"head: is \[\[0\], 1, 'Detect'\]; must be"),
        ("backbone: [[4, 1, Conv, [8, 3, 2]]]\nhead: [[[0], 1, Detect, [nc]]]", r"layer 0, Conv, .*reads layer 4"),
        ("backbone: [[-1, 1, Conv, []]]\nhead: [[[0], 1, Detect, [nc]]]", "layer 0, Conv, cannot be read"),
        ("backbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: []", "its last layer is None"),
    ],
)
def test_a_damaged_yaml_of_ones_own(content: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=rf"^model\.yaml={path}: .*{line}") as caught:
        Network.of(ModelConfig("yolov8", yaml=str(path)))
    assert len(caught.value.lines) == 1


def test_every_yaml_of_ultralytics_is_read_at_once() -> None:
    folder = families._shipped("yolov8.yaml")
    assert folder is not None
    start, read = time.process_time(), 0
    for path in sorted(folder.parents[1].rglob("*.yaml")):
        content = yaml.load(path.read_text(), yaml.CSafeLoader)
        for scale in content.get("scales") or [""]:
            found = Network(path.stem, layers(content, scale))
            read += bool(found.sites)
    assert read > 200
    assert time.process_time() - start < 3


@pytest.mark.parametrize("family", families.FAMILIES)
def test_no_family_takes_long_to_plan(family: str) -> None:
    """YOLOv8n takes 2 to 5 milliseconds, and so do all others."""
    times = []
    for _ in range(3):
        _network.cache_clear()
        families._read.cache_clear()
        start = time.process_time()
        assert network(family, families.FAMILIES[family].scales[-1]).groups
        times.append(time.process_time() - start)
    assert min(times) < 0.03


def test_the_families_are_those_of_ultralytics() -> None:
    """Every detector YAML that ultralytics ships for a family is a scale or a variant of it."""
    folder = families._shipped("yolov8.yaml")
    assert folder is not None
    for family in families.FAMILIES.values():
        if family.backbone:
            continue
        shipped = {path.name for path in folder.parents[1].rglob(f"{family.base}*.yaml")}
        others = ("-cls", "-seg", "-pose", "-obb", "-sem", "-depth", "-world", "-ghost", "-rtdetr")
        detectors = {name for name in shipped if not any(other in name for other in others)}
        named = {family.file(scale, variant) for scale in family.scales for variant in (None, *family.variants)}
        assert detectors == named
        if not family.own_files:
            for variant in (None, *family.variants):
                content = families.yaml_of(ModelConfig(family.base, family.scales[0], variant))
                assert tuple(content["scales"]) == family.scales


def test_no_torch() -> None:
    names = "families yaml_layers inner sites arguments resume run pretrained"
    code = f"""
import sys
from importlib import import_module
for name in {names!r}.split():
    import_module("acmix_exp.yolo." + name)
from acmix_exp.config import ModelConfig
from acmix_exp.yolo.families import FAMILIES
from acmix_exp.yolo.sites import Network
for name, family in FAMILIES.items():
    for scale in family.scales:
        for variant in (None, *family.variants):
            assert Network.of(ModelConfig(name, scale, variant)).groups
assert not {{"torch", "ultralytics"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
