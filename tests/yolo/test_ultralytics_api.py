"""Every part of ultralytics that this room rests on, by name: a new version that drops one is told of here first."""

import inspect
from importlib import import_module

import pytest
import ultralytics

PARTS = """
ultralytics.cfg: get_cfg get_save_dir
ultralytics.data: build_dataloader
ultralytics.data.build: InfiniteDataLoader InfiniteDataLoader.close
ultralytics.data.dataset: YOLODataset YOLODataset.get_img_files YOLODataset.get_labels
ultralytics.data.utils: get_split_fraction
ultralytics.models.yolo.detect: DetectionTrainer DetectionValidator DetectionValidator._check_max_det
ultralytics.models.yolo.detect: DetectionTrainer.get_dataset DetectionTrainer.get_dataloader DetectionTrainer.get_model
ultralytics.models.yolo.detect: DetectionTrainer.preprocess_batch DetectionTrainer.build_optimizer
ultralytics.models.yolo.detect: DetectionTrainer.run_callbacks DetectionTrainer._build_train_pipeline
ultralytics.models.yolo.detect: DetectionTrainer._handle_nan_recovery DetectionTrainer.save_metrics
ultralytics.models.yolo.detect: DetectionTrainer.read_results_csv DetectionTrainer.save_model DetectionTrainer.final_eval
ultralytics.models.yolo.detect: DetectionTrainer._setup_train DetectionTrainer.check_resume
ultralytics.nn.modules: C2f C2f.forward C2f.forward_split SPPF Conv
ultralytics.nn.tasks: DetectionModel DetectionModel.load DetectionModel.fuse DetectionModel.info
ultralytics.nn.tasks: load_checkpoint parse_model yaml_model_load
ultralytics.utils: IterableSimpleNamespace LOGGER SAFE_LOAD
ultralytics.utils.torch_utils: initialize_weights strip_optimizer unwrap_model
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [(module, name) for line in PARTS.strip().splitlines() for module, names in [line.split(": ")] for name in names.split()],
)
def test_is_there(module: str, name: str) -> None:
    found = import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            pytest.fail(f"ultralytics {ultralytics.__version__} has no {module}.{name}; acmix_exp.yolo needs it")


@pytest.mark.parametrize(
    ("module", "name", "texts"),
    [
        # the hooks that the trainer overrides are called where they are meant to be
        ("engine.trainer", "BaseTrainer._do_train", ["self._build_train_pipeline()", "self._handle_nan_recovery("]),
        ("engine.trainer", "BaseTrainer._do_train", ['run_callbacks("on_train_batch_end")', "self.final_eval()"]),
        ("engine.trainer", "BaseTrainer._do_train", ["self.save_metrics(", "self.epoch_time_start = time.time()"]),
        ("engine.trainer", "BaseTrainer._do_train", ['run_callbacks("on_train_start")', "self.preprocess_batch(batch)"]),
        ("engine.trainer", "BaseTrainer.save_model", ["self.last.write_bytes(", "self.best.write_bytes("]),
        ("engine.trainer", "BaseTrainer.save_model", ["self.read_results_csv()", "self.best_fitness == self.fitness"]),
        ("engine.trainer", "BaseTrainer.setup_model", ["self.get_model(cfg=cfg, weights=weights"]),
        ("engine.trainer", "BaseTrainer.build_optimizer", ['"param_group": "weight"', '"param_group": "bn"']),
        # what a validator asks of a trainer
        ("engine.validator", "BaseValidator.__call__", ["trainer.loss_items", "trainer.stopper.possible_stop"]),
        ("engine.validator", "BaseValidator.__call__", ["trainer.world_size", "trainer.label_loss_items("]),
        ("engine.validator", "BaseValidator.get_model", ["trainer.ema.ema"]),
        # what the exporter calls in place of forward
        ("engine.exporter", "Exporter", ["m.forward = m.forward_split"]),
        # a marked row of model.yaml fails here
        ("nn.tasks", "parse_model", ["globals()[m]"]),
        ("data.base", "BaseDataset.__init__", ["self.get_img_files(", "self.get_labels()"]),
    ],
)
def test_is_used_as_expected(module: str, name: str, texts: list[str]) -> None:
    found = import_module(f"ultralytics.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    missing = [text for text in texts if text not in inspect.getsource(inspect.unwrap(found))]
    assert not missing, f"ultralytics {ultralytics.__version__}: {module}.{name} no longer has {missing}"


def test_train_arguments() -> None:
    """Owned arguments exist under the names that we refuse them by."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    from acmix_exp.yolo.owned_args import OWNED_ARGS

    assert set(OWNED_ARGS) - set(DEFAULT_CFG_DICT) == {"save_dir"}
