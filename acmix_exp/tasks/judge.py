"""``task=judge``: two runs, arms, checkpoints or COCO files against each other. Nothing is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from acmix_exp import model_tasks
from acmix_exp.child import Job, require, run_child, unpickling
from acmix_exp.config import Config, from_plain
from acmix_exp.console import console, print_line, showing_steps, text_table
from acmix_exp.data import Dataset, headline, inspect, read_split, report_table, resolve
from acmix_exp.errors import ConfigError
from acmix_exp.files import write_json
from acmix_exp.outcomes import FILE as OUTCOMES
from acmix_exp.outcomes import ClassOutcomes, load_outcomes
from acmix_exp.report import coco_predictions
from acmix_exp.report.judgement import EXIT_CODES, Judgement, Score, as_json, score, sentence
from acmix_exp.report.judgement import judge as judged
from acmix_exp.report.notes import HEADS, count
from acmix_exp.run import devices
from acmix_exp.run.directory import Run
from acmix_exp.run.fingerprints import verify_data, verify_finished
from acmix_exp.run.replicates import multiplicities
from acmix_exp.sweep import check
from acmix_exp.sweep.compose import Composed
from acmix_exp.sweep.preflight_child import say_unsafe
from acmix_exp.tasks.finished_run import finished, kept_weights, names_dataset, require_safe, require_unchanged
from acmix_exp.tasks.judge_inputs import COCO, RUN, Side, Thing, paired, side
from acmix_exp.yolo import checkpoint_file

FILE = "judge.json"
SHOWN = 8  # class names in a message
# By task, the networks that are evaluated here.
SCORED = {
    **checkpoint_file.STOCK,
    "detect": (*checkpoint_file.STOCK["detect"], *checkpoint_file.TRANSFORMERS, "YOLOv10DetectionModel"),
}
SELECTED = {
    "train": "split=train: networks of this data set were trained on these images",
    "val": "split=val: best.pt of this data set was chosen by its score on these images",
}
EVALUATED = ("split", "train.imgsz", "train.batch")  # keys that ask for an evaluation of runs


def judge(cell: Composed) -> int:
    """Judge a against b, print it and write runs_dir/NAME/judge.json; the exit code is that of the finding.

    Raises ConfigError, and ChildError if an evaluation fails.
    """
    command = cell.config
    folder = Path(command.runs_dir) / command.name
    if lines := check.writable(Path(command.runs_dir), folder):
        raise ConfigError(*lines)
    a, b = side("a", command.a), side("b", command.b)
    first, second = paired(a, b)
    things = list({thing.path: thing for thing in (*first.values(), *second.values())}.values())
    coco = things[0].kind == COCO
    if all(thing.kind == RUN for thing in things) and not names_dataset(cell) and not cell.keys & set(EVALUATED):
        facts, scores = _stored(things)
    elif coco:
        facts, scores = _of_files(cell, things)
    else:
        facts, scores = _evaluated(cell, things)
    task = model_tasks.TASKS[facts.pop("task", None) or model_tasks.DETECT]
    found = judged(
        {seed: scores[thing.path] for seed, thing in first.items()},
        {seed: scores[thing.path] for seed, thing in second.items()},
        facts["images"],
        margin=command.report.margin,
        coco=coco,
        diverged=(a.diverged, b.diverged),
        metric=task.headline,
    )
    heads = facts.pop("heads", {})
    notes = [*a.notes, *b.notes, *facts.pop("notes"), *_of_heads(things, heads), *found.notes]
    if found.margin is not None:
        notes.append(
            f"report.margin={found.margin:g} means something only if it was chosen before the scores were seen"
        )
    _print(found, a, b, facts, notes)
    folder.mkdir(parents=True, exist_ok=True)
    sides = {
        name: {"given": given, "kind": each.kind, "things": list(_listed(each, scores, heads, task))}
        for name, given, each in (("a", command.a, a), ("b", command.b, b))
    }
    write_json(folder / FILE, {**as_json(found), "notes": notes, "dataset": facts, "sides": sides})
    print_line(f"written to {folder / FILE}")
    return EXIT_CODES[found.finding]


def _listed(
    each: Side, scores: dict[Path, Score], heads: dict[str, str | None], task: model_tasks.ModelTask
) -> Iterator[dict[str, Any]]:
    (second,) = set(task.scores) - {task.headline_key}
    for thing in each.things:
        one, head = scores[thing.path], heads.get(str(thing.path))
        numbers = {task.headline_key: one.headline, second: one.second}
        yield {"path": str(thing.path), "seed": thing.seed, **numbers, **({"head": head} if head else {})}


def _stored(things: Sequence[Thing]) -> tuple[dict[str, Any], dict[Path, Score]]:
    """The scores of runs on the images that they were scored on, from their outcomes.npz."""
    scores: dict[Path, Score] = {}
    images: dict[str, Thing] = {}
    for thing in things:
        record = thing.record
        assert record is not None
        assert record.result is not None
        kept = record.replicates
        if kept is None:
            raise ConfigError(
                f"{thing.setting}: {thing.path / OUTCOMES} is missing or cannot be read; dataset=... evaluates the "
                "weights"
            )
        images.setdefault(f"{record.identity.get('data')} {record.result.split} {kept.images}", thing)
        outcomes = load_outcomes(thing.path / OUTCOMES)
        scores[thing.path] = score(outcomes, None, coco=False, replicates=kept.headline)
    if len(images) > 1:
        one, other = list(images.values())[:2]
        raise ConfigError(
            f"{one.setting} {other.setting}: {one.path.name} and {other.path.name} were scored on different images; "
            "dataset=... split=... evaluates both on the same"
        )
    record = things[0].record
    assert record is not None
    assert record.result is not None
    facts = {
        "name": (record.provenance.get("dataset") or {}).get("name"),
        "fingerprint": record.identity.get("data"),
        "split": record.result.split,
        "images": len(outcomes.images),
        "task": record.identity["model"].get("task"),
        "heads": {
            str(thing.path): thing.record.result.head for thing in things if thing.record and thing.record.result
        },
    }
    has_boxes = not isinstance(outcomes, ClassOutcomes)
    old = [thing.path.name for thing in things if has_boxes and scores[thing.path].by_size is None]
    why = f"AP by size is not known: outcomes.npz of {old[0]} is of an older version" if old else ""
    return {**facts, "notes": [why] if why else []}, scores


def _of_files(cell: Composed, things: Sequence[Thing]) -> tuple[dict[str, Any], dict[Path, Score]]:
    """The scores of COCO files with the boxes of the data set's split.

    Raises ConfigError for another task than detection too: of a file's masks and keypoints nothing is read.
    """
    if (task := model_tasks.of(cell.config.model).name) != model_tasks.DETECT:
        raise ConfigError(f"model.task={task}: of COCO files the boxes are compared, and nothing else; leave it out")
    dataset, split, facts = _data(cell, cell.config)
    truth = coco_predictions.Truth.of(read_split(dataset, split), dataset.names)
    weights = multiplicities(str(facts["fingerprint"]), split, len(truth.images))
    scores = {}
    for thing in things:
        with console(stderr=True).status(f"reading {thing.path}"):
            try:
                outcomes, lines = coco_predictions.match(coco_predictions.read(thing.path), truth)
            except ValueError as error:
                raise ConfigError(f"{thing.setting}: {error}") from None
            except OSError as error:
                raise ConfigError(f"{thing.setting}: cannot be read ({error.strerror})") from None
            facts["notes"] += [f"{thing.setting}: {line}" for line in lines]
            scores[thing.path] = score(outcomes, weights, coco=True)
    return facts, scores


def _data(cell: Composed, config: Config) -> tuple[Dataset, str, dict[str, Any]]:
    """The data set of a config, its split to judge on, and what judge.json says of them."""
    if config is cell.config and not names_dataset(cell):
        raise ConfigError("dataset: must be named, dataset=yolo dataset.path=my/data.yaml split=test")
    dataset = resolve(config.dataset, config.model.task)
    inspection = inspect(dataset)
    split = cell.config.split or headline(dataset).split
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: must be one of the data set's splits, {', '.join(dataset.splits)}")
    console(stderr=True).print(report_table(inspection), soft_wrap=True)
    facts = {
        "name": dataset.name,
        "source": str(dataset.source),
        "fingerprint": inspection.fingerprint,
        "split": split,
        "images": inspection.images[split],
        "notes": [SELECTED[split]] if split in SELECTED else [],
    }
    return dataset, split, facts


def _evaluated(cell: Composed, things: Sequence[Thing]) -> tuple[dict[str, Any], dict[Path, Score]]:
    """The scores of checkpoints, and of the kept weights of runs, evaluated in one child process."""
    command, requests = cell.config, []
    for thing in things:
        config, weights = _weights(cell, thing)
        config.hardware, config.split = command.hardware, command.split
        requests.append((thing, config, weights))
    run_configs = [config for thing, config, _ in requests if thing.kind == RUN]
    of_data = command if names_dataset(cell) or not run_configs else run_configs[0]
    of_data = replace(of_data, model=replace(of_data.model, task=_one_task(requests)))
    _, split, facts = _data(cell, of_data)
    for thing, config, _ in requests:
        if thing.kind == RUN:
            own = replace(cell, config=replace(command, run=str(thing.path)))
            fingerprint = None if names_dataset(cell) else facts["fingerprint"]
            require_unchanged(own, Run(thing.path), config, fingerprint)
        config.dataset = of_data.dataset
    with tempfile.TemporaryDirectory(prefix="acmix_exp-") as scratch, showing_steps() as show:
        items = [
            {
                "setting": thing.setting,
                "run": str(thing.path.resolve()) if thing.kind == RUN else None,
                "weights": str(weights.resolve()),
                "config": asdict(config),
                "own_imgsz": thing.kind != RUN and "train.imgsz" not in cell.keys,
                "outcomes": str(Path(scratch, f"{number}.npz")),
            }
            for number, (thing, config, weights) in enumerate(requests)
        ]
        request = {"things": items, "split": split, "data": facts["fingerprint"]}
        hardware = command.hardware
        with devices.gpu_slot(devices.gpus(hardware), hardware.runs_at_once) as gpu:
            variables = unpickling(command.allow_unsafe_checkpoint)
            options = {"threads": hardware.threads, "gpu": gpu, "variables": variables, "on_step": show}
            answer = run_child("judge", Path(command.runs_dir, command.name), request, **options)
        made = require(answer, "the evaluation")
        scores = {}
        for thing, item in zip(things, items, strict=True):
            outcomes = load_outcomes(Path(str(item["outcomes"])))
            drawn = multiplicities(str(facts["fingerprint"]), split, len(outcomes.images))
            scores[thing.path] = score(outcomes, drawn, coco=False)
    device = "cpu" if gpu is None else f"cuda:{gpu}"
    facts |= {
        "task": of_data.model.task,
        "imgsz": [one["imgsz"] for one in made],
        "heads": {str(thing.path): one["head"] for thing, one in zip(things, made, strict=True)},
        "batch": [config.train.batch for _, config, _ in requests],
        "device": device,
    }
    return facts, scores


def _one_task(requests: Sequence[tuple[Thing, Config, Path]]) -> str:
    """``model.task`` of all things. Raises ConfigError if they are of several tasks."""
    (first, config, _), *others = requests
    task = model_tasks.of(config.model).name
    for thing, other, _ in others:
        if (its := model_tasks.of(other.model).name) != task:
            tasks = f"{thing.path.name} is of model.task={its} and {first.path.name} of model.task={task}"
            raise ConfigError(f"{thing.setting}: {tasks}; must be of one task")
    return task


def _weights(cell: Composed, thing: Thing) -> tuple[Config, Path]:
    """The config to evaluate a thing with, and its checkpoint. Raises ConfigError if reading it could run code."""
    command = cell.config
    if thing.kind == RUN:
        run, config = finished(replace(cell, config=replace(command, run=str(thing.path))))
        weights = kept_weights(run, config)
        require_safe(replace(command, run=str(thing.path)), config, weights)
        return config, weights
    if command.allow_unsafe_checkpoint:
        say_unsafe(thing.setting)
    else:
        try:
            checkpoint_file.require_safe(thing.setting, checkpoint_file.read(thing.path))
        except checkpoint_file.NotACheckpoint as error:
            raise ConfigError(checkpoint_file.cannot_be_loaded(thing.setting, f"it is {error}")) from error
    arm = replace(command.arm, name="baseline", insert=False)  # no block is built: the checkpoint holds its network
    return replace(command, arm=arm, train=replace(command.train)), thing.path


def work(job: Job) -> list[dict[str, Any]]:
    """Evaluate ``things`` on ``split`` in the child process; each writes its outcomes.

    Returns the image size of each and, of a network with two heads, which was scored.

    Raises ConfigError if their classes differ, or one is no detector that is evaluated here.
    """
    from acmix_exp.yolo.run import prepare

    prepare()
    from acmix_exp.yolo import checkpoints
    from acmix_exp.yolo.evaluation import evaluate_checkpoint

    things = [(item, from_plain(item["config"])) for item in job.request["things"]]
    names: dict[str, list[str]] = {}
    for item, config in things:
        prepare(config)
        try:
            model, content = checkpoints.load(Path(item["weights"]), item["setting"])
        except checkpoint_file.NotACheckpoint as error:
            raise ConfigError(checkpoint_file.cannot_be_loaded(item["setting"], f"it is {error}")) from error
        kind = type(model).__name__
        wanted = model_tasks.of(config.model)
        if kind not in SCORED[wanted.name]:
            task = checkpoint_file.TASKS.get(kind, "")
            hint = f", or add model.task={task}" if task in SCORED and not item["run"] else ""
            raise ConfigError(
                f"{item['setting']}: is a {kind}{f' (task {task})' * bool(task)}; must be a {wanted.noun}{hint}, or "
                "two COCO files of predictions, which may be of any network"
            )
        names[item["setting"]] = [str(model.names[key]) for key in sorted(model.names)]
        if item["own_imgsz"]:
            config.train.imgsz = int((content.get("train_args") or {}).get("imgsz") or config.train.imgsz)
    first, classes = next(iter(names.items()))
    for setting, others in names.items():
        if others != classes:
            raise ConfigError(f"{setting}: its classes are {_some(others)}; must be those of {first}, {_some(classes)}")
    made = []
    for item, config in things:
        prepare(config)
        dataset = verify_data(config, job.request["data"])
        if item["run"]:
            verify_finished(Run(Path(item["run"])), config)
        job.step(f"evaluating {item['weights']}")
        weights, path = Path(item["weights"]), Path(item["outcomes"])
        metrics = evaluate_checkpoint(weights, dataset, job.request["split"], config, job.device, outcomes=path)
        made.append({"imgsz": config.train.imgsz, "head": metrics.get("head")})
    return made


def _of_heads(things: Sequence[Thing], heads: dict[str, str | None]) -> list[str]:
    """Which head is scored of networks that have two."""
    lines = [
        f"{thing.setting}: scored by the head {HEADS[head]}, of two"
        for thing in things
        if (head := heads.get(str(thing.path))) in HEADS
    ]
    return list(dict.fromkeys(lines))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= SHOWN else f"{', '.join(names[:SHOWN])}, ... ({len(names)})"


def _print(found: Judgement, a: Side, b: Side, facts: dict[str, Any], notes: Sequence[str]) -> None:
    rows = [(found.metric, found.a, found.b)]
    rows += [(f"AP {part.name}", part.a, part.b) for part in found.sizes or []]
    rows += [(part.name, part.a, part.b) for part in found.classes]
    shown = [(name, f"{one:.3f}", f"{other:.3f}", f"{one - other:+.3f}") for name, one, other in rows]
    console().print(text_table("", [""], ["a", "b", "a - b"], shown))
    for each in (a, b):
        many = f" ({count(len(each.things), each.kind)})" if len(each.things) > 1 else ""
        print_line(f"{each.name}: {', '.join(dict.fromkeys(thing.given for thing in each.things))}{many}")
    print_line(f"{facts['name']}, split {facts['split']}, {count(facts['images'], 'image')}")
    for note in notes:
        print_line(note)
    print_line(sentence(found))
