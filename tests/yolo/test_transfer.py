from itertools import chain
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from acmix_exp.config import PlacementConfig
from acmix_exp.yolo.model import BlockDetectionModel, build_model
from acmix_exp.yolo.transfer import load_pretrained, scratch_audit, summary
from tests.yolo.builders import NAMES, bare, is_zero_branch, make_config

HEAD = {f"model.22.cv3.{i}.2.{name}" for i in range(3) for name in ("weight", "bias")}


def save(model: DetectionModel, path: Path) -> Path:
    torch.save({"model": model.half(), "train_args": {}}, path)
    return path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of stock yolov8n with other classes."""
    torch.manual_seed(1)
    model = DetectionModel("yolov8n.yaml", nc=80, verbose=False)
    model.names = {i: f"class {i}" for i in range(80)}
    return save(model, tmp_path_factory.mktemp("weights") / "yolov8n.pt")


def load(path: Path, mode: str = "after", **changes: object) -> tuple[DetectionModel, dict[str, list[str]]]:
    placement = PlacementConfig(name="test", mode=mode, sites=["backbone_p4", "backbone_p5"])
    config = make_config(model__placement=placement, model__pretrained=str(path), **changes)
    model = build_model(bare(config) if changes.get("arm__name") == "baseline" else config, nc=len(NAMES))
    model.names = dict(NAMES)
    return model, load_pretrained(model, path)


@pytest.mark.parametrize("mode", ["after", "replace"])
def test_every_arm_gets_the_same_stock_tensors(pretrained: Path, mode: str) -> None:
    arms = {path: load(pretrained, mode, block__path=path) for path in ("conv", "attention", "mixed")}
    stock, audit = load(pretrained, arm__name="baseline")
    assert set(audit["rebuilt"]) == HEAD
    assert not audit["new"]
    assert len(audit["transferred"]) + len(HEAD) == len(stock.state_dict()) == 355
    source = torch.load(pretrained, weights_only=False)["model"].float().state_dict()
    for model, account in arms.values():
        assert isinstance(model, BlockDetectionModel)
        lost = {key for key in audit["transferred"] if key not in account["transferred"]}
        assert lost == (
            {"model.6.m.0.cv2.conv.weight", "model.6.m.1.cv2.conv.weight", "model.8.m.0.cv2.conv.weight"}
            if mode == "replace"
            else set()
        )
        assert set(account["rebuilt"]) == HEAD
        assert set(account["new"]) == model.new_keys()
        assert set(account.pop("unused", [])) == lost
        assert sorted(chain.from_iterable(account.values())) == sorted(model.state_dict())
        assert all(torch.equal(model.state_dict()[key], source[key]) for key in account["transferred"])


@pytest.mark.parametrize("mode", ["after", "replace"])
def test_blocks_of_a_checkpoint_are_not_transferred(tmp_path: Path, mode: str) -> None:
    """They would fit some arms and not others."""
    placement = PlacementConfig(name="test", mode=mode, sites=["backbone_p4", "backbone_p5"])
    source = build_model(make_config(model__placement=placement), nc=len(NAMES))
    source.names = dict(NAMES)
    for parameter in source.parameters():
        torch.nn.init.constant_(parameter, 0.25)
    path = save(source, tmp_path / "own.pt")
    audits = []
    for name in ("conv", "attention", "mixed"):
        changes = {"block__path": name}
        config = make_config(model__placement=placement, model__pretrained=str(path), **changes)
        model, audit = load(path, mode, **changes)
        start, state = build_model(config, nc=len(NAMES)).state_dict(), model.state_dict()
        assert set(audit["new"]) == model.new_keys()
        assert all(torch.equal(state[key], start[key]) for key in model.new_keys())
        audits.append(audit)
    assert audits[0]["transferred"] == audits[1]["transferred"] == audits[2]["transferred"]
    assert audits[0]["rebuilt"] == audits[1]["rebuilt"] == audits[2]["rebuilt"] == []
    _, stock = load(path, mode, arm__name="baseline")
    assert set(audits[0]["transferred"]) == set(stock["transferred"])


def test_the_same_class_head_in_every_arm(pretrained: Path) -> None:
    """It is drawn while loading, from the global generator."""
    heads = []
    for changes in ({"arm__name": "baseline"}, {"block__path": "conv"}, {}):
        torch.manual_seed(0)
        state = load(pretrained, **changes)[0].state_dict()
        heads.append([state[key] for key in sorted(HEAD)])
    assert all(torch.equal(a, b) for other in heads[1:] for a, b in zip(heads[0], other, strict=True))


def test_a_branch_starts_at_zero_with_pretrained_weights(pretrained: Path) -> None:
    model, _ = load(pretrained)
    assert is_zero_branch(model.model[6].after)
    assert is_zero_branch(model.model[8].after)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = DetectionModel("yolov8n.yaml", nc=2, verbose=False)
    other.names = {0: "disc", 1: "square"}
    model, audit = load(save(other, tmp_path / "swapped.pt"))
    key = "model.22.cv3.0.2.weight"
    torch.testing.assert_close(model.state_dict()[key], other.float().state_dict()[key].flip(0))
    assert key in audit["rebuilt"]


def test_weights_of_another_scale(tmp_path: Path) -> None:
    path = save(DetectionModel("yolov8s.yaml", nc=2, verbose=False), tmp_path / "yolov8s.pt")
    with pytest.raises(
        ValueError, match=r"^model\.pretrained=.*yolov8s\.pt: only \d+ of \d+ tensors fit.*model\.scale"
    ):
        load(path)


def test_summary_is_one_line(pretrained: Path) -> None:
    model, audit = load(pretrained)
    assert summary(audit, pretrained) == (
        f"weights: {len(audit['transferred'])} transferred, 6 rebuilt, {len(audit['new'])} new (from yolov8n.pt)"
    )
    audit = scratch_audit(model)
    assert summary(audit, None) == f"weights: from scratch, {len(model.new_keys())} new"


def test_controls_in_a_bottleneck(pretrained: Path) -> None:
    """identity keeps every stock tensor, the 3x3 too; conv3x3 starts it anew, as ACmix does."""
    stock, audit = load(pretrained, arm__name="baseline")
    model, account = load(pretrained, "replace", block={"name": "identity"})
    assert account == audit
    assert all(torch.equal(model.state_dict()[key], stock.state_dict()[key]) for key in audit["transferred"])
    _, acmix = load(pretrained, "replace")
    model, account = load(pretrained, "replace", block={"name": "conv3x3"})
    assert account["transferred"] == acmix["transferred"]
    assert account["new"] == [f"model.{place}.cv2.block.weight" for place in ("6.m.0", "6.m.1", "8.m.0")]
