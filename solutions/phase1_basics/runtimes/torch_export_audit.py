"""What a .pt2 file would run while it is loaded, found without loading it.

An exported program looks like data, a graph in JSON and raw weights, and its loader trusts it like code: some entries
are unpickled without limits, size expressions and guards are evaluated as Python, names are pasted into generated
source, and an operator's name may lead to any attribute of torch. Here each of these must be as torch.export itself
writes it. That closes the known ways to run code; it is no sandbox for what operators do with memory.
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line
from solutions.phase1_basics.runtimes.torch_pickle import foreign_name, load_weights_only, refuse_pickle

_LARGEST_JSON = 1 << 28  # bytes
_NAME = re.compile(r"[\w.]*")
_KEY = re.compile(r"[\w.\-]*")  # of a dict that goes in or comes out
_OPERATOR = re.compile(
    r"torch\.ops\.[a-zA-Z]\w*(\.(?!__|from_file\b|save\b|load)\w+){1,2}"
    r"|torch\._?sym_\w+|math\.[a-z]\w*"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|pos|abs)"
)
_FREE = frozenset({"metadata", "as_string", "as_strings", "torch_version"})  # shown or quoted, never evaluated
_FUNCTIONS = frozenset(
    {
        "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "And", "Or", "Not",
        "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan",
        "GreaterThan", "floor", "ceiling", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "PythonMod",
        "IntTrueDiv", "FloatTrueDiv", "TruncToInt", "TruncToFloat", "FloorToInt", "CeilToInt", "RoundToInt",
        "RoundDecimal", "ToFloat", "Where", "Identity", "PowByNatural", "FloatPow", "min", "max", "int", "float",
        "round", "abs",
    }
)  # fmt: skip
_METHODS = frozenset({"size", "stride", "storage_offset", "dim", "item", "ndim", "shape"})
_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.keyword,
    ast.Subscript, ast.IfExp, ast.Tuple, ast.List, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.expr_context,
)  # fmt: skip


def audit_exported(path: Path) -> None:
    """Nothing comes back; refuse a .pt2 file whose loading could run more than a graph of torch's operators.

    Raises:
        ModelLoadError: it holds code, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise ModelLoadError(f"{path} has two entries of one name: it was made to be misread; refused.")
            for name in names:
                _audit_entry(path, archive, name)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{path} is a damaged torch.export file: {one_line(error)}. Export it again.") from error


def _audit_entry(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    folder, _, leaf = f"/{name}".rpartition("/")
    if "/data/aotinductor" in folder or "/data/executorch" in folder or "/data/mtia" in folder:
        raise _refused(path, "holds machine code")
    if folder.endswith("/models") or leaf == "serialized_exported_program.json":
        for problem in _program_problems(_json(archive, name), ""):
            raise _refused(path, problem)
    elif leaf.endswith("_config.json"):
        for entry in _json(archive, name)["config"].values():
            if not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                raise _refused(path, f"holds a Python object ({entry['path_name'][:60]})")
            if entry["use_pickle"]:
                _audit_pickle(path, archive.read(name.removesuffix(leaf) + entry["path_name"]))
    elif folder.endswith("/sample_inputs") or (leaf.startswith("serialized_") and leaf != name.replace("/", "_")):
        _audit_pickle(path, archive.read(name))


def _audit_pickle(path: Path, content: bytes) -> None:
    if not content:
        return
    try:
        load_weights_only(io.BytesIO(content))
    except Exception as error:  # a damaged pickle raises anything
        foreign = foreign_name(error)
        if foreign is not None:
            raise refuse_pickle(path, foreign) from error
        raise ModelLoadError(f"{path} is a damaged torch.export file: {one_line(error)}. Export it again.") from error


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > _LARGEST_JSON:
        raise ValueError(f"{name} is larger than {_LARGEST_JSON:,} bytes")
    return json.loads(archive.read(name))


def _program_problems(value: Any, key: str) -> Iterator[str]:
    """What in the program is not as torch.export writes it, as verb phrases."""
    if isinstance(value, dict):
        for name, part in value.items():
            if not (is_arithmetic(name) if key == "range_constraints" else _NAME.fullmatch(name)):
                yield f"names something {name[:60]!r}"
            if name not in _FREE:
                yield from _program_problems(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from _program_problems(part, key)
    elif isinstance(value, str):
        if key in ("expr_str", "guards_code"):
            if not is_arithmetic(value):
                yield f"evaluates {value[:60]!r}"
        elif key == "target":
            if not _OPERATOR.fullmatch(value):
                yield f"calls {value[:60]!r}"
        elif key in ("in_spec", "out_spec"):
            yield from _structure_problems(value)
        elif not _NAME.fullmatch(value):
            yield f"names something {value[:60]!r}"


def _structure_problems(value: Any) -> Iterator[str]:
    """The same for a description of nested inputs: JSON, with JSON in its strings."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for part in value:
            yield from _structure_problems(part)
    elif isinstance(value, str):
        if value[:1] in ("[", "{", '"'):
            yield from _structure_problems(json.loads(value))
        elif not _KEY.fullmatch(value):
            yield f"names something {value[:60]!r}"


def is_arithmetic(code: str) -> bool:
    """True when an expression only computes with sizes: no attribute, function or text that could lead elsewhere.

    >>> is_arithmetic("L['x'].size()[1] // 2 == 3"), is_arithmetic("Mul(Integer(2), Symbol('s0', positive=True))")
    (True, True)
    >>> is_arithmetic("__import__('os').system('id')"), is_arithmetic("Symbol('print(1)')")
    (False, False)
    """
    try:
        nodes = list(ast.walk(ast.parse(code, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_harmless(node) for node in nodes)


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float, type(None))) or (
            isinstance(node.value, str) and _NAME.fullmatch(node.value) is not None
        )
    if isinstance(node, ast.Name):
        return not node.id.startswith("_")
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Call):
        function = node.func
        return isinstance(function, ast.Attribute) or (isinstance(function, ast.Name) and function.id in _FUNCTIONS)
    return isinstance(node, _ARITHMETIC)


def _refused(path: Path, problem: str) -> ModelLoadError:
    return ModelLoadError(
        f"{path} is a torch.export program that {problem}, which could run any code when loaded; refused. If you trust "
        "whoever made it, allow it: --trust-pickle (trust_pickle=True)."
    )
