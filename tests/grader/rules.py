"""What a submission must not import: the solution of the phase that is taught, and what its exercise teaches.

Found in the source by following names: an exercise is blamed for what its own symbol reaches through the definitions of
the file, so an import that only exercise 1.1 uses costs 1.1 and not 1.2. What runs at import is reached by all.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from tests.grader.course import Course, Exercise


def forbidden_names(course: Course, exercise: Exercise) -> tuple[str, ...]:
    """Dotted names that give the exercise away: its phase's solutions, its reference, and its own list."""
    module, _, symbol = exercise.solution.partition(":")
    reference = () if module.endswith(".py") else (f"{module}.{symbol}",)
    return (f"solutions.{course.phase(exercise.phase).folder}", *reference, *exercise.forbidden)


def broken_rule(tree: ast.Module, exercise: Exercise, forbidden: Iterable[str]) -> str | None:
    """The forbidden name that the exercise's symbol reaches in the source, or None."""
    forbidden = tuple(forbidden)
    definitions: dict[str, list[ast.stmt]] = {}
    at_import: list[ast.stmt] = []
    bindings: list[tuple[str, str]] = []
    for statement in tree.body:
        if names := list(_defined(statement)):
            for name in names:
                definitions.setdefault(name, []).append(statement)
        elif not _is_main_block(statement) and not _is_docstring(statement):
            at_import.append(statement)
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bindings += _imports(statement)
    names_reached = _reach(exercise.symbol.partition(".")[0], definitions, at_import)
    for name, dotted in bindings:
        # plain `import a.b` binds only a: what is used of it shows in the attributes
        used = name == "*" or (name in names_reached and name != dotted.partition(".")[0])
        if used and _bad(dotted, forbidden, exercise):
            return dotted
    reached = [node for name in names_reached for node in definitions.get(name, [])]
    for node in (*reached, *at_import):
        if bad := _bad_inside(node, dict(bindings), forbidden, exercise):
            return bad
    return None


def _reach(root: str, definitions: dict[str, list[ast.stmt]], at_import: list[ast.stmt]) -> dict[str, None]:
    """Names used from `root` and from what runs at import, through the definitions of the file, in order."""
    reached: dict[str, None] = {root: None}
    waiting: list[ast.stmt] = [*at_import, *definitions.get(root, [])]
    while waiting:
        for node in ast.walk(waiting.pop()):
            if isinstance(node, ast.Name) and node.id not in reached:
                reached[node.id] = None
                waiting += definitions.get(node.id, [])
    return reached


def _bad_inside(node: ast.stmt, imported: dict[str, str], forbidden: tuple[str, ...], exercise: Exercise) -> str | None:
    docstrings = {id(part.value) for part in ast.walk(node) if isinstance(part, ast.Expr)}
    is_import = isinstance(node, ast.Import | ast.ImportFrom)
    for part in ast.walk(node):
        dotted: str | None = None
        if isinstance(part, ast.Import | ast.ImportFrom) and not is_import:
            names = [name for _, name in _imports(part)]
            dotted = next((name for name in names if _bad(name, forbidden, exercise)), None)
        elif isinstance(part, ast.Attribute):
            dotted = _dotted(part, imported)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in docstrings:
            # import_module("solutions....") and open("solutions/...")
            dotted = part.value.replace("/", ".")
            dotted = next((name for name in forbidden if name in dotted), None)
        if dotted and (bad := _bad(dotted, forbidden, exercise)):
            return bad
    return None


def _bad(dotted: str, forbidden: tuple[str, ...], exercise: Exercise) -> str | None:
    """The name if it is forbidden, or the reference's own name taken from another door of solutions (a re-export)."""
    reference = exercise.solution.partition(":")[2]
    inside = any(f"{dotted}.".startswith(f"{name}.") for name in forbidden)
    return dotted if inside or (dotted.startswith("solutions.") and dotted.endswith(f".{reference}")) else None


def _imports(node: ast.AST) -> Iterator[tuple[str, str]]:
    """(bound name, dotted name) of every import in the node; a star import is bound to "*" and its module."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            for alias in part.names:
                # `import a.b` binds a; the whole name is kept, because that is what was asked for
                yield (alias.asname or alias.name.partition(".")[0], alias.name)
        elif isinstance(part, ast.ImportFrom) and part.module:
            for alias in part.names:
                dotted = part.module if alias.name == "*" else f"{part.module}.{alias.name}"
                yield (alias.asname or alias.name, dotted)


def _dotted(node: ast.expr, imported: dict[str, str]) -> str | None:
    """The dotted name of `alias.part.part` through the imports, or None."""
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, imported)
        return f"{base}.{node.attr}" if base else None
    if isinstance(node, ast.Name) and node.id in imported:
        dotted = imported[node.id]
        return node.id if dotted.partition(".")[0] == node.id else dotted
    return None


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (name for name, _ in _imports(statement) if name != "*")


def _is_main_block(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
