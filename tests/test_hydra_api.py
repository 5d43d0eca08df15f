"""Every part of Hydra and OmegaConf that the package uses, by name: a version that changes one fails here first."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import omegaconf
import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "acmix_exp"

# Functions and classes with the arguments that are given to them; None if it is not called.
PARTS: dict[str, dict[str, list[str] | None]] = {
    "hydra": {
        "main": ["config_path", "config_name", "version_base"],
        "compose": ["config_name", "overrides", "return_hydra_config"],
        "initialize_config_dir": ["config_dir", "job_name", "version_base"],
    },
    "hydra.core.config_store": {"ConfigStore.instance": None, "ConfigStore.store": ["name", "node", "provider"]},
    "hydra.core.global_hydra": {"GlobalHydra.instance": None, "GlobalHydra.clear": []},
    "hydra.core.hydra_config": {"HydraConfig.instance": None, "HydraConfig.set_config": ["cfg"], "HydraConfig.get": []},
    "hydra.core.override_parser.overrides_parser": {
        "OverridesParser.create": ["config_loader"],
        "OverridesParser.parse_override": ["s"],
        "OverridesParser.parse_overrides": ["overrides"],
    },
    "hydra.core.override_parser.types": {
        "Override.is_hydra_override": [],
        "Override.is_sweep_override": [],
        "Override.is_discrete_sweep": [],
        "Override.sweep_string_iterator": [],
        "Override.get_key_element": [],
        "Override.value": [],
        "Quote.double": None,
        "QuotedString": ["text", "quote"],
        "QuotedString.with_quotes": [],
    },
    "hydra.errors": {"HydraException": None, "MissingConfigException": None, "OverrideParseException": None},
    "hydra.types": {"RunMode.MULTIRUN": None},
    "omegaconf": {
        "MISSING": None,
        "DictConfig": None,
        "ListConfig": None,
        "OmegaConf.create": ["obj"],
        "OmegaConf.load": ["file_"],
        "OmegaConf.merge": [],
        "OmegaConf.select": ["cfg", "key"],
        "OmegaConf.structured": ["obj"],
        "OmegaConf.to_container": ["cfg", "resolve"],
        "OmegaConf.to_object": ["cfg"],
        "OmegaConf.to_yaml": ["cfg"],
        "OmegaConf.update": ["cfg", "key", "value", "merge"],
        "open_dict": ["config"],
    },
    "omegaconf.errors": {
        "GrammarParseError": None,
        "InterpolationResolutionError": None,
        "OmegaConfBaseException": None,
    },
}


def part(module: str, name: str) -> Any:
    node: Any = import_module(module)
    for attribute in name.split("."):
        node = getattr(node, attribute, None)
        if node is None:
            pytest.fail(f"hydra {hydra.__version__}, omegaconf {omegaconf.__version__}: no {module}.{name}")
    return node


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PARTS.items() for name in names])
def test_exists_and_accepts_the_arguments(module: str, name: str) -> None:
    arguments, found = PARTS[module][name], part(module, name)
    if arguments is not None:
        assert set(arguments) <= set(inspect.signature(found).parameters)


def test_nothing_else_is_imported_or_called() -> None:
    used, known = set(), {(module, name.split(".")[0]) for module, names in PARTS.items() for name in names}
    methods = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("hydra", "omegaconf"):
                used |= {(node.module, alias.name) for alias in node.names}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "OmegaConf":
                methods.add(f"OmegaConf.{node.attr}")
    assert used - known == set()
    assert methods <= set(PARTS["omegaconf"])


def test_attributes_of_overrides_and_errors() -> None:
    override_parser = part("hydra.core.override_parser.overrides_parser", "OverridesParser").create()
    override = override_parser.parse_override("++train.extra.mosaic=0")
    assert (override.input_line, override.key_or_group) == ("++train.extra.mosaic=0", "train.extra.mosaic")
    parse_error = part("hydra.errors", "OverrideParseException")
    with pytest.raises(parse_error) as caught:
        override_parser.parse_overrides(["a=["])
    assert caught.value.override == "a=["
    missing = part("hydra.errors", "MissingConfigException")("no", "group/option", ["a", "b"])
    assert (missing.missing_cfg_file, missing.options) == ("group/option", ["a", "b"])


def test_the_config_of_hydra_has_the_mode_the_axes_and_the_launcher() -> None:
    hydra_config = part("hydra.conf", "HydraConf")
    config = omegaconf.OmegaConf.structured(hydra_config)
    assert {"mode", "sweeper", "runtime"} <= set(config)
    assert config.mode is None
    assert "choices" in config.runtime
