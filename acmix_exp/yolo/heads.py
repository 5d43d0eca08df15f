"""The two heads of YOLOv10 and YOLO26: which one is scored as the headline, and the scores of the other.

``nms``: one-to-many, with non-maximum suppression; ``nms_free``: one-to-one, which needs none. ultralytics 8.4.142 and
later score the first unless ``nms=False``, in training too, so that the headline is the head by which best.pt is
chosen. ``train.extra.nms=false`` makes it the other one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from acmix_exp.config import Config

NMS, NMS_FREE = "nms", "nms_free"


def has_two_heads(model: nn.Module) -> bool:
    """Whether a network of ultralytics has both heads; one that was fused has one."""
    head: Any = model.model[-1]  # type: ignore[index]
    return getattr(head, "one2one_cv2", None) is not None and head.cv2 is not None


def headline_head(config: Config) -> str:
    """The head that training and evaluation score: NMS or NMS_FREE."""
    return NMS_FREE if config.train.extra.get("nms") is False else NMS


def predicts_by_headline(model: Any, config: Config) -> None:
    """Let a network with two heads predict by the headline's, in place. One that is built predicts by NMS, one that was
    validated by what it was validated with."""
    if has_two_heads(model):
        model.end2end = headline_head(config) == NMS_FREE


def with_other_head(config: Config) -> Config:
    """A config by which the other head is scored."""
    extra = {key: value for key, value in config.train.extra.items() if key != "nms"}
    if headline_head(config) == NMS:
        extra["nms"] = False
    return replace(config, train=replace(config.train, extra=extra))


def both_heads(config: Config, headline: Mapping[str, float], other: Mapping[str, float]) -> dict[str, Any]:
    """``head`` and ``heads`` of a result: the name of the headline's, and the metrics of each."""
    scored = headline_head(config)
    return {"head": scored, "heads": {scored: dict(headline), NMS_FREE if scored == NMS else NMS: dict(other)}}
