"""Build the documentation as a site that needs no network: ``make docs``, with the extra ``docs``.

python -m scripts.docs_site [FOLDER]

The pages are those of docs/, CONTRIBUTING.md and CHANGELOG.md. What they link to elsewhere in the repository becomes a
page too, so that the site is complete by itself. FOLDER is build/docs; the site is FOLDER/site.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TOP = ("CONTRIBUTING.md", "CHANGELOG.md")
HOME = {"README.md": "index.md", "README.zh-CN.md": "index.md"}  # of the repository, and what stands for them here
# A link or image of Markdown with a relative target: before it, the target, its anchor.
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
LANGUAGES = {".yaml": "yaml", ".py": "python", ".json": "json", ".toml": "toml"}


def stage(folder: Path) -> None:
    """Write the pages and the config of the site into an empty ``folder``."""
    pages = folder / "pages"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("zensical.toml"))
    shutil.copy(DOCS / "zensical.toml", folder)
    for name in TOP:
        shutil.copy(ROOT / name, pages)
    todo = [
        *((path, path.relative_to(DOCS)) for path in DOCS.rglob("*.md")),
        *((ROOT / name, Path(name)) for name in TOP),
    ]
    done: set[Path] = set()
    while todo:
        source, page = todo.pop()
        if page in done:
            continue
        done.add(page)
        target = pages / page
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        if source.suffix != ".md":
            hidden = "---\nsearch:\n  exclude: true\n---\n\n"
            target.write_text(
                f"{hidden}# {source.name}\n\n````{LANGUAGES[source.suffix]}\n{text}\n````\n", encoding="utf-8"
            )
            continue
        text, linked = with_links_of_the_site(text, source, page)
        target.write_text(text, encoding="utf-8")
        todo += linked


def with_links_of_the_site(text: str, source: Path, page: Path) -> tuple[str, list[tuple[Path, Path]]]:
    """The text of a page with its relative links as in the site; and the files outside of docs/ that these reach, each
    with its page.

    Raises FileNotFoundError for a link to nothing.
    """
    linked: list[tuple[Path, Path]] = []

    def moved(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(source.parent / match[2]))
        if not path.exists():
            raise FileNotFoundError(f"{source.relative_to(ROOT)}: {match[2]} does not exist")
        if path.is_relative_to(DOCS):
            place = path.relative_to(DOCS)
        else:
            name = str(path.relative_to(ROOT))
            place = Path(HOME.get(name, name))
            if path.is_dir():  # a folder has no page: its README, else nothing
                return f"{match[1]}{os.path.relpath('index.md', page.parent)}"
            if name not in HOME:
                place = place if path.suffix == ".md" else place.with_name(f"{place.name}.md")
                linked.append((path, place))
        return f"{match[1]}{os.path.relpath(place, page.parent)}{match[3] or ''}"

    outside_code = re.split(r"(^```.*?^```$|`[^`\n]+`)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 2 else LINK.sub(moved, part) for index, part in enumerate(outside_code)), linked


def build(folder: Path) -> str:
    """Build the site in ``folder``, which is emptied first. The warnings of Zensical; empty if it is complete."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stage(folder)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
    return said.partition("Traceback")[0] if done.returncode else ""


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    if warnings := build(folder.resolve()):
        print(warnings, file=sys.stderr)
        return 1
    print(f"written to {folder / 'site' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
