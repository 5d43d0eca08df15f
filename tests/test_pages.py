"""The pages of docs/: every command composes, every Python snippet runs, what scripts write is current, links lead
somewhere.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acmix_exp import block_rules
from acmix_exp.report.statistics import Verdict
from acmix_exp.run import devices
from acmix_exp.sweep import compose
from acmix_exp.sweep.compose import compose_cells
from acmix_exp.yolo.families import yaml_of
from scripts import config_page, python_page
from tests.report import builders
from tests.report.browser import Browser, executable

REPO = Path(__file__).resolve().parents[1]
WRITTEN = {"robustness.md", "config.md", "summary.md"}  # by scripts; their code is no command
PAGES = {
    str(path.relative_to(REPO)): path.read_text(encoding="utf-8")
    for path in [*(REPO / "docs").rglob("*.md"), *REPO.glob("README*.md")]
    if path.name not in WRITTEN
}
PROGRAMS = (
    *("python -m acmix_exp", "python -m benchmarks.", "python -m scripts.", "python -m venv ", "pip install ", "make "),
    *(
        "wandb sync ",
        "squeue ",
        "scancel ",
        "tail ",
        "cp ",
        ". .venv/",
        'eval "$(acmix-exp --shell-completion ',
        "acmix-exp --shell-completion ",
    ),
)


def commands(text: str) -> list[str]:
    """The lines of shell blocks and of indented commands, without comments; a line that ends in a backslash goes on."""
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(
        r"^    (python -m acmix_exp (?:.*\\\n)*.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M
    )
    lines = "\n".join([*blocks, *indented]).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


COMMANDS = {command: page for page, text in PAGES.items() for command in commands(text)}
OURS = [line for line in COMMANDS if line.startswith("python -m acmix_exp") and "--" not in line]
# Settings in the tables of what to type in place of what.
SETTINGS = {
    setting
    for page, text in PAGES.items()
    if page.endswith("coming_from.md")
    for row in re.findall(r"^\| [^|]*\| (.*) \|$", text, re.MULTILINE)
    for setting in re.findall(r"`((?:-m )?'?[\w./]+=[^`]*)`", row)
}
SNIPPETS = [
    snippet for page, text in PAGES.items() for snippet in re.findall(r"^```python\n(.*?)```", text, re.M | re.DOTALL)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    root = tmp_path_factory.mktemp("user")
    (root / "my").mkdir()
    (root / "my" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")
    (root / "BCCD_Dataset" / "BCCD").mkdir(parents=True)
    for name in ("yolov8n.pt", "yolo11n.pt", "yolo12n.pt", "yolo26n.pt", "best.pt", "yolov8n_doclaynet.pt"):
        (root / name).touch()
    stock = yaml_of(compose_cells([])[0].config.model)
    for name in ("mine.yaml", "my.yaml"):
        (root / name).write_text(str({key: stock[key] for key in ("nc", "scales", "backbone", "head")}))
    (root / "my_module.py").write_text("from torch import nn\nclass MyBlock(nn.Identity):\n    pass\n")
    builders.add_runs(root / "runs" / "demo", ("baseline", "mixed"), seeds=2, epochs=2, pictures=False)
    return root


def test_every_command_is_of_a_known_program() -> None:
    assert {line: page for line, page in COMMANDS.items() if not f"{line} ".startswith(PROGRAMS)} == {}
    assert len(OURS) >= 40
    assert len(SETTINGS) >= 25


def marks(line: str) -> list[pytest.MarkDecorator]:
    """Commands of published experiments compose dozens of runs, which takes seconds."""
    return [pytest.mark.slow] if COMMANDS.get(line, "").startswith("docs/results") else []


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=marks(line))
        for line in [*OURS, *(f"python -m acmix_exp {setting}" for setting in sorted(SETTINGS))]
    ],
)
def test_every_command_composes(folder: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "hardware=ray" in line:
        pytest.importorskip("ray", reason="ray, of the extra of that name, is not installed")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(devices, "cuda_devices", lambda: 8)
    monkeypatch.setattr(block_rules, "missing_library", lambda block: None)  # as if every extra were installed
    arguments = shlex.split(line.replace("...", "my/data.yaml"))[3:]
    if "experiment=" in line and len(arguments) > 1:  # a command with the experiment alone composes all its cells
        axes = compose._axes
        monkeypatch.setattr(compose, "_axes", lambda *given, **options: of_last_values(axes(*given, **options), line))
    assert compose_cells(arguments)


def of_last_values(axes: dict[str, list[str]], line: str) -> dict[str, list[str]]:
    """The axes with all values that the line has itself, and of those of its experiment the last."""
    return {key: values if f"{key}=" in line else values[-1:] for key, values in axes.items()}


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
def test_make_commands_exist(line: str) -> None:
    subprocess.run(["make", "-n", *line.split()[1:]], cwd=REPO, capture_output=True, check=True)


@pytest.mark.parametrize(
    "flags", ["--help", "arm=mixed block.kernel_att=5 --cfg job", "--shell-completion install=bash"]
)
def test_what_the_pages_show_of_the_command_line_works(folder: Path, flags: str) -> None:
    assert any(flags in line for line in COMMANDS)
    subprocess.run([sys.executable, "-m", "acmix_exp", *flags.split()], cwd=folder, capture_output=True, check=True)


def test_offline_runs_of_wandb_are_where_the_pages_say() -> None:
    (line,) = [line for line in COMMANDS if line.startswith("wandb sync ")]
    (recipe,) = re.findall(r"find (runs/\S+) .*?-path '\*/(wandb/offline-run-\*)'", (REPO / "Makefile").read_text())
    assert line.split()[-1] == f"runs/demo/*/{recipe[1]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "snippet", [text for text in dict.fromkeys(SNIPPETS) if "acmix_exp" in text and "RUN" not in text]
)
def test_every_python_snippet_runs(folder: Path, snippet: str) -> None:
    if ".train(" in snippet:
        pytest.skip("trained by test_readme.py")
    environment = {**os.environ, "YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": str(folder / "settings")}
    environment.pop("PYTEST_CURRENT_TEST", None)  # with it ultralytics saves beside its own installation
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [config_page, python_page], ids=["config.md", "python.md"])
def test_what_a_script_writes_is_current(module) -> None:
    written = module.PAGE.read_text(encoding="utf-8")
    assert written == module.page(), f"run: python -m scripts.{module.__name__.rpartition('.')[2]}"


def test_every_key_and_public_function_has_a_meaning() -> None:
    page = config_page.page()
    keys = page.partition("## Keys")[2].partition("## Tasks")[0]
    rows = [line.split(" | ") for line in keys.splitlines() if line.startswith("| `")]
    assert [row[0] for row in rows if not "".join(row[2:]).strip(" |")] == []
    assert len(rows) > 60
    assert re.findall(r"```\n+(?=#)", python_page.page()) == []  # a signature without a text


IN_CHINESE = {
    "README.md": "README.zh-CN.md",
    **{f"docs/{path.name}": f"docs/zh/{path.name}" for path in sorted((REPO / "docs" / "zh").glob("*.md"))},
}
# Explains what a program writes, so the English page has more; what both have is the same.
SHORTER = {"docs/reading_the_report.md"}


def code(text: str) -> list[str]:
    """The code blocks of a page without their comments and indentation."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r" *(^|  )# .*$", "", block, flags=re.MULTILINE).strip() for block in blocks]


def settings(text: str) -> list[list[str]]:
    """The code in the last column of each row of the tables."""
    return [sorted(re.findall(r"`[^`]+`", row)) for row in re.findall(r"^\|.*\| ([^|]*) \|$", text, re.MULTILINE)]


@pytest.mark.parametrize("english", IN_CHINESE)
def test_both_languages_have_the_same_code(english: str) -> None:
    one, other = (PAGES[name] for name in (english, IN_CHINESE[english]))
    if english in SHORTER:
        assert set(commands(other)) <= set(commands(one))
        return
    assert [block for block in code(other) if block not in code(one)] == []
    assert code(other) == code(one)
    if english != "README.md":
        assert settings(other) == settings(one)


def rows(text: str) -> dict[str, dict[str, str]]:
    """The table of a text whose first column is ``arm``: the cells by arm and heading."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    start = next(index for index, cells in enumerate(lines) if cells[0] == "arm")
    found = itertools.takewhile(lambda cells: len(cells) == len(lines[start]), lines[start + 2 :])
    return {cells[0]: dict(zip(lines[start], cells, strict=True)) for cells in found}


@pytest.mark.parametrize("page", ["docs/quick_start.md", "docs/zh/quick_start.md"])
def test_the_demo_is_shown_with_its_published_numbers(page: str) -> None:
    summary = (REPO / "docs" / "results" / "demo" / "summary.md").read_text(encoding="utf-8")
    shown, published = rows(PAGES[page]), rows(summary)
    assert shown.keys() == published.keys()
    assert all(shown[arm].items() <= published[arm].items() for arm in shown)
    section = PAGES[page].partition("make demo")[2].partition("\n## ")[0]
    assert set(re.findall(r"[-+]?\d+\.\d+", section)) <= {*re.findall(r"[-+]?\d+\.\d+", summary), "0.25"}


@pytest.mark.parametrize("page", ["docs/coming_from.md", "docs/zh/coming_from.md"])
def test_the_spread_of_a_published_result_is_that_of_its_table(page: str) -> None:
    (table,) = json.loads((REPO / "docs" / "results" / "bccd_full" / "summary.json").read_text())["tables"]
    (baseline,) = [row for row in table["rows"] if row["arm"] == "baseline"]
    assert f"{baseline['map50_95_std']:.3f} mAP50-95" in PAGES[page]


def test_the_chinese_page_names_every_verdict() -> None:
    page = PAGES["docs/zh/reading_the_report.md"]
    assert [word.value for word in Verdict if f"`{word.value}`" not in page] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("zensical", reason="zensical, of the extra `docs`, is not installed: the site was not built")
    from scripts import docs_site

    folder = tmp_path_factory.mktemp("docs")
    assert docs_site.build(folder) == ""
    return folder / "site"


def test_every_page_is_in_the_navigation() -> None:
    config = (REPO / "docs" / "zensical.toml").read_text(encoding="utf-8")
    pages = {
        str(path.relative_to(REPO / "docs")) for path in (REPO / "docs").rglob("*.md") if path.name != "summary.md"
    }
    assert pages - set(re.findall(r'= "([\w/]+\.md)"', config)) == set()


def test_every_link_of_the_site_leads_somewhere_and_nothing_comes_from_elsewhere(site: Path) -> None:
    missing, foreign, ids = [], [], {}
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html") if path.name != "report.html"}
    for path, text in pages.items():
        ids[path] = set(re.findall(r'\bid="([^"]+)"', text))
    for path, text in pages.items():
        for tag, attribute, address in re.findall(r'<(\w+)\b[^>]*?\b(href|src)="([^"]*)"', text):
            target, _, anchor = address.partition("#")
            if re.match(r"\w+:|//", address):
                if tag != "a" and not address.startswith("data:"):
                    foreign.append(f"{path.name}: {address}")
                continue
            place = (path.parent / target).resolve() if target else path
            if path.name == "404.html" or (attribute == "href" and tag == "link"):
                continue
            if not place.exists() or (anchor and place in ids and anchor not in ids[place] and anchor != "__skip"):
                missing.append(f"{path.relative_to(site)}: {address}")
    assert missing == []
    assert foreign == []
    assert len(pages) > 15


@pytest.mark.skipif(executable() is None, reason="no Chromium here: the site was not opened in a browser")
@pytest.mark.slow
def test_the_site_opens_from_disk_without_a_network_and_its_search_works(site: Path) -> None:
    with Browser() as browser:
        for width in (1280, 390):
            for page in ("index.html", "config.html", "zh/coming_from.html"):
                browser.open(site / page, width=width)
                assert browser.messages == []
                assert [address for address in browser.requests if not address.startswith(("file:", "data:"))] == []
                assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.open(site / "index.html")
        browser.evaluate("document.querySelector('.md-search__button').click()")
        dialog = "[...document.querySelectorAll('*')].find(element => element.shadowRoot)?.shadowRoot"
        assert waited(browser, f"{dialog}?.activeElement?.localName") == "input"
        browser.call("Input.insertText", text="kernel_att")
        assert waited(browser, f"{dialog}.querySelector('mark u')?.textContent") == "kernel"


def waited(browser: Browser, expression: str, seconds: float = 20) -> object:
    """The value of a JavaScript expression, as soon as it has one."""
    end = time.monotonic() + seconds
    while not (value := browser.evaluate(expression)) and time.monotonic() < end:
        time.sleep(0.05)
    return value
