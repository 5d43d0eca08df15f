"""Fingerprints of what a run is trained from: the parts of its identity that files decide, and their verification.

The plan takes them; the child process takes them again before it trains or resumes, before it evaluates, and at the
end. A file that is written while it is read is then noticed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from acmix_exp import custom_block, installed
from acmix_exp.config import MATCHED, Config, ModelConfig
from acmix_exp.data import Dataset, inspect, resolve
from acmix_exp.errors import ChangedError, ConfigError
from acmix_exp.insertions import user_blocks
from acmix_exp.run.directory import Run
from acmix_exp.yolo import families
from acmix_exp.yolo.pretrained import find_pretrained

CURE = "the same command goes on with the old content, and starts new runs with the new"


def digest(path: Path) -> str:
    """SHA-256 of a file; read again if its size, times or inode have changed."""
    stat = os.stat(path)
    return _digest(path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))


@lru_cache(maxsize=32)
def _digest(path: Path, stamp: tuple[int, ...]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pretrained(model: ModelConfig) -> str | None:
    """SHA-256 of the file of pretrained weights; None from scratch."""
    return model.pretrained and digest(find_pretrained(model))


def block(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of the block; a user-defined one also counts by its file and the modules it imports."""
    source = custom_block.source(block["target"]) if custom_block.is_custom(block) else None
    if source is None:
        return dict(block) or None
    parts = {**block, "source": digest(source)[:16]}
    if helpers := custom_block.helpers(block["target"]):
        content = "\n".join(f"{name} {digest(path)}" for name, path in sorted(helpers.items()))
        parts["helpers"] = hashlib.sha256(content.encode()).hexdigest()[:16]
    return parts


def verify(config: Config, identity: Mapping[str, Any]) -> Dataset:
    """The data set, if data, pretrained weights, block and imported code are those of ``identity``.

    Raises ChangedError, which names each one that is not.
    """
    dataset, data = _data(config, str(identity["data"]))
    lines = [*data, *_network(config, identity), *_weights(config, identity), *code_changes(config, identity)]
    if lines:
        raise ChangedError("; ".join([*lines, CURE]))
    assert dataset is not None
    return dataset


def verify_finished(run: Run, config: Config, *, pretrained: bool = False) -> None:
    """Raise ChangedError unless block, imported code and kept checkpoints are those of a finished run.

    pretrained: the files of pretrained weights and of the network count too. What an older version did not record is
    not compared.
    """
    if lines := finished_changes(run, config, pretrained=pretrained):
        raise ChangedError("; ".join(lines))


def finished_changes(run: Run, config: Config, *, pretrained: bool = False) -> list[str]:
    """A line for each part of a finished run that is no longer as recorded; see :func:`verify_finished`."""
    recorded = run.provenance()
    identity = recorded.get("identity") or {}
    lines = code_changes(config, identity, imported="imported" in recorded)
    if pretrained and "model" in identity:
        lines += [*_network(config, identity), *_weights(config, identity)]
    for name, then in (recorded.get("weights") or {}).items():
        path = run.path / "weights" / name
        if path.is_file() and digest(path) != then:
            lines.append(f"{path} is not the file that the run wrote")
    return lines


def verify_data(config: Config, fingerprint: str) -> Dataset:
    """The data set, if it has this fingerprint. Raises ChangedError."""
    dataset, lines = _data(config, fingerprint)
    if lines or dataset is None:
        raise ChangedError("; ".join([*lines, "run the command again"]))
    return dataset


def _data(config: Config, fingerprint: str) -> tuple[Dataset | None, list[str]]:
    place = config.dataset.path or config.dataset.root
    name = f"data set {config.dataset.name}" + (f" {place}" if place else "")
    try:
        dataset = resolve(config.dataset, config.model.task)
        now = inspect(dataset).fingerprint
    except ConfigError as error:
        return None, [f"{name} cannot be used any more ({error.lines[0]})"]
    except OSError as error:
        return None, [f"{name} cannot be read any more ({error})"]
    if now != fingerprint:
        return dataset, [f"{name} (fingerprint {now[:16]}, was {fingerprint[:16]})"]
    return dataset, []


def _network(config: Config, identity: Mapping[str, Any]) -> list[str]:
    then = (identity.get("model") or {}).get("yaml")
    if then is None:
        return []
    try:
        now = families.yaml_digest(config.model)
    except ConfigError as error:
        return [f"{error.lines[0]}, unlike before"]
    return [] if now == then else [f"model.yaml={config.model.yaml} (hash {now}, was {then})"]


def _weights(config: Config, identity: Mapping[str, Any]) -> list[str]:
    try:
        now = pretrained(config.model)
    except (ConfigError, OSError):
        return [f"model.pretrained={config.model.pretrained} is no longer there"]
    then = (identity.get("model") or {}).get("pretrained")
    if now == then:
        return []
    return [f"model.pretrained={config.model.pretrained} (SHA-256 {str(now)[:16]}, was {str(then)[:16]})"]


def code_changes(config: Config, identity: Mapping[str, Any], *, imported: bool = True) -> list[str]:
    """A line for a user-defined block, and for imported code, that is not that of ``identity``.

    imported: whether it says which code was imported, as that of an older version does not.
    """
    lines = []
    for each in [identity, *(identity.get("insertions") or ())]:
        then = each.get("block") or {}
        if then.get("name") == MATCHED:
            then = then.get("like", then)  # what it matches
        if "source" in then:
            lines += _block_changes(then)
    before, after = identity.get("code") or {}, imported_code(config) if imported else {}
    lines += [
        f"the code of {name} ({_hash(after, name)}, was {_hash(before, name)})"
        for name in sorted({*before, *after})
        if after.get(name) != before.get(name)
    ]
    return lines


def _block_changes(then: Mapping[str, Any]) -> list[str]:
    """A line if the file of a user-defined block, or what it imports, is no longer that of ``then``."""
    target = str(then["target"])
    now = block({"target": target}) or {}
    file = custom_block.source(target) or f"{target}, which is no longer there"
    if now.get("source") != then["source"]:
        return [f"block.target={target}: {file}"]
    if now.get("helpers") != then.get("helpers"):
        names = ", ".join(str(path) for path in custom_block.helpers(target).values())
        return [f"block.target={target}: what {file} imports: {names}"]
    return []


def _hash(code: Mapping[str, str], name: str) -> str:
    return f"hash {code[name]}" if name in code else "as installed"


def imported_code(config: Config) -> dict[str, str]:
    """Hashes of the modules that no version tells apart: editable, changed, or not the installed ones."""
    path, targets = installed.child_path(), [str(each["target"]) for each in user_blocks(config)]
    own = {name.partition(".")[0] for target in targets for name in (target, *custom_block.helpers(target))}
    return installed.code([*installed.found(path, own), *installed.modified(path)])
