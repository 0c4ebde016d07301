"""Measured numbers in a text: blocks that a record fills.

In the guidelines a block stands between `<!-- measured: NAME -->` and `<!-- end -->`; nothing measured is quoted
outside of one, so that a new record brings the whole text up to date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from benchmarks.guidelines.records import Record
from solutions.core.errors import ConfigError
from solutions.core.measure.report import Cell, format_cell

_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, known: Mapping[str, str]) -> str:
    """The text with every block written anew.

    Raises:
        ConfigError: a block that nobody writes, or one that is missing in the text.
    """
    found = [name for _, name, _ in _BLOCK.findall(text)]
    if sorted(found) != sorted(known):
        raise ConfigError(
            f"the guidelines must hold each of the blocks {', '.join(sorted(known))} once, and hold {sorted(found)}"
        )
    return _BLOCK.sub(lambda match: f"{match[1]}\n{known[match[2]]}\n\n{match[3]}", text)


def host(record: Record, names: Sequence[str] = ("torch", "onnxruntime", "numpy")) -> str:
    """On what everything was measured."""
    machine, versions = record["host"], record["versions"]
    count = machine["usable_cores"]
    cores = "one usable core" if count == 1 else f"{count} usable cores"
    return (
        f"Measured with one thread on a machine with {cores} ({machine['cpu']}), "
        f"Python {machine['python']}, " + ", ".join(f"{name} {versions[name]}" for name in names) + "."
    )


def percent(share: float) -> str:
    """A share in percent, to one digit."""
    return f"{100 * share:.1f} %"


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table, numbers on the right."""
    numeric = [all(isinstance(row[index], int | float) for row in rows) for index in range(len(columns))]
    lines = [columns, ["--:" if number else "---" for number in numeric]]
    lines += [[format_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
