"""What was handed in: the submissions of a folder, copied so that nothing in them can do harm or be harmed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from solutions.core.errors import ConfigError

FILE_BYTES, FILES = 64 << 20, 5000
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_NOT_WORK = {"__pycache__", "__MACOSX", ".git", ".venv", "venv", "node_modules"}


class Unusable(Exception):
    """A submission that cannot be graded; the sentence says why."""


def find_submissions(folder: Path) -> list[Path]:
    """The submissions in a folder by name: folders, links and archives; other files are none.

    Raises:
        ConfigError: the folder is not there or holds no submission.
    """
    try:
        entries = sorted(folder.resolve().iterdir(), key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read ({error.strerror}): name the folder of the submissions.") from None
    shown = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _NOT_WORK]
    found = [entry for entry in shown if entry.is_dir() or entry.name.lower().endswith(_ARCHIVES)]
    if not found:
        raise ConfigError(f"{folder} holds no submission: each is a folder of its own in it.")
    return found


def copy_in(source: Path, copy: Path) -> list[str]:
    """Copy the plain files of a submission; sentences on what was left out.

    Links could point out of the folder, so none is followed; caches and hidden repositories are no work.

    Raises:
        Unusable: it is an archive, a link, not readable, empty, or has far too many files.
    """
    if source.is_symlink():
        raise Unusable("it is a link and not a folder.")
    if not source.is_dir():
        raise Unusable("it is an archive: unpack it into a folder of its own.")
    left_out, files, waiting = [], 0, [(source, copy)]
    while waiting:
        folder, to = waiting.pop()
        try:
            to.mkdir()
            entries = sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            left_out.append((folder, f"cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            if entry.name in _NOT_WORK:
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), to / entry.name))
            elif why := _copy_file(entry, to / entry.name):
                left_out.append((Path(entry.path), why))
            elif (files := files + 1) > FILES:
                raise Unusable(f"it has more than {FILES} files: a whole environment was handed in.")
    names = [f"{shown(str(path.relative_to(source)))} ({why})" for path, why in left_out]
    if not files:
        raise Unusable(f"there is no file in it{': left out ' + ', '.join(names[:3]) if names else ''}.")
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"Left out: {', '.join(names[:3])}{more}."] if names else []


def shown(name: str) -> str:
    r"""A file name as one line of text: what cannot be printed is escaped.

    >>> shown("a\nb\udcff")
    'a\\nb\\xff'
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def file_name(name: str) -> str:
    """A name for a report on the submission: safe on every system, with a hash where that changed it."""
    safe = re.sub(r"[^\w.-]+", "_", name)[:80]
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _copy_file(entry: os.DirEntry[str], to: Path) -> str:
    """Copy one plain file; why it was left out, or nothing."""
    try:
        if entry.is_symlink():
            return "a link"
        if not entry.is_file(follow_symlinks=False):
            return "not a plain file"
        if entry.stat(follow_symlinks=False).st_size > FILE_BYTES:
            return f"more than {FILE_BYTES >> 20} MiB"
        shutil.copyfile(entry.path, to, follow_symlinks=False)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def add_files(digest: hashlib._Hash, place: Path) -> None:
    """Names and contents of the file, or of all files below the folder, in order."""
    inside = [path for path in place.rglob("*") if "__pycache__" not in path.parts] if place.is_dir() else [place]
    for path in sorted((path for path in inside if path.is_file()), key=os.fsencode):
        name, data = os.fsencode(path.relative_to(place)), path.read_bytes()
        digest.update(b"%d %s %d " % (len(name), name, len(data)) + data)
