"""report.html: one file that opens from disk, with everything in it."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import acmix_exp
from acmix_exp.report.figures.catalogue import BY_NAME, KINDS, describe
from acmix_exp.report.figures.style import INK, RULE
from acmix_exp.report.sentences import (
    COST_COLUMNS,
    TABLE_COLUMNS,
    conclusion,
    cost_cells,
    latencies_by,
    lead,
    number,
    table_cells,
)
from acmix_exp.run.directory import Run, runs_in


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


TEMPLATE = "page.html.j2"
JPEG_QUALITY = 84


def page(folder: Path, shown: dict[str, Any], figures: Path, digest: str) -> str:
    """The page as text. ``figures`` is the folder that holds the drawn files named in ``shown["drawn"]``, ``digest``
    that of the tables (write.digest)."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("acmix_exp.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    runs = runs_in(folder)
    rows = [row for table in shown["tables"] for row in table["rows"]]
    facts = provenance(runs)
    return environment.get_template(TEMPLATE).render(
        name=shown["name"],
        version=acmix_exp.__version__,
        digest=digest,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        tables=[_table(number, table, shown, figures) for number, table in enumerate(shown["tables"])],
        failures=[entry for entry in shown["drawn"] if entry.get("error")],
        runs=[_run(run) for run in runs],
        counts=Counter(run.state() for run in runs),
        provenance=facts,
        shared_machine=any(
            run["cost"].get("latency_alone") is False and row["summary"]["latency_from"] != "profile"
            for row in rows
            for run in row["runs"]
        ),
        commands=_distinct(run.provenance().get("command") for run in runs),
    )


def _table(place: int, table: dict[str, Any], shown: dict[str, Any], figures: Path) -> dict[str, Any]:
    rows = table["rows"]
    drawn = [entry for entry in shown["drawn"] if entry["table"] == place and entry["stem"]]
    machines = list(dict.fromkeys(run["machine"] for row in rows for run in row["runs"]))
    notes = list(table["notes"])
    if len(machines) > 1:
        named = ", ".join(name or "one that was not recorded" for name in machines)
        notes.insert(0, f"The runs come from {len(machines)} kinds of machine: {named}. Times are given for each.")
    return {
        "place": place,
        "heading": table["heading"],
        "lead": lead(rows),
        "conclusions": [(row, conclusion(row, table["reference"])) for row in rows if row["deltas"]],
        "columns": [*table["swept_keys"], *TABLE_COLUMNS],
        "rows": [(row["label"], row["arm"], table_cells(row["summary"], table["swept_keys"])) for row in rows],
        "cost_columns": COST_COLUMNS,
        "latencies_by": latencies_by(rows),
        "cost_rows": [(row["label"], cost_cells(row)) for row in rows],
        "notes": notes,
        "figures": [_figure(entry, table, figures) for kind in KINDS for entry in drawn if entry["kind"] == kind.name],
    }


def _figure(entry: dict[str, Any], table: dict[str, Any], folder: Path) -> dict[str, Any]:
    kind = BY_NAME[entry["kind"]]
    alt = describe(kind.name, entry["label"], table)
    caption = " ".join(filter(None, (kind.caption, entry.get("cut"))))
    figure = {"title": kind.title, "label": entry["label"], "caption": caption, "alt": alt, "stem": entry["stem"]}
    if kind.vector:
        text = (folder / f"{entry['stem']}.svg").read_text(encoding="utf-8")
        return {**figure, "svg": inline_svg(text, entry["stem"], alt)}
    return {**figure, **_photograph(folder / f"{entry['stem']}.png")}


def _photograph(path: Path) -> dict[str, Any]:
    from PIL import Image

    with Image.open(path) as image:
        data = io.BytesIO()
        image.convert("RGB").save(data, "JPEG", quality=JPEG_QUALITY)
        width, height = image.size
    encoded = base64.b64encode(data.getvalue()).decode("ascii")
    return {"source": f"data:image/jpeg;base64,{encoded}", "width": width, "height": height}


def _run(run: Run) -> dict[str, Any]:
    status, result, facts = run.status() or {}, run.result() or {}, run.provenance()
    state = run.state()
    cost, hardware = result.get("cost") or {}, facts.get("hardware") or {}
    seconds = cost.get("train_seconds")
    words = []
    if status.get("resumed"):
        words.append("resumed")
    if (status.get("attempt") or 0) > 1:
        words.append(f"attempt {status['attempt']}")
    if state != "done" and (error := run.broken() or status.get("error")):
        words.append(str(error))
    metrics, last = result.get("metrics") or {}, result.get("val_last") or {}
    best = result.get("val_best") or {}
    done = result if state == "done" else {}
    return {
        "name": run.name,
        "state": state,
        "remark": ", ".join(words),
        "map50_95": number(metrics.get("map50_95") if done else None, ".4f"),
        "best": number(best.get("map50_95"), ".4f"),
        "best_epoch": best.get("epoch"),
        "last": number(last.get("map50_95"), ".4f"),
        "minutes": number(seconds / 60 if isinstance(seconds, (int, float)) else None, ".1f"),
        "memory": number(cost.get("peak_memory_mb"), ",.0f"),
        "machine": hardware.get("gpu") or hardware.get("cpu") or "–",
    }


def provenance(runs: Iterable[Run]) -> list[tuple[str, list[tuple[str, int]]]]:
    """What the runs were made with: each fact with its distinct values and how many runs have each."""
    facts = [run.provenance() for run in runs]
    rows: dict[str, list[Any]] = {}
    for fact in facts:
        git, hardware, dataset = (fact.get(key) or {} for key in ("git", "hardware", "dataset"))
        for name, version in (fact.get("versions") or {}).items():
            rows.setdefault(name, []).append(version)
        commit, changes = git.get("commit"), " with changes" if git.get("dirty") else ""
        changes += f" {str(git['diff_sha256'])[:8]}" if changes and git.get("diff_sha256") else ""
        rows.setdefault("commit", []).append(f"{commit}{changes}" if commit else None)
        rows.setdefault("machine", []).append(_machine(hardware))
        rows.setdefault("platform", []).append(hardware.get("platform"))
        rows.setdefault("precision", []).append(fact.get("precision"))
        rows.setdefault("data set", []).append(dataset.get("name"))
        rows.setdefault("data fingerprint", []).append(dataset.get("fingerprint"))
    return [(name, found) for name, values in rows.items() if (found := _distinct(values))]


def _machine(hardware: dict[str, Any]) -> str | None:
    parts = [hardware.get("gpu"), hardware.get("cpu")]
    parts += [f"{hardware['cores']} cores"] if hardware.get("cores") else []
    parts += [f"{hardware['memory_gib']} GiB"] if hardware.get("memory_gib") else []
    return ", ".join(filter(None, parts)) or None


def _distinct(values: Iterable[Any]) -> list[tuple[str, int]]:
    return list(Counter(str(value) for value in values if value is not None).items())
