"""What a command's config is, as Hydra would compose it for a sweep, before Hydra is asked to run anything."""

from __future__ import annotations

from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.types import RunMode
from omegaconf import DictConfig

from acmix_exp.config import conf_dir, register_schema


def preview(arguments: list[str]) -> DictConfig:
    """The config common to all cells, without what is swept, and with Hydra's own part. Raises as Hydra does."""
    register_schema()
    asked = get_args_parser().parse_args(arguments)
    folders = create_config_search_path(str(conf_dir()))
    if asked.config_dir is not None:
        own = f"file://{Path(asked.config_dir).absolute()}"
        folders.prepend(provider="command-line", path=own, anchor=SearchPathQuery(provider="schema"))
    return ConfigLoaderImpl(folders).load_configuration(
        "config", asked.overrides, run_mode=RunMode.MULTIRUN, validate_sweep_overrides=False
    )
