"""Is there a C++ compiler? torch.compile and AOTInductor write C++ and have it compiled on the spot."""

from __future__ import annotations

import os
import shutil

from solutions.core.errors import BackendUnavailable

_USUAL = ("g++", "clang++", "c++")


def cpp_compiler(why: str) -> str:
    """The path of the C++ compiler: $CXX where it is set, else the first of the usual names.

    Args:
        why: what needs it, a noun phrase that fits "... needs".

    Raises:
        BackendUnavailable: there is none.
    """
    named = os.environ.get("CXX")
    for name in (named,) if named else _USUAL:
        found = shutil.which(name)
        if found:
            return found
    looked = f"CXX={named}, which is not there" if named else "none of " + ", ".join(_USUAL)
    raise BackendUnavailable(
        f"{why} needs a C++ compiler and finds {looked}. Install one: apt-get install g++ (macOS: xcode-select "
        "--install)."
    )
