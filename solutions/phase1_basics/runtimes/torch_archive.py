"""What PyTorch's zip archives hold beside weights and code: the text files that a user put in."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator

LONGEST_FACT = 1 << 16  # bytes


def entries_in(archive: zipfile.ZipFile, folder: str) -> Iterator[zipfile.ZipInfo]:
    """The entries of a folder below the archive's root, which torch names after the file."""
    return (entry for entry in archive.infolist() if entry.filename.partition("/")[2].startswith(folder))


def extra_files(archive: zipfile.ZipFile) -> dict[str, str]:
    """What was given to the saving function as extra files, by name, as far as it is short text."""
    facts = {}
    for entry in entries_in(archive, "extra/"):
        key = entry.filename.partition("/extra/")[2]
        if key and entry.file_size <= LONGEST_FACT:
            content = archive.read(entry)
            if b"\0" not in content:
                facts[key] = content.decode("utf-8", "replace")
    return facts
