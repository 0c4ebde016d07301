"""What learner code must leave alone, remembered before it runs: clocks, builtins, pytest, tests, tools.

A change is found after each test, named, and put back, so that it costs its own exercise and no other.
"""

from __future__ import annotations

import builtins
import math
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

import numpy as np
import pytest

_PACKAGES = ("_pytest", "pluggy", "tests.grader", "solutions")
_MODULES: tuple[ModuleType, ...] = (builtins, time, math, pytest, np, np.testing)
_MISSING = object()


class Guard:
    """The watched functions as they are when the guard is made; `extra` are further modules, such as the tests."""

    def __init__(self, plugins: Callable[[], Iterable[object]], extra: Iterable[ModuleType] = ()) -> None:
        self._plugins = plugins
        self._registered = set(map(id, plugins()))
        self._kept: list[tuple[Any, str, object]] = []
        self._modules: dict[str, ModuleType] = {}
        loaded = [module for name, module in list(sys.modules.items()) if name.startswith(_PACKAGES)]
        for module in {id(module): module for module in (*_MODULES, *loaded, *extra)}.values():
            self._watch(module)

    def changes(self) -> list[str]:
        """Names of what was replaced since the guard was made; everything is put back."""
        found = []
        for owner, name, value in self._kept:
            if vars(owner).get(name, _MISSING) is not value:
                found.append(f"{owner.__name__}.{name}")
                setattr(owner, name, value)
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                found.append(f"sys.modules[{name!r}]")
                sys.modules[name] = module
        if not set(map(id, self._plugins())) <= self._registered:
            found.append("the list of pytest plugins")
            self._registered = set(map(id, self._plugins()))
        return found

    def _watch(self, module: ModuleType) -> None:
        if sys.modules.get(module.__name__) is module:
            self._modules[module.__name__] = module
        for name, value in list(vars(module).items()):
            if not callable(value):
                continue
            self._kept.append((module, name, value))
            if isinstance(value, type) and value.__module__ == module.__name__ and value.__flags__ & _MUTABLE:
                self._kept += [(value, key, member) for key, member in vars(value).items() if _is_code(member)]


_MUTABLE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: classes written in Python; others cannot be changed


def _is_code(member: object) -> bool:
    return callable(member) or isinstance(member, staticmethod | classmethod | property)


class ReadWatch:
    """Names the files of the solutions that learner code opens or imports while `armed`: seen as it happens.

    An audit hook cannot be removed again, so one is added per process and only when a submission is graded.
    """

    def __init__(self, folders: Iterable[str], learner_files: Callable[[], tuple[str, ...]]) -> None:
        self._folders = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)
        self._learner_files = learner_files
        self._seen: list[str] = []
        self.armed = False
        sys.addaudithook(self._hook)

    def take(self) -> list[str]:
        """The files seen since the last call."""
        seen, self._seen = self._seen, []
        return seen

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" or not self.armed or not isinstance(args[0], str):
            return
        path = os.path.abspath(args[0])
        if path.startswith(self._folders) and self._called_by_learner(sys._getframe(1)):
            self._seen.append(path)

    def _called_by_learner(self, frame: FrameType | None) -> bool:
        files = self._learner_files()
        while frame is not None:
            if frame.f_code.co_filename in files:
                return True
            frame = frame.f_back
        return False


@contextmanager
def isolated() -> Iterator[None]:
    """One test: the random generators start anew, os._exit fails it; working directory and environment come back."""
    real, owner, folder, environment = os._exit, os.getpid(), os.getcwd(), dict(os.environ)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global generator is what submissions use)

    def refuse(status: int) -> None:
        # a forked worker ends like this by right, and pytest-timeout ends a hang like this from its own thread
        if os.getpid() != owner or threading.current_thread() is not threading.main_thread():
            real(status)
        pytest.fail(f"the submission called os._exit({status}).", pytrace=False)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real
        os.chdir(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)
