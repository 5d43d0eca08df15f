"""Every part of ultralytics that acmix_exp/yolo relies on, by name: a version that drops one fails here first."""

import inspect
from importlib import import_module

import pytest
import ultralytics

TRAINER = """
get_dataset get_dataloader get_model preprocess_batch build_optimizer run_callbacks _build_train_pipeline
_handle_nan_recovery save_metrics read_results_csv save_model final_eval _setup_train _setup_ddp resume_training
"""
PARTS = {
    "thop": "profile",
    "ultralytics.cfg": "check_cfg get_cfg get_save_dir",
    "ultralytics.data": "build_dataloader",
    "ultralytics.data.build": "InfiniteDataLoader.close InfiniteDataLoader.reset",
    "ultralytics.data.dataset": "YOLODataset.get_img_files YOLODataset.get_labels",
    "ultralytics.data.utils": "get_split_fraction",
    "ultralytics.data.augment": "LetterBox",
    "ultralytics.engine.exporter": "Exporter export_formats FP32_UNSUPPORTED_FORMATS",
    "ultralytics.engine.trainer": " ".join(f"BaseTrainer.{name}" for name in TRAINER.split()),
    "ultralytics.models.yolo.detect": "DetectionTrainer DetectionValidator._check_max_det DetectionValidator.get_stats "
    "DetectionValidator.init_metrics DetectionValidator.update_metrics DetectionValidator.postprocess",
    "ultralytics.nn.autobackend": "AutoBackend",
    "ultralytics.nn.modules": "C2f.forward C2f.forward_split SPPF Conv",
    "ultralytics.nn.tasks": "DetectionModel.load DetectionModel.fuse DetectionModel.info load_checkpoint "
    "parse_model yaml_model_load",
    "ultralytics.utils": "DEFAULT_CFG_DICT IterableSimpleNamespace LOGGER RANK SAFE_LOAD WORLD_SIZE",
    "ultralytics.utils.nms": "non_max_suppression",
    "ultralytics.utils.patches": "imread",
    "ultralytics.utils.torch_utils": "init_seeds initialize_weights strip_optimizer unwrap_model",
}


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PARTS.items() for name in names.split()]
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
        (
            "engine.trainer",
            "BaseTrainer._do_train",
            ['run_callbacks("on_train_start")', "self.preprocess_batch(batch)"],
        ),
        # what distributed training relies on: ranks.py, rank_process.py
        ("engine.trainer", "BaseTrainer.train", ["if self.ddp:", "generate_ddp_command(self)"]),
        ("engine.trainer", "BaseTrainer.__init__", ["init_seeds(self.args.seed + 1 + RANK"]),
        (
            "engine.trainer",
            "BaseTrainer._setup_ddp",
            ["devices[LOCAL_RANK]", "rank=RANK", "world_size=self.world_size"],
        ),
        (
            "engine.trainer",
            "BaseTrainer._setup_train",
            ["nn.parallel.DistributedDataParallel(", "find_unused_parameters=not bool(self.args.compile)"],
        ),
        ("engine.trainer", "BaseTrainer.validate", ["dist.broadcast(buffer, src=0)"]),
        ("engine.trainer", "BaseTrainer._do_train", ["self._setup_ddp()", "self.loss *= self.world_size"]),
        ("engine.trainer", "BaseTrainer.save_model", ["self.last.write_bytes(", "self.best.write_bytes("]),
        ("engine.trainer", "BaseTrainer.save_model", ["to_fp16(deepcopy(self.optimizer.state_dict()))"]),
        # where the state of exact resume is gathered, written and restored
        ("engine.trainer", "BaseTrainer._do_train", ["= self.validate()", "self._handle_nan_recovery(epoch)"]),
        ("engine.trainer", "BaseTrainer._do_train", ["last_opt_step = -1", "epoch = self.start_epoch"]),
        ("engine.trainer", "BaseTrainer._setup_train", ["self.resume_training(ckpt)"]),
        ("engine.trainer", "BaseTrainer._setup_train", ["self.scheduler.last_epoch = self.start_epoch - 1"]),
        ("utils.torch_utils", "EarlyStopping.__init__", ["self.best_fitness = ", "self.best_epoch = "]),
        ("engine.trainer", "BaseTrainer.save_model", ["self.read_results_csv()", "self.best_fitness == self.fitness"]),
        ("engine.trainer", "BaseTrainer.setup_model", ["self.get_model(cfg=cfg, weights=weights"]),
        ("engine.trainer", "BaseTrainer.build_optimizer", ['"param_group": "weight"', '"param_group": "bn"']),
        # what a validator asks of a trainer
        ("engine.validator", "BaseValidator.__call__", ["trainer.loss_items", "trainer.stopper.possible_stop"]),
        ("engine.validator", "BaseValidator.__call__", ["trainer.world_size", "trainer.label_loss_items("]),
        ("engine.validator", "BaseValidator.get_model", ["trainer.ema.ema"]),
        # what names the exported file
        ("engine.exporter", "Exporter.__call__", ['getattr(model, "pt_path", None)', "model.fuse("]),
        # what the preflight asks about formats
        ("engine.exporter", "export_formats", ['"Format", "Argument"', '"CPU", "GPU", "Arguments"']),
        # what the exporter calls in place of forward
        ("engine.exporter", "Exporter", ["m.forward = m.forward_split"]),
        # a marked row of model.yaml fails here
        ("nn.tasks", "parse_model", ["globals()[m]"]),
        ("data.base", "BaseDataset.__init__", ["self.get_img_files(", "self.get_labels()"]),
        # samples that depend on seed, epoch and index alone
        ("data.base", "BaseDataset.__getitem__", ["self.transforms(self.get_image_and_label(index))"]),
        ("data.base", "BaseDataset.get_image_and_label", ["deepcopy(self.labels[index])", "self.load_image(index)"]),
        ("data.augment", "Mosaic.__init__", ['self.buffer_enabled = self.dataset.cache != "ram"']),
        ("data.augment", "Albumentations.__call__", ["self.transform.set_random_seed(torch.initial_seed())"]),
        ("data.build", "InfiniteDataLoader.__iter__", ["self.iterator = self._get_iterator()"]),
        ("engine.trainer", "BaseTrainer._do_train", ["self._close_dataloader_mosaic()", "self.train_loader.reset()"]),
        ("engine.trainer", "BaseTrainer._do_train", ["self.epoch = epoch\n", 'run_callbacks("on_train_epoch_start")']),
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

    from acmix_exp.yolo.arguments import OWNED_ARGS

    assert set(OWNED_ARGS) - set(DEFAULT_CFG_DICT) == {"save_dir"}
