"""The names of a classifier's classes: from its metadata, or from a file with one name per line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model

_SYNSET = re.compile(r"n\d{8}\s+")  # WordNet id, as in "n01440764 tench, Tinca tinca"
_NUMBER = re.compile(r"(\d+)[\s:]+(?=\S)")  # as in "0  background"
_LONGEST_FILE = 10_000_000  # bytes; ImageNet-21k's names take 0.4 MB


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The names in a file, one per line; line i names class i.

    A WordNet id before a name is dropped, and so are line numbers when every line has its own. Empty lines at the end
    do not count; one in the middle does, as a class without a name.

    Raises:
        ConfigError: the file cannot be read, is no text, or names nothing.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle:
            content = handle.read(_LONGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(f"the labels {path} cannot be read: {error.strerror or error}.") from error
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError:
        lines = []
    if len(content) > _LONGEST_FILE or not lines or "\0" in lines[0]:
        raise ConfigError(f"{path} is no list of labels: a text file with one name per line was expected.")
    numbers = [_NUMBER.match(line) for line in lines]
    if all(match and int(match[1]) == index for index, match in enumerate(numbers)):
        lines = [_NUMBER.sub("", line, count=1) for line in lines]
    return tuple(_SYNSET.sub("", line, count=1) if _SYNSET.match(line) else line for line in lines)


def labels_of(model: Model) -> tuple[str, ...]:
    """The names in the model's metadata ("labels", comma-separated); empty where it has none."""
    facts: Mapping[str, str] = getattr(model, "metadata", {}) or {}
    text = facts.get("labels", "")
    return tuple(text.split(",")) if text else ()


def check_label_count(labels: tuple[str, ...], classes: int, name: str) -> None:
    """Refuse labels that cannot be those of this model; none at all is fine.

    Raises:
        ConfigError: with both counts, and the usual cause where they differ by one.
    """
    if not labels or len(labels) == classes:
        return
    hint = {
        1: " One line too few is mostly a missing 'background' in the first line.",
        -1: " One line too many is mostly a 'background' in the first line that this model does not have.",
    }.get(classes - len(labels), "")
    raise ConfigError(f"{name} knows {classes} classes and there are {len(labels)} labels.{hint}")
