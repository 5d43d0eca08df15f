"""The notes below a table: everything that is missing, failed, mixed or otherwise not as the rest, in sentences."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import product

from acmix_exp.config import CONV3X3, IDENTITY, JOIN, MATCHED, block_label
from acmix_exp.data.headline import NO_TEST, Headline
from acmix_exp.errors import NonFiniteLoss
from acmix_exp.report.harness import check_harness
from acmix_exp.report.language import tr
from acmix_exp.report.records import ArmRuns, Group, Record, Row
from acmix_exp.report.waiting_runs import waiting

MOST_NAMES = 3


def notes(group: Group, rows: Sequence[Row], reference: str) -> list[str]:
    """The notes on the runs of a table. ``rows`` are in the order of ``group.rows``."""
    waits, counted = waiting(group)
    return [
        *_without_reference(rows, reference),
        *_folds(group),
        *_splits(group),
        *_heads(group),
        *_insertions(group),
        *_controls(group, rows),
        *_box_losses(group),
        *_missing_cells(group),
        *waits,
        *(note for row in group.rows for note in _runs(group, row, counted)),
        *_diverged(group),
        *_untrained(group),
        *_pairing(group),
        *_origins([record for row in group.rows for record in row.runs.values()]),
    ]


def _without_reference(rows: Sequence[Row], reference: str) -> list[str]:
    if all(row.arm == reference for row in rows) or any(row.reference for row in rows):
        return []
    if any(row.arm == reference for row in rows):
        text = "No row has the swept values of {reference}, the reference, so there are no deltas."
        return [tr(text, reference=reference)]
    if reference == "baseline":
        return [tr("There is no baseline with these settings, so there are no deltas; add arm=baseline.")]
    text = (
        "There is no {reference} with these settings, so there are no deltas; report.reference={reference} names no "
        "row."
    )
    return [tr(text, reference=reference)]


def _folds(group: Group) -> list[str]:
    if not group.folds:
        return []
    text = (
        "The data differ by seed ({folds} folds): each seed trains and is scored on its own data. Folds share training "
        "images, so seeds are not independent and p is approximate."
    )
    return [tr(text, folds=group.folds)]


def _splits(group: Group) -> list[str]:
    """How the splits were made, where the data set had none; and why a test split is not scored on."""
    sentences = []
    for record in (record for row in group.rows for record in row.runs.values()):
        facts = record.provenance.get("dataset") or {}
        made, scored = facts.get("split_made"), Headline(**facts["headline"]) if "headline" in facts else None
        if scored and (made or scored.reason not in ("", NO_TEST)):
            sentences.append(f"{facts['name']}: {made + '; ' if made else ''}{scored}")
    return list(dict.fromkeys(sentences))


HEADS = {"nms": "one-to-many, with NMS", "nms_free": "one-to-one, NMS-free"}  # of networks that have both


def _heads(group: Group) -> list[str]:
    """Which head the figures of the table are of, where networks have two, and what teaches a block there."""
    done = [(record, record.result.head) for row in group.rows for record in row.records if record.result]
    named = {head for _, head in done}
    sentences = []
    for head in sorted(filter(None, named)):
        text = "The headline is of the head {head}: all comparisons are of it, and best.pt is chosen by it."
        if None in named or len(named) > 1:
            text = (
                "The headline of networks with two heads is of the head {head}: all comparisons are of it, and best.pt "
                "is chosen by it."
            )
        other = (
            " The other head has columns of its own; its differences are of each arm alone and have no verdict. "
            "train.extra.nms chooses which head is the headline"
        )
        sentences.append(tr(text, head=tr(HEADS[head])) + tr(other))
    if any(head and record.inserts for record, head in done):
        text = (
            "In networks with two heads a block learns from the one-to-many head alone: the one-to-one head reads "
            "detached features. Its weight in the loss falls from 0.8 to 0.1 over the training, so that on a "
            "short schedule a block is taught differently than in a network with one head"
        )
        sentences.append(tr(text))
    return sentences


def of_networks(pairs: Iterable[tuple[ArmRuns, ArmRuns]]) -> list[str]:
    """What a comparison between different networks has in common, if there is one."""
    if not any(_network(first) and _network(second) and _network(first) != _network(second) for first, second in pairs):
        return []
    text = (
        "Comparisons between different networks pair the data alone: a seed gives all of them the same order and "
        "augmentation of images, but not the same initial weights, so that pairing takes less of the spread away. All "
        "have the same schedule and settings, which need not suit each of them best"
    )
    return [tr(text)]


def _network(row: ArmRuns) -> str:
    """What its runs were built from, whatever their weights; empty without runs."""
    models = [record.identity.get("model") or {} for record in row.all_records]
    return repr({key: value for key, value in models[0].items() if key != "pretrained"}) if models else ""


def _insertions(group: Group) -> list[str]:
    """What an arm inserts where, if its placements are its own."""
    found = {row.label: record for row in group.rows for record in row.all_records if record.has_own_places}
    return [f"{label}: {record.inserted_text}" for label, record in found.items()]


def _controls(group: Group, rows: Sequence[Row]) -> list[str]:
    sentences = []
    stock = next((row for row in group.rows if row.arm == "baseline"), None)
    for row in group.rows:
        if row.block == IDENTITY:
            text = tr("{arm} checks the harness and is not in the family", arm=row.label)
            sentences.append(f"{text}{_harness(row, stock)}")
    sizes = {row.arm: row.cost.parameters for row in rows if row.cost.parameters is not None}
    conv3x3 = next((row.arm for row in group.rows if row.block == CONV3X3 and row.arm in sizes), None)
    blocks = {row.arm for row in group.rows if row.block not in (None, IDENTITY, JOIN, CONV3X3, MATCHED)}
    sentences += [f"{row.label}: {text}" for row in group.rows if (text := _matched(row))]
    records = [record for row in group.rows for record in row.runs.values()]
    served = {arm for record in records for arm in record.status.get("serves", [])}
    if JOIN in served:
        sentences.append(
            tr("join adds nothing where a block has no norm, activation and residual: it is the baseline itself")
        )
    if conv3x3:
        gaps = [
            tr("{number} against {arm}", number=f"{sizes[conv3x3] - sizes[arm]:+,d}", arm=arm)
            for arm in sizes
            if arm in blocks
        ]
        sentences += [tr("{arm} differs in parameters: {gaps}", arm=conv3x3, gaps=", ".join(gaps))] if gaps else []
        return sentences
    settings = group.settings
    from_scratch = "pretrained" in settings and not settings["pretrained"]
    replaces = (settings.get("placement") or {}).get("mode") == "replace"
    if CONV3X3 in served or (blocks and from_scratch and replaces):
        text = (
            "conv3x3 in place of a bottleneck's own 3x3, without pretrained weights, is the baseline itself: the "
            "baseline's row is its row"
        )
        sentences.append(tr(text))
    return sentences


def _matched(row: ArmRuns) -> str:
    """What the control that matches a block has of what it should have; empty for another arm."""
    for record in row.records:
        cost = record.result.cost if record.like and record.result else {}
        for own, size, form, unit in (
            (cost.get("parameters_block"), cost.get("matched_parameters"), ",d", "parameters"),
            (cost.get("gflops_block"), cost.get("matched_gflops"), ".3f", "GFLOPs at 640 px"),
        ):
            if own and size:
                sites = {key.removeprefix("hidden_"): value for key, value in cost.items() if key.startswith("hidden_")}
                widths = ", ".join(tr("{width} at {site}", width=hidden, site=site) for site, hidden in sites.items())
                text = "{convolutions}, {own} {unit} where {block} has {size} ({more})"
                if len(record.likes) > 1:
                    text = "{convolutions}, {own} {unit} where {block} have {size} ({more})"
                kind = tr("a 3x3 convolution to fewer channels ({widths}) and a 1x1 back", widths=widths)
                numbers = {"own": f"{own:{form}}", "size": f"{size:{form}}", "more": f"{own / size - 1:+.1%}"}
                blocks = tr(" and ").join(map(block_label, record.likes))
                return tr(text, convolutions=kind, unit=tr(unit), block=blocks, **numbers)
    return ""


def _harness(row: ArmRuns, stock: ArmRuns | None) -> str:
    """The result of the check for the seeds that both have; empty if there is none."""
    if stock is None:
        return ""
    check = check_harness(row, stock)
    parts = []
    if check.equal:
        text = "it equals {reference} in losses and metrics of every epoch, {seeds}"
        parts.append(tr(text, reference=stock.arm, seeds=count(len(check.equal), "seed")))
    if check.different:
        different = check.different.items()
        causes = [f"{seed} ({', '.join(known) or tr('no recorded cause')})" for seed, known in different]
        parts.append(tr("it DIFFERS from {reference} in seed {seeds}", reference=stock.arm, seeds=", ".join(causes)))
    if check.without_history:
        parts.append(tr("no history to compare for seed {seeds}", seeds=_joined(check.without_history)))
    return f": {'; '.join(parts)}" if parts else ""


def _box_losses(group: Group) -> list[str]:
    arms = [row.label for row in group.rows if row.box_loss not in (None, IDENTITY)]
    text = "{arms}: the box loss is another than that of the stock network, so its curves cannot be compared"
    return [tr(text, arms=", ".join(arms))] if arms else []


def _missing_cells(group: Group) -> list[str]:
    """Arms that lack a combination of swept values that another arm has."""
    sentences = []
    axes = {key: list(dict.fromkeys(row.swept[key] for row in group.rows)) for key in group.swept_keys}
    for arm in dict.fromkeys(row.arm for row in group.rows):
        swept = [row.swept for row in group.rows if row.arm == arm]
        used = [key for key in axes if any(values[key] is not None for values in swept)]
        present = {tuple(values[key] for key in used) for values in swept}
        for values in product(*([value for value in axes[key] if value is not None] for key in used)):
            if values not in present:
                cell = " ".join(f"{key}={value}" for key, value in zip(used, values, strict=True))
                sentences.append(tr("{arm} has no run with {cell}", arm=arm, cell=cell))
    return sentences


def _runs(group: Group, row: ArmRuns, counted: Collection[str]) -> list[str]:
    """Unfinished, missing, resumed and repeated runs of a row, and the transfer of its pretrained weights.

    counted: names of unfinished runs that are noted elsewhere.
    """
    diverged = sorted(row.diverged.items())
    sentences = [f"{_named(row, seed)} {_divergence(record)}" for seed, record in diverged]
    again = [seed for seed, record in row.runs.items() if record.diverged_attempts]
    if again:
        text = "{run} diverged in an earlier attempt; the finished one counts"
        sentences.append(tr(text, run=_named(row, *again)))
    for record in (each for each in row.unfinished if each.name not in counted):
        error = f": {record.error}" if record.error else ""
        text = tr("{run} is {state}", run=_named(row, record.seed), state=tr(record.state))
        sentences.append(f"{text}{error}")
    seeds = {seed for other in group.rows for seed in other.runs}
    missing = seeds - row.runs.keys() - row.diverged.keys() - {record.seed for record in row.unfinished}
    if missing:
        text = "{arm} has no run of seed {seeds}; deltas use the seeds in common"
        sentences.append(tr(text, arm=row.label, seeds=_joined(missing)))
    flaws: dict[str, list[int]] = {}
    for seed, record in row.runs.items():
        flaws.setdefault(record.resume_flaw, []).append(seed)
    for flaw, seeds_resumed in flaws.items():
        if flaw:
            text = "{run} was interrupted and resumed, {flaw}"
            sentences.append(tr(text, run=_named(row, *seeds_resumed), flaw=tr(flaw)))
    if row.repeated:
        twice = ", ".join(f"{record.seed} ({record.name})" for record in row.repeated)
        text = "{arm} has a second run of seed {seeds}, left out: the one started first counts"
        sentences.append(tr(text, arm=row.label, seeds=twice))
    first = next(iter(row.records), None)
    transfer = first.provenance.get("transfer") if first and first.config["model"]["pretrained"] else None
    if transfer:
        counts = ", ".join(f"{len(names)} {tr(kind)}" for kind, names in transfer.items())
        text = "{arm}: tensors of the pretrained weights {counts} (by name in provenance.json)"
        sentences.append(tr(text, arm=row.label, counts=counts))
    return sentences


def _named(row: ArmRuns, *seeds: int) -> str:
    return tr("{arm} seed {seeds}", arm=row.label, seeds=_joined(seeds))


def _divergence(record: Record) -> str:
    cause = (record.error or "").removeprefix(f"{NonFiniteLoss.__name__}: ")
    if "not finite" in cause:
        return tr("diverged: {cause}", cause=cause)
    text = tr("diverged in an earlier attempt and is {state}", state=tr(record.state))
    return f"{text}{f': {cause}' if cause else ''}"


def _diverged(group: Group) -> list[str]:
    if not any(row.diverged for row in group.rows):
        return []
    text = (
        "A run diverged if a loss or its mAP was not finite. No verdict is better or worse unless it is so with the "
        "diverged runs at mAP 0 too; all numbers are of the finished runs."
    )
    return [tr(text)]


def _untrained(group: Group) -> list[str]:
    zero = [
        row.label
        for row in group.rows
        if row.runs and not any(record.result and record.result.headline for record in row.records)
    ]
    if not zero:
        return []
    text = (
        "Every finished run of these rows scores 0 {metric}: {arms}. They have not learned the task, and their "
        "differences say nothing about the arms."
    )
    return [tr(text, metric=group.rows[0].headline, arms=", ".join(zero))]


def _pairing(group: Group) -> list[str]:
    """Seeds are paired by the first batches that they drew, of which every run keeps a hash."""
    sentences, without = [], []
    for seed in sorted({seed for row in group.rows for seed in row.runs}):
        records = [row.runs[seed] for row in group.rows if seed in row.runs]
        proofs = {record.name: record.provenance.get("seed_proof") for record in records}
        without += [name for name, proof in proofs.items() if proof is None and len(proofs) > 1]
        if len(set(proofs.values()) - {None}) > 1:
            text = "seed {seed}: not all rows saw the same first batches, so its deltas are not paired"
            sentences.append(tr(text, seed=seed))
    if without:
        text = "The first batches were not recorded, so the pairing rests on the seed alone: {runs}"
        sentences.append(tr(text, runs=first_names(without)))
    return sentences


def _origins(records: Sequence[Record]) -> list[str]:
    """Versions, commits, variables and machines of which the runs have more than one, and uncommitted changes."""
    sentences = []
    for fact in dict.fromkeys(fact for record in records for fact in record.made_with):
        names: dict[str, list[str]] = {}
        for record in records:
            known = fact.startswith("value of ") and "environment" in record.provenance
            value = record.made_with.get(fact, tr("unset") if known else tr("not recorded"))
            names.setdefault(value, []).append(record.name)
        if len(names) > 1:
            common_first = sorted(names, key=lambda value: -len(names[value]))
            parts = [f"{value} ({_named_or_counted(names[value])})" for value in common_first]
            text = "The runs were made with more than one {fact}: {values}"
            sentences.append(tr(text, fact=_fact(fact), values=", ".join(parts)))
    dirty = [record.name for record in records if (record.provenance.get("git") or {}).get("dirty")]
    if dirty:
        text = "Made from a checkout with uncommitted changes: {runs}"
        sentences.append(tr(text, runs=_named_or_counted(dirty)))
    return sentences


def _fact(fact: str) -> str:
    kind, _, name = fact.partition(" of ")
    return tr(f"{kind} of {{name}}", name=name) if kind in ("version", "value") else tr(fact)


def _named_or_counted(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMES else count(len(names), "run")


def first_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = tr(" and {number} more", number=len(names) - MOST_NAMES) if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def count(number: int, noun: str) -> str:
    return tr(f"{{number}} {noun}{'' if number == 1 else 's'}", number=number)


def _joined(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
