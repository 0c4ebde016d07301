"""What every command line shares: exit codes, one-sentence errors, JSON files.

Exit codes: 0 it ran; 1 it ran and a bar or grade failed; 2 it could not run (one sentence, no traceback);
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError, CourseError

EXIT_OK, EXIT_FAILED, EXIT_CANNOT_RUN, EXIT_INTERRUPTED = 0, 1, 2, 130


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """The exit code of `main(argv)`, with a CourseError turned into one sentence on stderr and exit code 2."""
    try:
        return main(argv)
    except CourseError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output (head, less) has left; keep Python from flushing into it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all: a crash or a full disk leaves the old file as it was.

    Raises:
        ConfigError: the folder is missing or cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False, encoding="utf-8") as out:
            temporary = out.name
            out.write(text)
        os.chmod(temporary, 0o644)  # NamedTemporaryFile makes it private
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON, whole or not at all.

    Raises:
        ConfigError: the folder is missing or cannot be written; the value holds NaN or infinity.
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise ConfigError(f"{path} was not written: the report holds NaN or infinity") from error
    write_text(path, text + "\n")
