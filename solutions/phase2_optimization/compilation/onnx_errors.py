"""What goes wrong between torch and ONNX, in one sentence each: exporter, checker, opset and runtime errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import onnx

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.feeds import one_line

NEWEST_OPSET = 26  # the newest that ONNX Runtime 1.31 runs; what it may not know is said by itself when it loads

# Pattern in the text of an error, or of one of its causes -> what it means, with the pattern's groups filled in.
_EXPORT: tuple[tuple[str, str], ...] = (
    (
        r"No ONNX function found for <OpOverload\(op='(?P<op>[\w.:]+)'",
        "ONNX has no counterpart of {op}: rewrite that part with other operators, or leave it out of the graph and "
        "compute it before or after",
    ),
    (
        r"Could not guard on data-dependent expression(?P<op>)",
        "a branch or a shape depends on the values of a tensor, which a graph cannot express: use torch.where or "
        "torch.cond, or leave that part (decoding and NMS, usually) out of the graph",
    ),
    (
        r"Constraints violated \((?P<op>[^)]*)\)",
        "the network does not take every size that was declared free ({op}): export it with fixed sizes (--free batch)",
    ),
    (
        r"(?P<op>ONNX C API|onnx C API|No Adapter)[^\n]*(?:version|Version)",
        "its operators cannot be converted to that opset: leave out --opset, or ask for 18 or newer",
    ),
    (
        r"(?P<op>Detected mutation|mutated|is not functional)",
        "the network writes into its own state while it runs: call model.eval(), or make that state an input and an "
        "output",
    ),
)
_CHECKER: tuple[tuple[str, str], ...] = (
    (
        r"No Op registered for (?P<a>\S+) with domain_version of (?P<b>\d+)",
        "operator {a} does not exist in opset {b}: export with the opset that has it, or name its domain",
    ),
    (
        r"Your model ir_version (?P<a>\d+) is higher than the checker's \((?P<b>\d+)\)",
        "it is written in ONNX format {a}, and the onnx package here reads up to {b}: pip install -U onnx",
    ),
    (
        r"(?:No opset import for domain|domain) '(?P<a>[^']*)'(?P<b>)",
        "it uses operators of the domain '{a}' without importing it: add the domain to its opset_import",
    ),
    (
        r"[Nn]odes in a graph must be topologically sorted, however input '(?P<a>[^']*)' of node[^\n]*(?P<b>)",
        "a node reads {a!r} before anything has made it: sort the nodes, or repair the name",
    ),
    (
        r"(?:Graph must be in single static assignment \(SSA\) form, however '(?P<a>[^']*)')(?P<b>)",
        "two nodes write the same tensor {a!r}: give each output a name of its own",
    ),
    (
        r"Field '(?P<a>\w+)' of '(?P<b>\w+)' is required",
        "a {b} in it has no {a}: the file was written by hand or cut",
    ),
    (
        r"Unrecognized attribute: (?P<a>\w+) for operator (?P<b>\w+)",
        "operator {b} has no attribute {a} in this opset: export again with a newer opset",
    ),
    (
        r"Required attribute '(?P<a>\w+)' is missing(?P<b>)",
        "an operator in it lacks its attribute {a}",
    ),
    (
        r"Inferred shape and existing shape differ in (?:rank|dimension \d+): (?P<a>[^\n]*)(?P<b>)",
        "it promises a shape that its operators do not give ({a}): drop its value_info and infer shapes anew",
    ),
    (
        r"(?:has inconsistent type|Inferred elem type differs from existing elem type:)\s*(?P<a>[^\n]*)(?P<b>)",
        "it promises an element type that its operators do not give ({a}): its casts are wrong",
    ),
    (
        r"opset (?P<a>\d+) is under development|Opset (?P<b>\d+) is under development",
        "its opset is newer than what this runtime knows: export with a lower --opset, or update the runtime",
    ),
    (
        r"Unsupported model IR version: (?P<a>\d+), max supported IR version: (?P<b>\d+)",
        "it is written in ONNX format {a}, and this ONNX Runtime reads up to {b}: pip install -U onnxruntime",
    ),
)


def explain_export_error(error: BaseException) -> str:
    """What an exporter's exception means, as a clause without a full stop; its own telling line where it is unknown."""
    texts = list(_texts(error))
    for pattern, meaning in _EXPORT:
        for text in texts:
            found = re.search(pattern, text)
            if found:
                return meaning.format(**found.groupdict(default=""))
    return one_line(RuntimeError(_summary(texts)))


def explain_onnx_error(error: BaseException | str) -> str:
    """What an exception of the checker or of a runtime's loader means, as a clause without a full stop."""
    text = str(error)
    for pattern, meaning in _CHECKER:
        found = re.search(pattern, text)
        if found:
            return meaning.format(**found.groupdict(default=""))
    return one_line(RuntimeError(text)).rstrip(".")


def check_onnx(path: str | Path) -> onnx.ModelProto:
    """The model of `path`, after ONNX's checker found its graph, types and shapes in order.

    Raises:
        ModelLoadError: with what the checker objects to, in one sentence.
    """
    from solutions.phase1_basics.runtimes.onnx import read_checked

    path = Path(path)
    proto = read_checked(path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # ValidationError, InferenceError, and RuntimeErrors of the C++ side
        raise ModelLoadError(f"{path} is not valid ONNX: {explain_onnx_error(error)}.") from error
    return proto


def _texts(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def _summary(texts: list[str]) -> str:
    """torch wraps the reason in advice; the reason follows the heading "Exception summary"."""
    for text in texts:
        _, heading, after = text.partition("## Exception summary")
        if heading:
            return re.sub(r"<class '[\w.]*?(\w+)'>", r"\1", after)
    return texts[0] if texts else ""
