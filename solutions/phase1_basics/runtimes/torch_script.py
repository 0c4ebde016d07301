"""TorchScript archives: a module's weights and its code, compiled once to a language of PyTorch's own (legacy)."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from solutions.core.errors import ModelLoadError
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics.runtimes.feeds import check_settings, one_line
from solutions.phase1_basics.runtimes.torch_archive import LONGEST_FACT, entries_in, extra_files
from solutions.phase1_basics.runtimes.torch_model import TorchModel, choose_device
from solutions.phase1_basics.runtimes.torch_module import module_model

_TOUCHES_FILES = re.compile(rb"\b(?:torch|ops\.\w+|aten)\.(?:save|load|from_file)\b")
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16", "LongStorage": "int64",
    "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool",
}  # fmt: skip


def load_torchscript(path: Path, *, device: str = "auto", threads: int | None = None, **options: Any) -> TorchModel:
    """A model from a TorchScript archive.

    What it takes is told by its traced example, by `input_shape`, or by the names of its weights (see `module_model`);
    its facts are the archive's extra files. TorchScript cannot call Python, but it can read and write files: an archive
    that does is refused.

    Args:
        path: the file.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        threads: threads inside one operator (see `TorchModel`).
        options: `input_shape`, such as (None, 3, 224, 224), or a sequence of TensorSpec; `trust_pickle`, allow it to
            touch files.

    Raises:
        ModelLoadError: damaged or hostile, or nothing says what it takes.
        BackendUnavailable: the device is not here.
        ConfigError: a setting cannot be used.
    """
    check_settings("TorchScript", threads, options, ("trust_pickle", "input_shape"))
    on = choose_device(device)
    try:
        with zipfile.ZipFile(path) as archive:
            if not options.get("trust_pickle", False):
                _refuse_file_access(path, archive)
            examples, facts = _traced_inputs(archive), extra_files(archive)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; files of it are around
            module = torch.jit.load(str(path), map_location=on)  # type: ignore[no-untyped-call]
            arguments = module.forward.schema.arguments[1:]
    except ModelLoadError:
        raise
    except Exception as error:  # zipfile and torch raise all sorts
        raise ModelLoadError(f"{path} is a damaged TorchScript archive: {one_line(error)}. Save it again.") from error
    names = [argument.name for argument in arguments if not argument.has_default_value()]
    if len(examples) != len(names):
        examples = []
    named = [TensorSpec(name, spec.shape, spec.dtype) for name, spec in zip(names, examples, strict=False)]
    return module_model(
        module, path, "torchscript", device=on, threads=threads, input_shape=options.get("input_shape"), names=names,
        examples=named, metadata=facts,
    )  # fmt: skip


def _refuse_file_access(path: Path, archive: zipfile.ZipFile) -> None:
    for name in archive.namelist():
        found = _TOUCHES_FILES.search(archive.read(name)) if name.endswith(".py") else None
        if found:
            raise ModelLoadError(
                f"{path} reads or writes files of its own accord ({found.group().decode()}), which no model needs; "
                "refused. If you trust whoever made it, allow it: --trust-pickle (trust_pickle=True)."
            )


def _traced_inputs(archive: zipfile.ZipFile) -> list[TensorSpec]:
    """Shapes and dtypes of the example that a module was traced with; empty when there is none."""
    for entry in entries_in(archive, "traced_inputs.pkl"):
        if entry.file_size <= LONGEST_FACT:
            try:
                stored = _ShapesOnly(io.BytesIO(archive.read(entry))).load()["forward"]
            except Exception:  # a damaged pickle raises anything, and the example is only a convenience
                return []
            return [spec for spec in stored if isinstance(spec, TensorSpec)] if isinstance(stored, list) else []
    return []


class _ShapesOnly(pickle.Unpickler):
    """Reads tensors as their specs, and nothing else at all."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for the few names that an archive of tensors needs."""
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, *rest: TensorSpec("traced", tuple(size), _STORAGES[storage])
        if (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return lambda value, tag: value
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} has no place among traced inputs")

    def persistent_load(self, pid: Any) -> Any:
        """The name of the storage's type."""
        return pid[1]
