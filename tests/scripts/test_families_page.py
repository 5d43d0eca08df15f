"""docs/families.md is what the code says, and the command line refuses exactly the placements that it does not list."""

from __future__ import annotations

from pathlib import Path

import pytest

from acmix_exp.config import ModelConfig, options
from acmix_exp.errors import ConfigError
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo.families import FAMILIES
from scripts import families_page

PLACEMENTS = [name for name in options("model/placement") if name != "none"]


def test_the_tables_of_the_page_are_written_by_the_script() -> None:
    page = families_page.PAGE.read_text(encoding="utf-8")
    assert families_page.with_tables(page) == page, "run: python -m scripts.families_page"


def test_every_family_has_a_config() -> None:
    assert set(options("model")) == set(FAMILIES)


QUICK = ("yolov8", "yolo26", "rtdetr")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in options("model")]
)
def test_the_placements_of_a_family(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = ModelConfig(name, FAMILIES[name].scales[0])
    refused = [each for each in PLACEMENTS if families_page.fault(families_page.read(each), model)]
    command = ["-m", f"model={name}", f"model/placement={','.join(PLACEMENTS)}", "block=ema", "hardware=cpu"]
    if not refused:
        assert len(compose_cells(command)) == len(PLACEMENTS)
        return
    with pytest.raises(ConfigError) as caught:
        compose_cells(command)
    assert len(caught.value.lines) == len(refused)
    for line, placement in zip(sorted(caught.value.lines), sorted(refused), strict=True):
        assert line.startswith(f"model/placement={placement} model.placement.sites=")
