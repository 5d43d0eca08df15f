"""What ``import acmix_exp`` offers: a few names, each imported when it is used."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

import acmix_exp

PUBLIC = ["Study", "build", "errors", "load", "nn", "ops"]


def test_dir_shows_only_what_is_public() -> None:
    assert dir(acmix_exp) == sorted([*PUBLIC, "__version__"])
    assert sorted(acmix_exp.__all__) == PUBLIC


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in PUBLIC:
        assert getattr(acmix_exp, name).__doc__, name


def test_an_unknown_name_is_answered_with_the_public_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'train'; it has Study, build, errors, load, nn, ops$"):
        acmix_exp.train  # noqa: B018
    assert not hasattr(acmix_exp, "__wrapped__")


def test_the_import_itself_imports_almost_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import acmix_exp; from acmix_exp import errors;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["acmix_exp"]


@pytest.mark.parametrize("command", [["-c", "import acmix_exp"], ["-m", "acmix_exp", "--help"]])
def test_import_and_help_take_less_than_a_second(command: list[str]) -> None:
    """Of the processor, because other programs may use it too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_loading_an_experiment_imports_no_torch() -> None:
    code = "import sys, acmix_exp; acmix_exp.load; assert not {'torch', 'ultralytics', 'polars'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
