"""What this machine lacks for a test: asked once per need, before any learner code runs."""

from __future__ import annotations

from functools import cache

from solutions.core.optional import available


@cache
def missing(need: str) -> str | None:
    """The reason why `need` is not met here, or None.

    "cuda" asks for a usable device; any other need is the import name of a package.

    >>> missing("json"), missing("no_such_package")
    (None, 'the package no_such_package is not installed')
    """
    if need != "cuda":
        return None if available(need) else f"the package {need} is not installed"
    if not available("torch"):
        return "the package torch is not installed"
    import torch

    return None if torch.cuda.is_available() else "there is no CUDA device"
