"""A TensorFlow graph is a program that may touch files and call Python: which one does, seen before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from solutions.core.errors import ModelLoadError

# Beginnings of operator names. Lookup tables (InitializeTableFromTextFile) are left out: they read assets of the model.
_OUTSIDE_WORLD = (
    "ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "EagerPyFunc", "WholeFileReader", "TextLine", "TFRecord",
    "FixedLengthRecord", "IdentityReader", "LMDB", "Save", "MergeV2Checkpoints", "Restore", "SnapshotDataset",
    "LoadDataset", "CacheDataset", "DataService", "CreateSummary", "WriteSummary", "WriteRawProtoSummary",
    "ImportEvent", "Rpc", "DebugIdentity", "SqlDataset", "GenerateVocabRemapping", "LoadAndRemapMatrix", "DumpOutput",
)  # fmt: skip
_VARIABLES = ("Variable", "VarHandleOp", "TemporaryVariable", "AutoReloadVariable")


def refuse_outside_world(path: Path, operators: Iterable[str]) -> None:
    """Nothing comes back; refuse a graph whose inference would touch more than its tensors.

    Raises:
        ModelLoadError: naming the operators.
    """
    found = sorted({op for op in operators if op.startswith(_OUTSIDE_WORLD)})
    if found:
        raise ModelLoadError(
            f"{path} wants to touch files or run Python while it predicts ({', '.join(found[:4])}); refused. "
            "Do not trust this file."
        )


def variables_among(operators: Iterable[str]) -> list[str]:
    """The operators that hold a variable: a frozen graph has none."""
    return sorted({op for op in operators if op.startswith(_VARIABLES)})


def reached(graph: Any, roots: Iterable[str]) -> Iterator[Any]:
    """Every node that runs when the `roots` (names of nodes or functions) do, bodies of functions included.

    Args:
        graph: a GraphDef; its library holds the functions.
        roots: names that the graph does not have are passed over.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function for function in graph.library.function}
    open_names, seen = list(roots), set()
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        found = list(functions[name].node_def) if name in functions else []
        if name in nodes:
            found.append(nodes[name])
            open_names.extend(node_name(tensor) for tensor in nodes[name].input)
        for node in found:
            yield node
            open_names.append(node.op)  # calling a function by its name is an operator of that name
            for value in node.attr.values():
                open_names.extend(call.name for call in (value.func, *value.list.func) if call.name)


def node_name(tensor: str) -> str:
    """The node behind an input as a GraphDef writes it.

    >>> node_name("^init"), node_name("split:1"), node_name("x")
    ('init', 'split', 'x')
    """
    return tensor.removeprefix("^").partition(":")[0]
