"""Files are replaced as a whole, and locks are exclusive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acmix_exp.files import locked, replacing, write_arrays, write_text


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("new")  # type: ignore[arg-type]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("compress", [True, False])
def test_arrays_are_read_back(tmp_path: Path, compress: bool) -> None:
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3)}, compress=compress)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]
    assert (tmp_path / "a.npz").stat().st_mode & 0o777 == 0o644


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    with locked(tmp_path / ".lock") as first:
        assert first
        with locked(tmp_path / ".lock", wait=False) as second:
            assert not second
    with locked(tmp_path / ".lock", wait=False) as again:
        assert again
