"""Verdicts of earlier tunings: by model, machine, versions and everything that was asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.measure.report import host_record, versions_record
from solutions.core.scripts import write_json
from solutions.core.zoo.registry import cache_folder

_CHANGING = ("hottest_c",)  # of a host record: no reason to measure again


def verdict_key(digest: str, asked: Mapping[str, Any], folder: str | Path | None = None) -> str:
    """A name for the question: the same model, machine, versions, settings and samples give the same.

    Args:
        digest: of the model's file.
        asked: what else was asked for, ready for JSON.
        folder: of the samples; its files count by name, size and time. None where they are made by rule.
    """
    host = {name: value for name, value in host_record().items() if name not in _CHANGING}
    facts = [(path, path.stat()) for path in sorted(Path(folder).glob("*"))] if folder else []
    files = [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in facts]
    question = json.dumps([digest, dict(asked), str(folder), files, host, versions_record()], sort_keys=True)
    return hashlib.sha256(question.encode()).hexdigest()[:32]


def stored_verdict(key: str) -> dict[str, Any] | None:
    """The record that was kept under the key; None where there is none, or none that can be read."""
    try:
        record = json.loads(_place(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def keep_verdict(key: str, record: Mapping[str, Any]) -> Path:
    """Keep the record; the file comes back.

    Raises:
        ConfigError: the cache folder cannot be written.
    """
    place = _place(key)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{place.parent} cannot be made: {error.strerror}. MLI_CACHE names another cache folder."
        ) from error
    write_json(place, dict(record))
    return place


def _place(key: str) -> Path:
    return cache_folder() / "tuning" / "verdicts" / f"{key}.json"
