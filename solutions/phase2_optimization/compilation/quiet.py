"""torch's exporters and compilers print graphs and tracebacks of attempts; what matters arrives as an exception."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_torch() -> Iterator[None]:
    """Nothing comes back; inside the block logs, prints and warnings of this process are dropped, errors are not.

    It concerns the whole process, so another thread's log lines are lost meanwhile: compile before serving.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")  # their own deprecations are not ours to mend
            yield
    finally:
        logging.disable(disabled)
