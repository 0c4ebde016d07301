"""Native libraries that greet on stderr: their greetings dropped, everything else they say passed on.

TensorFlow and LiteRT print information straight to file descriptor 2, some of it before any setting of theirs is read.
A program whose stderr carries one sentence when something is wrong cannot live with that; nor may it hide a real error.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator

_GREETING = re.compile(
    rb"[IW]\d{4} \d\d:\d\d:\d\d"  # information and warnings as absl writes them; errors (E) and fatal ones (F) stay
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "  # the same in TensorFlow's older style
    rb"|WARNING: All log messages before absl::InitializeLog"
    rb"|INFO: "  # LiteRT
    rb"|fully_quantize: "  # the converter to it, about its own settings
    rb"|To enable the following instructions:"  # the second line of one of TensorFlow's
)
_one_at_a_time = threading.Lock()  # two nested redirections of the same descriptor would restore the wrong one


@contextlib.contextmanager
def without_greetings() -> Iterator[None]:
    """Nothing comes back; inside the block file descriptor 2 is held back, and at its end all but greetings is written.

    It concerns the whole process: what another thread writes meanwhile arrives late, never less.
    """
    with _one_at_a_time, tempfile.TemporaryFile() as held:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):  # no stderr at all, e.g. a daemon: nobody to protect
            yield
            return
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            said = b"".join(line for line in held if not _GREETING.match(line))
            with contextlib.suppress(OSError):
                os.write(2, said)
