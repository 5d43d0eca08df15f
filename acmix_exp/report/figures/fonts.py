"""Fonts for names in any script: what the usual font lacks is taken from a font that is installed."""

from __future__ import annotations

import contextlib
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

USUAL = "DejaVu Sans"  # comes with matplotlib
# Of several fonts that have a character these are taken first; after them any other that is installed.
PREFERRED = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Hiragino Sans",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "Noto Sans",
    "Symbola",
    "Noto Emoji",
)
# Fonts that claim characters which they draw as boxes, as other characters, or not at all.
UNFIT = re.compile(r"Last ?Resort|Adobe (NotDef|Blank)|Color Emoji|STIXNonUnicode|STIXSize|^cm[a-z]+\d+$")
MISSING = re.compile(r"Glyph (\d+) ")
EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC")
MOST_CHARACTERS = 10


@contextlib.contextmanager
def missing_characters() -> Iterator[set[str]]:
    """Yield a set that gets the characters that no font of a figure drawn in the block has.

    Takes the place of matplotlib's warning for each of them; other warnings are shown as ever.
    """
    found: set[str] = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    for warning in caught:
        if match := MISSING.match(str(warning.message)):
            found.add(chr(int(match[1])))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def use_fonts_with(figure: Figure, characters: Iterable[str]) -> bool:
    """Let ``figure``, and those drawn after it, take the characters from an installed font; False if none has any."""
    families = _families(set(characters))
    if not families:
        return False
    known = mpl.rcParams["font.family"]
    mpl.rcParams["font.family"] = list(dict.fromkeys([USUAL, *known, *families]))
    for text in figure.findobj(Text):
        text.set_fontfamily(mpl.rcParams["font.family"])
    return True


def advice(characters: Iterable[str]) -> str:
    """One line that names the package to install for characters that no installed font has; empty if there are none.

    Invisible characters, such as those that join emoji, need no font.
    """
    visible = sorted(letter for letter in characters if unicodedata.category(letter) not in ("Cc", "Cf", "Mn", "Zs"))
    if not visible:
        return ""
    more = f" and {len(visible) - MOST_CHARACTERS} more" if len(visible) > MOST_CHARACTERS else ""
    packages = " ".join(dict.fromkeys(map(_package, visible)))
    return (
        f"no installed font has the characters {' '.join(visible[:MOST_CHARACTERS])}{more}, which are boxes in the "
        f"figures; install a font that has them (Debian, Ubuntu: apt install {packages}) and make the report again"
    )


def _package(letter: str) -> str:
    if unicodedata.name(letter, "").startswith(EAST_ASIAN):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) == "So" else "fonts-noto-core"


def _families(characters: set[str]) -> list[str]:
    """Font families that have the characters, as few as possible; characters that none has are left out."""
    _find_new_fonts()
    paths: dict[str, str] = {}
    for entry in font_manager.fontManager.ttflist:
        if not UNFIT.search(entry.name) and (entry.style, entry.weight) in (("normal", 400), ("normal", "normal")):
            paths.setdefault(entry.name, entry.fname)
    for entry in font_manager.fontManager.ttflist:  # families without a regular weight
        if not UNFIT.search(entry.name):
            paths.setdefault(entry.name, entry.fname)
    names = [name for name in PREFERRED if name in paths] + sorted(paths.keys() - set(PREFERRED))
    chosen = []
    for name in names:
        if characters and (covered := _covered(paths[name], characters)):
            chosen.append(name)
            characters = characters - covered
    return chosen


def _covered(path: str, characters: set[str]) -> set[str]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return set()
    return {letter for letter in characters if font.get_char_index(ord(letter))}


def _find_new_fonts() -> None:
    """matplotlib keeps its list of fonts in a file, and does not look for those installed since."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with contextlib.suppress(Exception):  # a damaged font
            font_manager.fontManager.addfont(path)
