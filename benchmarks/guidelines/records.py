"""Records of what was measured for the guidelines: how they are made, read and rounded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.measure.report import host_record, versions_record

Record = Mapping[str, Any]


def measure_all(
    schema: str, parts: Sequence[Callable[[], Any]], progress: Callable[[str], None] = lambda part: None
) -> dict[str, Any]:
    """The record: host, versions, and what every part found, to six digits, by the name of its function."""
    record: dict[str, Any] = {"schema": schema, "host": host_record(), "versions": versions_record()}
    for part in parts:
        progress(part.__name__)
        record[part.__name__] = rounded(part())
    return record


def rounded(value: Any) -> Any:
    """The same values with floats to six significant digits, which is more than any timing holds.

    >>> rounded({"ms": [1.23456789, 2]})
    {'ms': [1.23457, 2]}
    """
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_record(path: Path, schema: str) -> dict[str, Any]:
    """A record that was written before.

    Raises:
        ConfigError: it is none.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a record: {error}") from error
    if record.get("schema") != schema:
        raise ConfigError(f"{path} is no record of this script (schema {schema}): measure anew without --record")
    return record
