"""What a pickle holds, read without running what it asks for unless the user said that its maker is trusted.

A pickle is a program: it may name any function of Python and call it. `torch.load(weights_only=True)` runs it in an
interpreter that knows tensors and plain containers only, and that comes first for every file, trusted or not.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line

_FOREIGN = re.compile(r"(?:Unsupported global: GLOBAL|unsupported GLOBAL|Unsupported class|GLOBAL) (\w+(?:\.\w+)+)\b")
_ATTACKERS = frozenset(
    {
        "os", "posix", "nt", "subprocess", "sys", "builtins", "__builtin__", "shutil", "socket", "pty", "runpy",
        "importlib", "ctypes", "commands",
    }
)  # fmt: skip


def read_saved(path: Path, *, trust_pickle: bool = False) -> Any:
    """The object that torch.save stored, its tensors on the CPU.

    Args:
        path: a torch.save file, of the present zip format or the one before PyTorch 1.6.
        trust_pickle: where weights alone cannot be read, let the pickle run whatever it asks for.

    Raises:
        ModelLoadError: damaged, or it holds more than weights and is not trusted.
    """
    try:
        return load_weights_only(path)
    except Exception as error:  # a damaged pickle raises anything
        foreign = foreign_name(error)
        if not _is_whole(path):
            raise ModelLoadError(f"{path} is a truncated torch.save file. Download or save it again.") from error
        if foreign is None:
            raise ModelLoadError(
                f"{path} is a damaged torch.save file ({_reason(error)}). Download or save it again."
            ) from error
        if not trust_pickle:
            raise refuse_pickle(path, foreign) from error
    return _run_pickle(path, lambda: torch.load(path, map_location="cpu", weights_only=False))


def read_bare(path: Path, *, trust_pickle: bool = False) -> Any:
    """The object in a file that pickle.dump wrote.

    Raises:
        ModelLoadError: it is not trusted, or cannot be read.
    """
    if not trust_pickle:
        raise ModelLoadError(
            f"{path} is a bare Python pickle, which can run any code when loaded; refused. If you trust whoever made "
            "it, allow it: --trust-pickle (trust_pickle=True); better, ask for torch.save(model.state_dict(), ...)."
        )

    def load() -> Any:
        with path.open("rb") as handle:
            return pickle.load(handle)

    return _run_pickle(path, load)


def load_weights_only(source: Path | IO[bytes]) -> Any:
    """What torch.save stored, as long as it is tensors in plain containers.

    Raises:
        Exception: whatever torch.load raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old files speak of storages that torch has since renamed
        return torch.load(source, map_location="cpu", weights_only=True)


def foreign_name(error: BaseException) -> str | None:
    """The function or class beyond tensors that a refused pickle asked for; None when that was not the reason.

    >>> foreign_name(pickle.UnpicklingError("... Unsupported global: GLOBAL posix.system was not an allowed global"))
    'posix.system'
    """
    found = _FOREIGN.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
    return found.group(1) if found else None


def refuse_pickle(path: Path, foreign: str) -> ModelLoadError:
    """The error for a pickle that wants `foreign`."""
    if foreign.partition(".")[0] in _ATTACKERS:
        return ModelLoadError(
            f"{path} asks to run {foreign} when loaded, which no model needs: it looks like an attack; refused. "
            "Delete it, and tell where you got it."
        )
    return ModelLoadError(
        f"{path} is a pickled object, not only weights: it needs {foreign}, and loading it can run any code; refused. "
        "If you trust whoever made it, allow it: --trust-pickle (trust_pickle=True); better, ask for "
        "torch.save(model.state_dict(), ...)."
    )


def _is_whole(path: Path) -> bool:
    """False when a file of the old format ends within its first pickles, where half a name looks like a foreign one."""
    with path.open("rb") as handle:
        if handle.read(2) == b"PK":
            return True
        handle.seek(0)
        try:
            for _ in range(4):  # a magic number, the protocol, facts about the machine, the object itself
                for _ in pickletools.genops(handle):
                    pass
        except ValueError:
            return False
    return True


def _run_pickle(path: Path, load: Any) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the source of a class changed, and the like
            return load()
    except (AttributeError, ImportError) as error:
        raise ModelLoadError(
            f"{path} needs Python code that is not here ({one_line(error)}). Run where that code can be imported, or "
            "ask for torch.save(model.state_dict(), ...)."
        ) from error
    except Exception as error:  # code of a stranger raises anything
        raise ModelLoadError(f"{path} cannot be unpickled: {_reason(error)}.") from error


def _reason(error: BaseException) -> str:
    """What went wrong, without torch's page of advice around it."""
    text = (
        str(error).rpartition("WeightsUnpickler error:")[2].strip() if isinstance(error, pickle.UnpicklingError) else ""
    )
    return (text.partition("\n")[0] or one_line(error))[:300].rstrip(". ")
