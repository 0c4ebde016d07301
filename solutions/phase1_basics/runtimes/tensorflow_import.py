"""TensorFlow itself: imported late, quietly and once, with its one setting of threads per process."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from types import ModuleType

from solutions.core.errors import BackendUnavailable
from solutions.core.hardware.profile import usable_cores
from solutions.core.optional import require
from solutions.phase1_basics.runtimes.quiet import without_greetings

INSTALL = 'pip install "ml-inference[tensorflow]"'

_log = logging.getLogger(__name__)


def import_tensorflow() -> ModuleType:
    """The module `tensorflow`; the first call takes seconds.

    Raises:
        BackendUnavailable: it is not installed or does not load, or its Keras computes on another backend.
    """
    if sys.modules.get("tensorflow"):
        return require("tensorflow", why="a TensorFlow model", install=INSTALL)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors and worse; read once, when the library is loaded
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with without_greetings(), warnings.catch_warnings():
        # What TensorFlow's own modules import from NumPy, protobuf and setuptools is deprecated somewhere every
        # release; a user can do nothing about it, and it must not stop a program that turns warnings into errors.
        warnings.simplefilter("ignore")
        return require("tensorflow", why="a TensorFlow model", install=INSTALL)


def import_keras() -> ModuleType:
    """The module `keras`, computing on TensorFlow.

    Raises:
        BackendUnavailable: it is missing, or was set to another backend before us.
    """
    import_tensorflow()
    keras = require("keras", why="a Keras model", install=INSTALL)
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BackendUnavailable(
            f"Keras computes on {backend} in this process; this runtime needs TensorFlow. "
            "Set the environment variable KERAS_BACKEND=tensorflow before Python starts."
        )
    return keras


def use_threads(threads: int | None) -> int:
    """The threads inside one operator that TensorFlow really uses in this process; 0 means as many as it likes.

    TensorFlow takes this setting only before its first operation, for the whole process. The first model loaded decides
    (default: the usable cores); a later, different wish changes nothing and is logged as a warning.
    """
    threading = import_tensorflow().config.threading
    wanted = threads or usable_cores()
    try:
        threading.set_intra_op_parallelism_threads(wanted)
        threading.set_inter_op_parallelism_threads(1)  # as our ONNX sessions: operators one after the other
    except RuntimeError:
        now: int = threading.get_intra_op_parallelism_threads()
        if threads is not None and threads != now:
            _log.warning(
                "TensorFlow already runs with %s threads in this process and takes no other number: threads=%d has no "
                "effect. Load this model in a process of its own.", now or "its own choice of", threads,
            )  # fmt: skip
        return now
    return wanted
