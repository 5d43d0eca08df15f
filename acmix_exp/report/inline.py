"""A drawn SVG as part of a page: its ids its own, its letters and lines in the page's colours, light or dark."""

from __future__ import annotations

import re
from html import escape

from acmix_exp.report.figures.colours import INK, RULE


def inline_svg(text: str, prefix: str, label: str) -> str:
    """The ``<svg>`` element alone, with ``label`` for those who don't see it."""
    body = text[text.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", prefix)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = body.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub(INK, "currentColor", body, flags=re.IGNORECASE)
    body = re.sub(RULE, "var(--rule)", body, flags=re.IGNORECASE)
    # letters in the page's own fonts, at the size they were drawn
    body = re.sub(r"font: ([0-9.]+px) [^;\"]+", r"font-size: \1", body)
    head = f'<svg role="img" aria-label="{escape(label)}" '
    tag, rest = body.split(">", 1)
    tag = re.sub(r'\s(?:width|height)="[^"]*"', "", tag)
    return head + tag.removeprefix("<svg ") + ">" + rest.strip()
