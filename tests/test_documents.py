"""README.md and docs/results: every number of a result is made here from the published files, and found in the text.

A claim is a piece of a document, with the numbers put in from summary.json and from the archive of the runs. After all
claims are cut out of a document, no numeral and no number word may remain.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from math import ceil

import numpy as np
import pytest

from acmix_exp.data.shapes import COUNTS
from acmix_exp.data.shapes import NAMES as SHAPES
from acmix_exp.report.sign_flips import seeds_needed
from scripts.verdicts_page import wanted
from tests.published_results import REPO, WORDS, Published, ends, half, names, span, word

NUMERAL = re.compile(
    rf"\d[\d.,]*|\b(?:{'|'.join(WORDS[2:])}|twice|half|third|quarter|fifth|tenth|dozen)\b", re.IGNORECASE
)
NAMES = re.compile(r"mAP50-95|mAP50|conv3x3|YOLO(?:v8|12|26)n?|yolov8n_doclaynet|\bP[45]\b")


def readme(full: Published) -> list[str]:
    zoo = Published("bccd_zoo")
    b1, b32 = full.times("mixed"), full.times("mixed", "latency_ms_b32")
    return [
        f"{full.train['epochs']} epochs at {full.train['imgsz']} px on {word(full.cores)} CPU cores",
        f"ACmix after the {full.places} stages, {word(full.seeds)} seeds",
        f"After these {full.train['epochs']} epochs the 95 % interval of `mixed`",
        f"{full.interval('mixed')} mAP50-95 for this arm alone, and "
        f"{ends(full.rows['mixed'], 'simultaneous')} if the intervals of all {word(len(full.compared))} arms",
        f"Differences of `mixed` beyond {full.rows['mixed']['excludes']:.3f} in either direction are excluded; "
        f"a true one of {full.rows['mixed']['detectable']:.3f} would have been found with 80 % probability",
        f"At {full.train['imgsz']} px and one thread `mixed` takes {b1:.2f} times the baseline's time at batch 1 and "
        f"{b32:.2f} times at batch 32",
        f"the {len(full.runs)} runs behind it",
        f"compares {word(len(zoo.compared) - 1)} blocks",  # conv3x3 is a control
    ]


def common(one: Published, train: int = 205, val: int = 87) -> list[str]:
    outcomes = np.load(BytesIO(one.one("outcomes.npz")))
    assert one.config["hardware"]["threads"] == 1
    return [
        f"{word(one.seeds)} seeds, {word(one.cores)} CPU cores",
        # The archive holds no images of training and validation: their numbers are those of the data set.
        f"{train} / {val} / {len(outcomes['images'])} images, {word(len(outcomes['classes']))} classes",
        f"{len(one.runs)} runs, {word(one.config['hardware']['runs_at_once'])} at a time",
        f"train.imgsz={one.train['imgsz']}",
    ]


def bccd_full(full: Published) -> list[str]:
    rows, arms = full.rows, full.compared
    p_joint = min(row["p_adjusted"] for row in arms.values())
    p, smallest = min((row["p"], arm) for arm, row in arms.items())
    steps = full.train["epochs"] * ceil(205 / full.train["batch"])
    away = [arm for arm, row in arms.items() if row["image_low"] * row["image_high"] > 0]
    order = ("mixed", "conv", "attention")
    costs = ("mixed", "attention", "conv", "conv3x3")
    b1, b32 = ([full.times(arm, f"latency_ms_{batch}") for arm in costs] for batch in ("b1", "b32"))
    passes = [full.profile[arm]["latency_passes_b1"] for arm in full.profile]
    (passes_b32,) = {full.profile[arm]["latency_passes_b32"] for arm in full.profile}
    return [
        f"{word(len(rows))} arms",
        f"Mixed with seed {rows['mixed']['values'][0]['seed']}",
        f"the smallest p of the joint test is {p_joint:.2f}, the smallest p of an arm alone is {p:.2f} ({smallest})",
        "The 95 % intervals, each for one arm alone: mixed {} mAP50-95, conv {}, attention {}".format(
            *map(full.interval, order)
        ),
        f"which hold for all {word(len(arms))} arms at once: "
        + ", ".join(f"{arm} {ends(rows[arm], 'simultaneous')}" for arm in order),
        "(two one-sided tests at 5 %, each arm alone)",
        "differences beyond {:.3f} in either direction for mixed, {:.3f} for conv, {:.3f} for attention and {:.3f} for "
        "conv3x3".format(*(full.excluded(arm) for arm in (*order, "conv3x3"))),
        f"What {word(full.seeds)} seeds can find",
        f"a true difference of {rows['mixed']['detectable']:.3f} is found with 80 % probability; smaller ones "
        "are missed more often than one time in five",
        f"another test set the interval of mixed is {ends(rows['mixed'], 'population')}",
        "conv3x3 has {:,} parameters more than conv and {:,} more than mixed".format(
            *(rows["conv3x3"]["parameters"] - rows[arm]["parameters"] for arm in ("conv", "mixed"))
        ),
        f"its interval is {full.interval('conv3x3')}",
        f"equal the baseline's in all {word(full.seeds)} seeds",
        f"at {full.train['imgsz']} px and batch 1, one thread, the whole network takes {b1[0]:.2f} times "
        f"the baseline's time with mixed, "
        f"{b1[1]:.2f} with attention, {b1[2]:.2f} with conv and {b1[3]:.2f} with conv3x3",
        f"at batch 32 it is {b32[0]:.2f}, {b32[1]:.2f}, {b32[2]:.2f} and {b32[3]:.2f} times",
        f"{min(passes)} to {max(passes)} passes at batch 1, {passes_b32} at batch 32",
        f"resampling the images moves the difference of mixed by {half(rows['mixed'], 'image')} in either direction, "
        f"changing the seeds by {half(rows['mixed'], 'delta')}",
        f"The interval over images excludes zero for {names(away)}",
        f"{steps} optimizer steps from scratch on 205 small images",
    ]


def screens_full(full: Published) -> list[str]:
    rows, arms = full.rows, full.compared
    order = ("attention", "conv", "conv3x3_matched", "mixed", "join", "conv3x3")
    p, smallest = min((row["p"], arm) for arm, row in arms.items())
    costs = ("mixed", "attention", "conv", "conv3x3", "conv3x3_matched", "join")
    commits = Counter(
        json.loads(content)["git"]["commit"]
        for name, content in full.files.items()
        if name.endswith("/provenance.json")
    )
    assert len(commits) == 2
    assert {ends(rows[arm], "simultaneous") for arm in ("attention", "conv")} == {"-0.005 to +0.005"}
    assert rows["baseline"]["map50_95_mean"] / 10 < 0.005
    return [
        f"{word(len(rows))} arms",
        f"trained for {word(full.train['epochs'])} epochs at {full.train['imgsz']} px",
        "a part of it scaled to 640 px",
        f"train.epochs={full.train['epochs']} 'seed=range(0,{full.seeds})'",
        f"from the baseline, {rows['baseline']['map50_95_mean']:.3f} mAP50-95: the smallest adjusted p is "
        f"{min(row['p_adjusted'] for row in arms.values()):.2f}, the smallest p of an arm alone {p:.2f} ({smallest})",
        "(two one-sided tests at 5 %, each arm alone): differences beyond {:.4f} mAP50-95 in either direction for "
        "attention, {:.4f} for conv, {:.4f} for conv3x3_matched, {:.4f} for mixed, {:.4f} for join and {:.4f} for "
        "conv3x3".format(*map(full.excluded, order)),
        f"The simultaneous 95 % intervals: mixed {ends(rows['mixed'], 'simultaneous')}, attention and conv -0.005 to "
        "+0.005",
        f"What {word(full.seeds)} seeds can find",
        f"a true difference of {rows['mixed']['detectable']:.4f} is found with 80 % probability",
        f"other test images is hardly wider: mixed {ends(rows['mixed'], 'population')}",
        f"equal the baseline's in all {word(full.seeds)} seeds",
        f"at {full.train['imgsz']} px and batch 1, one thread, the whole network takes "
        "{:.2f} times the baseline's time with mixed, {:.2f} with attention, {:.2f} with conv, {:.2f} with conv3x3, "
        "{:.2f} with conv3x3_matched and {:.2f} with join".format(*map(full.times, costs)),
        "trained to the end, at 640 px, or on other data",
        f"A mAP50-95 of {rows['baseline']['map50_95_mean']:.3f} is low, and 0.005 is more than a tenth of it",
        f"({min(commits.values())} of the {len(full.runs)})",
        "Mixed with seed 0",
    ]


def demo(one: Published) -> list[str]:
    rows, seeds = one.rows, one.seeds
    parameters = json.loads((REPO / "docs/results/bccd_full/summary.json").read_text())["tables"][0]["rows"][0]
    baseline, mixed = rows["baseline"]["values"], [each["delta"] for each in rows["mixed"]["deltas"]]
    assert round(parameters["parameters"] / rows["baseline"]["parameters"]) == 5
    assert one.config["hardware"]["threads"] == 1
    assert max(value["map50"] for value in baseline) - min(value["map50"] for value in baseline) < 0.04
    return [
        f"{word(len(rows))} arms, {word(seeds)} seeds, {word(one.cores)} CPU cores",
        f"{COUNTS['train']} / {COUNTS['val']} images, {word(len(SHAPES))} classes",
        f"{len(one.runs)} runs, {word(one.config['hardware']['runs_at_once'])} at a time",
        "one thread per run: a YOLOv8 with a fifth of the parameters of YOLOv8n",
        f"{one.train['epochs']} epochs at {one.train['imgsz']} px",
        f"ACmix after the {one.places} stages",
        f"over the {word(seeds)} seeds the baseline's mAP50 is {span((v['map50'] for v in baseline), '.3f')}, its "
        f"mAP50-95 {span((v['map50_95'] for v in baseline), '.3f')}",
        f"An interval of {word(seeds)} seeds",
        f"that of mixed, {one.interval('mixed')}, excludes zero because its differences happened to agree to "
        f"{max(mixed) - min(mixed):.4f}",
        f"With {word(seeds)} seeds no p value is under {2 / 2**seeds:g}",
        f"{word(len(one.compared))} comparisons need at least {word(seeds_needed())} paired seeds",
        f"learns for {one.train['epochs'] * ceil(COUNTS['train'] / one.train['batch'])} steps",
    ]


def attention_worth(one: Published) -> list[str]:
    rows, arms = one.rows, one.compared
    p, smallest = min((row["p_adjusted"], arm) for arm, row in arms.items())
    assert smallest == "conv3x3_matched yolo12"
    without, matched = (
        [f"{arm} {model}" for model in ("yolo12", "yolo26")] for arm in ("no_attention", "conv3x3_matched")
    )
    share = [
        [rows[f"no_attention {model}"][key] / rows[f"baseline {model}"][key] for key in ("parameters", "gflops")]
        for model in ("yolo12", "yolo26")
    ]
    commits = {
        name.split("/")[1]: json.loads(one.files[name])["git"]["commit"]
        for name in one.files
        if name.endswith("/provenance.json")
    }
    later = [run for run, commit in commits.items() if Counter(commits.values())[commit] == 2]
    assert {run.split("-")[0] for run in later} == {"no_attention"}
    seeds = sorted(run.split("-s")[1][0] for run in later)
    stock = {arm: rows[f"baseline {arm.split()[1]}"] for arm in (*without, *matched)}
    times = [rows[arm]["latency_ms_b1"] / stock[arm]["latency_ms_b1"] for arm in (*without, *matched)]
    assert {row["latency_from"] for row in rows.values()} == {"profile"}
    steps = one.train["epochs"] * ceil(COUNTS["train"] / one.train["batch"])
    return [
        f"{COUNTS['train']} / {COUNTS['val']} images, {word(len(SHAPES))} classes",
        f"{word(one.seeds)} seeds, {word(one.cores)} CPU cores, {one.train['epochs']} epochs at "
        f"{one.train['imgsz']} px",
        f"{len(one.runs)} runs, {word(one.config['hardware']['runs_at_once'])} at a time, one thread per run",
        f"the smallest adjusted p is {p:.2f}, with the convolution in YOLO12n",
        f"this arm alone the 95 % interval is {one.interval(smallest)} mAP50-95",
        f"that hold for all {word(len(arms))} comparisons at once, {ends(rows[smallest], 'simultaneous')} for it",
        "(two one-sided tests at 5 %, each arm alone): differences beyond {:.3f} mAP50-95 in either direction without "
        "attention in YOLO12n, {:.3f} in YOLO26n, and {:.3f} and {:.3f} with the convolution".format(
            *map(one.excluded, [*without, *matched])
        ),
        f"standard deviation of {span((row['map50_95_std'] for row in rows.values()), '.3f')}",
        "YOLO12n has {:.2f} times the parameters and {:.2f} times the GFLOPs, YOLO26n {:.2f} and {:.2f} times".format(
            *share[0], *share[1]
        ),
        f"At {one.train['imgsz']} px and batch 1, one thread, fused, they take {times[0]:.2f} and {times[1]:.2f} times "
        f"the time of the stock networks, and {times[2]:.2f} and {times[3]:.2f} times with the convolution",
        f"the head without NMS reaches {rows['baseline yolo26']['nms_free_mean']:.3f} in the stock network, that with "
        f"NMS {rows['baseline yolo26']['nms_mean']:.3f}",
        "YOLO26n has two heads",
        f"at 640 px, from pretrained weights or after a whole training: {steps} steps on drawn images of "
        f"{one.train['imgsz']} px",
        "Which of the two networks",
        f"{word(len(later)).capitalize()} runs, without attention in YOLO12n with seeds {' and '.join(seeds)}",
    ]


def bccd_zoo(zoo: Published) -> list[str]:
    rows, arms, seeds = zoo.rows, zoo.compared, zoo.seeds
    means = [row["map50_95_mean"] for row in rows.values()]
    apart, widest = max((abs(row["deltas"][0]["delta"] - row["deltas"][1]["delta"]), arm) for arm, row in arms.items())
    narrow = rows["polarized_sequential"]
    agree = abs(narrow["deltas"][0]["delta"] - narrow["deltas"][1]["delta"])
    light = ("polarized_parallel", "polarized_sequential", "ema")
    middle = ("lska", "sea_attention", "acmix-mixed", "deformable_attention", "lsk")
    assert {*light, *middle, "dlka", "hat", "conv3x3"} == set(arms)
    assert min(row["p"] for row in arms.values()) >= 2 / 2**seeds
    return [
        f"after the {zoo.places} stages",
        f"'seed=range(0,{seeds})'",
        "profile.seconds=150",  # a setting of the command
        f"at {zoo.train['imgsz']} px and batch 1, one thread, fused, {span(map(zoo.times, light))} times "
        f"the baseline's time with {names(light)}, "
        f"{span(map(zoo.times, middle))} with {names(middle).replace('-mixed', '')}, "
        f"{zoo.times('dlka'):.2f} with dlka and {zoo.times('hat'):.2f} with hat",
        "The last two have {:.1f} and {:.1f} times the baseline's parameters, "
        "and {:.1f} and {:.1f} times its GFLOPs".format(
            *(zoo.times(arm, key) for key in ("parameters", "gflops") for arm in ("dlka", "hat"))
        ),
        f"it gives the network with acmix {rows['acmix-mixed']['gflops_ultralytics']:.2f} GFLOPs, "
        f"{rows['acmix-mixed']['gflops']:.2f} are computed",
        f"all arms end between {min(means):.2f} and {max(means):.2f} mAP50-95",
        "equal the baseline's in both seeds",
        f"{word(len(arms)).capitalize()} comparisons need at least {word(seeds_needed())} paired seeds",
        f"with {word(seeds)}, every row's verdict is that there are too few seeds",
        f"Every mean lies within {max(abs(row['delta_mean']) for row in arms.values()):.3f} of the baseline's",
        f"the differences of one arm's {word(seeds)} seeds lie up to {apart:.3f} apart ({widest})",
        f"Against {word(Published('bccd_full').seeds)} seeds, ACmix is in",
        f"polarized_sequential is better: its interval, {zoo.interval('polarized_sequential')}",
        f"narrow because {word(seeds)} seeds happened to agree to {agree:.4f}",
        f"With {word(seeds)} seeds no p value is under {2 / 2**seeds:g}",
    ]


def thermal_wanted(one: Published) -> list[str]:
    rows, arms = one.rows, one.compared
    p, smallest = min((row["p"], arm) for arm, row in arms.items())
    by_limit = sorted((one.excluded(arm), arm) for arm in arms)
    checks = [row for row in rows.values() if row["verdict"] == "harness_ok"]
    assert [row["n"] for row in checks] == [one.seeds] * len(one.tables)
    commits = Counter(
        json.loads(content)["git"]["commit"] for name, content in one.files.items() if name.endswith("/provenance.json")
    )
    dear = sorted((one.times(arm), arm) for arm in arms if arm != "wiou")
    missing = [name for name in wanted() if name not in arms]
    others = [arm for arm in arms if arm not in ("spd_conv", "carafe")]
    largest = max(rows[arm]["parameters"] for arm in others) / rows["baseline"]["parameters"]
    more = {arm: rows[arm]["parameters"] / rows["baseline"]["parameters"] for arm in ("spd_conv", "carafe")}
    return [
        f"train.epochs={one.train['epochs']}",
        f"trained for {one.train['epochs']} epochs at {one.train['imgsz']} px",
        f"from the baseline, {rows['baseline']['map50_95_mean']:.3f} mAP50-95: the smallest adjusted p is "
        f"{min(row['p_adjusted'] for row in arms.values()):.2f}, the smallest p of an arm alone {p:.2f} ({smallest})",
        "(two one-sided tests at 5 %, each arm alone): differences beyond "
        + names(
            [
                f"{limit:.3f} mAP50-95 in either direction for {arm}" if not number else f"{limit:.3f} for {arm}"
                for number, (limit, arm) in enumerate(by_limit)
            ]
        ),
        f"has a standard deviation of {rows['baseline']['map50_95_std']:.3f}",
        f"by {-rows['dysample']['delta_mean']:.3f} and {-rows['bilinear']['delta_mean']:.3f} mAP50-95 in the mean",
        f"{word(len([arm for arm in arms if arm in wanted()]))} of the most wanted blocks",
        f"the other {word(len(missing))} blocks of `+experiment=wanted`, which were not run: {names(missing)}",
        "profile.seconds=150",  # a setting of the command
        "at 640 px, from COCO weights",
        "(figures/forest-1.png)",
        "(figures/forest-3.png)",
        f"{largest:.2f} with the others",
        f"{word(len(checks))} identity controls",
        f"equal the baseline's in all {word(one.seeds)} seeds",
        f"at {one.train['imgsz']} px and batch 1, one thread, fused, the whole network takes "
        + names(
            [
                f"{times:.2f} times the baseline's time with {arm}" if not number else f"{times:.2f} with {arm}"
                for number, (times, arm) in enumerate(dear)
            ]
        ),
        f"{more['spd_conv']:.2f} times the baseline's parameters with spd_conv, {more['carafe']:.2f} with carafe",
        f"{word(len(commits))} commits",
    ]


def results_of_readme(name: str = "README.md", end: str = "## Installation") -> str:
    text = (REPO / name).read_text(encoding="utf-8")
    section = text[text.index("<!-- result: ") : text.index(end)]
    return re.sub(r"^\|.*$|<!--.*?-->|\]\(.*?\)", "", section, flags=re.MULTILINE)  # tests/test_readme.py: the table


def page(name: str) -> str:
    return (REPO / "docs" / "results" / name / "README.md").read_text(encoding="utf-8")


DOCUMENTS: dict[str, tuple[Callable[[], str], Callable[[], list[str]]]] = {
    "README.md": (results_of_readme, lambda: readme(Published("bccd_full"))),
    "bccd_full": (lambda: page("bccd_full"), lambda: [*common(one := Published("bccd_full")), *bccd_full(one)]),
    "screens_full": (
        lambda: page("screens_full"),
        lambda: [*common(one := Published("screens_full"), 300, 100), *screens_full(one)],
    ),
    "thermal_wanted": (
        lambda: page("thermal_wanted"),
        lambda: [*common(one := Published("thermal_wanted"), 142, 41), *thermal_wanted(one)],
    ),
    "demo": (lambda: page("demo"), lambda: demo(Published("demo"))),
    "attention_worth": (lambda: page("attention_worth"), lambda: attention_worth(Published("attention_worth"))),
    "bccd_zoo": (lambda: page("bccd_zoo"), lambda: [*common(one := Published("bccd_zoo")), *bccd_zoo(one)]),
}


def check(text: str, claims: list[str]) -> tuple[list[str], list[str]]:
    """The claims that are not in the text, and the numerals of the text that are in no claim."""
    text = " ".join(text.split())
    absent = [claim for claim in claims if claim not in text]
    for claim in sorted(claims, key=len, reverse=True):
        text = text.replace(claim, "...")
    return absent, NUMERAL.findall(NAMES.sub("", text))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_number_is_that_of_the_published_files(name: str) -> None:
    text, claims = DOCUMENTS[name]
    assert check(text(), claims()) == ([], [])


def test_the_chinese_readme_has_the_numbers_of_the_english_one() -> None:
    english, chinese = results_of_readme(), results_of_readme("README.zh-CN.md", "## 安装")
    numbers = set(re.findall(r"[+-]?\d+\.\d+", chinese))
    assert numbers == set(re.findall(r"[+-]?\d+\.\d+", english))
    assert len(numbers) >= 8


def test_every_published_result_has_a_checked_page() -> None:
    published = {path.parent.name for path in (REPO / "docs" / "results").glob("*/summary.json")}
    assert published == DOCUMENTS.keys() - {"README.md"}


def test_what_the_data_do_not_say_is_found() -> None:
    assert check("mixed costs up to\n0.021 mAP50-95", ["up to 0.020"]) == (["up to 0.020"], ["0.021"])
    assert check("It adds a fifth in 12 epochs of conv3x3.", []) == ([], ["fifth", "12"])
