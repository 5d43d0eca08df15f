import subprocess
import sys

import pytest

from acmix_exp.config import SCALES, PlacementConfig
from acmix_exp.errors import ConfigError
from acmix_exp.yolo.families import YOLOV8
from acmix_exp.yolo.sites import Site, resolve_sites, zero_init


def placement(*sites: object, mode: str = "after", **options: object) -> PlacementConfig:
    return PlacementConfig(name="test", mode=mode, sites=list(sites), **options)


@pytest.mark.parametrize("value", ["backbone_p4", "backbone.p4", 6, "6"], ids=repr)
def test_a_site_by_name_or_index(value: object) -> None:
    assert resolve_sites(placement(value), "n") == [Site("backbone_p4", 6, 128)]


def test_the_scales_are_those_of_the_config() -> None:
    assert tuple(YOLOV8.scales) == SCALES


def test_network_order_and_block_names() -> None:
    sites = resolve_sites(placement("backbone_p5", 6, mode="replace"), "n")
    assert [(site.name, site.channels, site.block_names) for site in sites] == [
        ("backbone_p4", 64, ["backbone_p4.0", "backbone_p4.1"]),
        ("backbone_p5", 128, ["backbone_p5"]),
    ]
    assert resolve_sites(placement(), "n") == []


@pytest.mark.parametrize(
    ("sites", "mode", "scale", "key", "right"),
    [
        (["backbone_p6"], "after", "n", "model.placement.sites=backbone_p6", "backbone_p2"),
        ([5], "after", "n", "model.placement.sites=5", "21"),
        ([-1], "after", "n", "model.placement.sites=-1", "21"),
        ([8, "backbone_p5"], "after", "n", "model.placement.sites=backbone_p5", "twice"),
        (["sppf"], "replace", "n", "model.placement.sites=sppf", "after"),
        (["sppf"], "before", "n", "model.placement.mode=before", "replace"),
        (["sppf"], "after", "q", "model.scale=q", "n, s, m, l, x"),
    ],
)
def test_unknown_sites_are_refused(sites: list[object], mode: str, scale: str, key: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_sites(placement(*sites, mode=mode), scale)
    (line,) = caught.value.lines
    assert line.startswith(f"{key}:")
    assert right in line


def test_zero_init() -> None:
    assert zero_init(placement(6), pretrained=True)
    assert not zero_init(placement(6), pretrained=False)
    assert zero_init(placement(6, zero_init=True), pretrained=False)
    assert not zero_init(placement(6, zero_init=False), pretrained=True)
    assert not zero_init(placement(6, residual=False), pretrained=True)
    assert not zero_init(placement(6, mode="replace"), pretrained=True)
    with pytest.raises(ConfigError, match=r"zero_init=true: needs .*residual=true"):
        resolve_sites(placement(6, zero_init=True, residual=False), "n")


def test_no_torch() -> None:
    names = "families sites arguments resume run pretrained"
    code = f"""
import sys
from importlib import import_module
for name in {names!r}.split():
    import_module("acmix_exp.yolo." + name)
assert not {{"torch", "ultralytics"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
