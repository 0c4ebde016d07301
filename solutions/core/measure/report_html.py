"""One self-contained HTML page: text, tables and plots, readable from a mail attachment or an air-gapped machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from solutions.core.errors import ConfigError
from solutions.core.measure.report import Cell, format_cell
from solutions.core.measure.report_svg import Bars, Plot, draw
from solutions.core.scripts import write_text

__all__ = ["Bars", "Plot", "Section", "write_html"]

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2329;--soft:#5d6873;--line:#d9dee3;--page:#fff;--panel:#f6f8fa;
--c0:#2468b4;--c1:#d1622b;--c2:#2b8a5a;--c3:#a03c8c;--c4:#8a6d1f;--c5:#4a5a6a}
@media (prefers-color-scheme:dark){:root{--ink:#e4e8ec;--soft:#9aa5b1;--line:#39424b;--page:#14181c;--panel:#1c2227;
--c0:#6aa9ee;--c1:#f0945f;--c2:#5fc492;--c3:#d584c3;--c4:#d6b45a;--c5:#a3b3c2}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);
max-width:56rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.4rem;border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem}p{white-space:pre-line}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
th,td{padding:.35rem .8rem;border-bottom:1px solid var(--line);text-align:left;white-space:nowrap}
th{color:var(--soft);font-weight:600}td.n,th.n{text-align:right}tbody tr:hover{background:var(--panel)}
svg{width:100%;height:auto;background:var(--panel);border:1px solid var(--line);border-radius:6px}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line);fill:none}.line{fill:none;stroke-width:2}.whisker{stroke:var(--ink);stroke-width:1.5;fill:none}
.line.c0{stroke:var(--c0)}.line.c1{stroke:var(--c1)}.line.c2{stroke:var(--c2)}
.line.c3{stroke:var(--c3)}.line.c4{stroke:var(--c4)}.line.c5{stroke:var(--c5)}
.dot.c0,.bar.c0{fill:var(--c0)}.dot.c1,.bar.c1{fill:var(--c1)}.dot.c2,.bar.c2{fill:var(--c2)}
.dot.c3,.bar.c3{fill:var(--c3)}.dot.c4,.bar.c4{fill:var(--c4)}.dot.c5,.bar.c5{fill:var(--c5)}
@media print{body{margin:0}svg{break-inside:avoid}}
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with text (line breaks are kept), then a table, then plots; each may be absent."""

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    plots: Sequence[Plot | Bars] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ConfigError(f"section {self.title!r} has {len(self.columns)} columns, got a row of {len(row)}")


def render_html(title: str, sections: Sequence[Section]) -> str:
    """The page as text; everything in it is escaped, and it refers to nothing outside itself."""
    body = "\n".join(_section(section) for section in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def write_html(path: str | Path, title: str, sections: Sequence[Section]) -> None:
    """Write the page, whole or not at all.

    Raises:
        ConfigError: the folder is missing or cannot be written.
    """
    write_text(path, render_html(title, sections))


def _section(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.columns:
        parts.append(_table(section.columns, section.rows))
    for plot in section.plots:
        parts.append(f"<figure style='margin:0'><h3>{escape(plot.title)}</h3>{draw(plot)}</figure>")
    return "\n".join([*parts, "</section>"])


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    numeric = [
        bool(rows) and all(isinstance(row[index], int | float | None) for row in rows) for index in range(len(columns))
    ]

    def line(tag: str, cells: Sequence[str]) -> str:
        marks = (f'<{tag} class="n">' if number else f"<{tag}>" for number in numeric)
        return "".join(f"{mark}{escape(cell)}</{tag}>" for mark, cell in zip(marks, cells, strict=True))

    body = "".join(f"<tr>{line('td', [format_cell(cell) for cell in row])}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{line("th", columns)}</tr></thead><tbody>{body}</tbody></table></div>'
