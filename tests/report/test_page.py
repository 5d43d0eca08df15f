"""The page in a browser: what its script does to tables, curves and images, and how long it takes to open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from acmix_exp.report.html import page as page_of
from acmix_exp.report.read_runs import read
from acmix_exp.report.write import write_summary
from tests.report import builders
from tests.report.browser import Browser, executable
from tests.report.test_build import check_numbers, summary

pytestmark = pytest.mark.skipif(executable() is None, reason="no Chromium here: the page was not opened in a browser")

ARMS = ("baseline", "conv", "mixed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three arms of three seeds; the figures that no script changes are left out."""
    folder = tmp_path_factory.mktemp("page") / "ablation"
    builders.add_runs(folder, ARMS, seeds=3, epochs=6)
    tables = write_summary(folder)
    (folder / "report.html").write_text(page_of(folder.name, tables, read(folder), [], folder))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, folder: Path) -> Browser:
    browser.open(folder / "report.html")
    return browser


def labels(page: Browser, table: str) -> list[str]:
    """The first cells of the rows that are shown, from top to bottom."""
    rows = f"[...document.querySelectorAll('table.{table} tbody tr')].filter(row => !row.hidden)"
    found: list[str] = page.evaluate(f"{rows}.map(row => row.cells[0].textContent)")
    return found


def click(page: Browser, selector: str, place: int = 0) -> None:
    page.evaluate(f"document.querySelectorAll({json.dumps(selector)})[{place}].click()")


def panels(page: Browser) -> dict[str, str]:
    """By panel of the images, what its caption counts."""
    found = page.evaluate(
        "[...document.querySelectorAll('.panels figure')].filter(panel => !panel.hidden)"
        ".map(panel => [panel.dataset.arm, panel.querySelector('figcaption span').textContent])"
    )
    return dict(found)


def press(page: Browser, selector: str, key: str) -> None:
    event = f"new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}})"
    page.evaluate(f"document.querySelector({json.dumps(selector)}).dispatchEvent({event})")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_opens_fast_and_fits_the_screen(browser: Browser, folder: Path, width: int, dark: bool) -> None:
    browser.open(folder / "report.html", width=width, dark=dark)
    assert browser.messages == []
    assert [url for url in browser.requests if not url.startswith(("file:///", "data:"))] == []
    assert sum(url.startswith("file:///") for url in browser.requests) == 1
    assert browser.evaluate("document.body.dataset.ready") == ""
    assert (
        browser.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart") < 3000
    )  # 300 if idle
    drawn = "[...document.querySelectorAll('figure svg, .panel svg')].filter(svg => svg.clientHeight < 80).length"
    assert browser.evaluate(drawn) == 0
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate("document.querySelector('table.overview').getBoundingClientRect().bottom") < 1200
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(15, 19, 24)" if dark else "rgb(255, 255, 255)")


def test_the_cells_are_those_of_summary_json(page: Browser, folder: Path) -> None:
    (table,) = summary(folder)
    cells = page.evaluate(
        "[...document.querySelectorAll('table.results tr')].map(row => [...row.children].map("
        "cell => [{'data-key': cell.dataset.key, 'data-value': cell.dataset.value}, cell.textContent]))"
    )
    check_numbers(cells, table)


def test_a_heading_sorts_the_rows_and_puts_them_back(page: Browser, folder: Path) -> None:
    (table,) = summary(folder)
    by_mean = [row["arm"] for row in sorted(table["rows"], key=lambda row: -row["map50_95_mean"])]
    place = page.evaluate(
        "[...document.querySelectorAll('.results th')].findIndex(h => /mAP50-95/.test(h.textContent))"
    )
    for expected, sort in ((by_mean, "descending"), (by_mean[::-1], "ascending"), (list(ARMS), None)):
        click(page, ".results th button", place)
        assert labels(page, "results") == expected
        assert page.evaluate(f"document.querySelectorAll('.results th')[{place}].getAttribute('aria-sort')") == sort
    click(page, ".overview th button", 2)
    assert labels(page, "overview")[0] == "mixed", "the largest difference; the reference has none and is last"
    assert labels(page, "overview")[-1] == "baseline"
    assert page.messages == []


def test_an_arm_is_hidden_everywhere_and_shown_again(page: Browser) -> None:
    click(page, ".finding .arms button", 1)
    for table in ("overview", "results", "evidence", "costs"):
        assert labels(page, table) == ["baseline", "mixed"]
    assert not [name for name in labels(page, "runs") if name.startswith("conv")]
    assert list(panels(page)) == ["ground truth", "baseline", "mixed"]
    assert page.evaluate("document.querySelectorAll('.panel path.mean').length") == 2
    assert page.evaluate("document.querySelector('.images .hidden-arms').textContent") == "Hidden: conv."
    click(page, ".finding .arms button.plain")
    assert labels(page, "results") == list(ARMS)
    page.evaluate("document.querySelectorAll('.curves .arms button')[2].dispatchEvent(new MouseEvent('dblclick'))")
    assert labels(page, "results") == ["mixed"]
    assert page.messages == []


def test_curves_of_a_metric_with_seeds_and_values_at_an_epoch(page: Browser, folder: Path) -> None:
    assert page.evaluate("document.querySelectorAll('.panel path.seed').length") == 0
    click(page, ".curves input[type=checkbox]")
    assert page.evaluate("document.querySelectorAll('.panel path.seed').length") == 9
    press(page, ".panel", "ArrowRight")
    values = [float(record.history[-1]["map50_95"]) for record in read(folder) if record.arm == "mixed"]
    assert f"{sum(values) / 3:.3f} ± " in page.evaluate("document.querySelector('.hint').textContent")
    assert "epoch 6" in page.evaluate("document.querySelector('.hint').textContent")
    page.evaluate(
        "(select => {select.value = 'train/box_loss'; select.dispatchEvent(new Event('change'))})"
        "(document.querySelector('.curves select'))"
    )
    assert page.evaluate("document.querySelector('.panel').getAttribute('aria-label')").startswith("train/box_loss by")
    click(page, ".curves .arms button", 0)
    click(page, ".curves .arms button", 1)
    click(page, ".curves .arms button", 2)
    assert "No arm" in page.evaluate("document.querySelector('.panel').textContent")
    assert page.messages == []


def expected(folder: Path, arm: str, seed: int, number: int, confidence: float) -> int:
    """How many stored predictions of an image have at least this confidence."""
    record = next(record for record in read(folder) if (record.arm, record.seed) == (arm, seed))
    content: dict[str, Any] = json.loads((record.run.path / "images" / "images.json").read_text())
    return sum(box["confidence"] >= confidence for box in content["images"][number]["predictions"])


def detections(page: Browser, arm: str) -> int:
    words = panels(page)[arm].split()
    return int(words[1]) + int(words[3])


def test_images_follow_slider_keys_and_seed(page: Browser, folder: Path) -> None:
    for confidence in (0.25, 0.5, 0.9):
        page.evaluate(
            f"(slider => {{slider.value = {confidence}; slider.dispatchEvent(new Event('input'))}})"
            "(document.querySelector('.images input[type=range]'))"
        )
        for arm in ARMS:
            assert detections(page, arm) == expected(folder, arm, 0, 0, confidence)
    missed = int(panels(page)["mixed"].split()[-1])
    hits = int(panels(page)["mixed"].split()[1])
    assert missed + hits == 3, "the boxes of the first image"
    assert page.evaluate("document.querySelectorAll('[data-arm=mixed] .box.missed').length") == missed
    press(page, "div.images", "ArrowLeft")
    assert page.evaluate("document.querySelector('.images strong').textContent") == "image 4 of 4: blood_3.jpg"
    assert detections(page, "conv") == expected(folder, "conv", 0, 3, 0.9)
    page.evaluate(
        "(select => {select.value = '2'; select.dispatchEvent(new Event('change'))})"
        "(document.querySelectorAll('.images select')[1])"
    )
    for _ in range(20):
        press(page, "div.images", ",")
    assert page.evaluate("document.querySelector('.images output').textContent") == "0.10"
    assert detections(page, "conv") == expected(folder, "conv", 2, 3, 0.1)
    page.evaluate("document.querySelector('[data-arm=conv] svg').dispatchEvent(new MouseEvent('click'))")
    assert list(panels(page)) == ["conv"]
    press(page, "div.images", "Escape")
    assert len(panels(page)) == 4
    assert page.messages == []


def test_a_box_says_what_it_is(page: Browser) -> None:
    page.evaluate(
        "document.querySelector('[data-arm=mixed] .box').dispatchEvent("
        "new PointerEvent('pointermove', {bubbles: true, clientX: 50, clientY: 50}))"
    )
    words = page.evaluate("document.querySelector('.hint').textContent")
    assert any(kind in words for kind in ("true positive", "false positive", "missed"))
