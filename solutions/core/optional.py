"""Optional packages: imported in one place, missed with one sentence."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from solutions.core.errors import BackendUnavailable


def available(module: str) -> bool:
    """True when `module` can be found; it is not imported, so this is cheap.

    >>> available("json"), available("no_such_package")
    (True, False)
    """
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a dotted name whose parent is absent
        return False


def require(module: str, *, why: str, install: str) -> ModuleType:
    """The imported module.

    Args:
        module: dotted import name, e.g. "openvino".
        why: what needs it, a noun phrase that fits "... needs".
        install: the command that brings it.

    Raises:
        BackendUnavailable: it is absent, or present and broken; the sentence says which, and how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise BackendUnavailable(
                f"{why} needs {module}, which is installed but lacks {error.name}. Reinstall it: {install}"
            ) from error
        raise BackendUnavailable(f"{why} needs {module}, which is not installed. Install it: {install}") from error
    except (ImportError, OSError) as error:  # a shared library that does not load
        raise BackendUnavailable(f"{why} needs {module}, which does not load here ({error}). Try: {install}") from error
