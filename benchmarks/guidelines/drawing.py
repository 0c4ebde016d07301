"""Figures of the guidelines: a column of panels with their titles, in one SVG file that needs nothing else.

It follows the reader's theme, light or dark. Plots come from the report; what is no plot is drawn by hand, in parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from solutions.core.measure.report_svg import Bars, Plot, draw

WIDTH = 720
_TITLE, _GAP = 30, 10
_STYLE = """
svg{--ink:#1d2329;--soft:#5d6873;--line:#d9dee3;--panel:#f6f8fa;--mark:#fbe3c0;
--c0:#2468b4;--c1:#d1622b;--c2:#2b8a5a;--c3:#a03c8c;--c4:#8a6d1f;--c5:#4a5a6a}
@media (prefers-color-scheme:dark){svg{--ink:#e4e8ec;--soft:#9aa5b1;--line:#39424b;--panel:#1c2227;--mark:#5a4321;
--c0:#6aa9ee;--c1:#f0945f;--c2:#5fc492;--c3:#d584c3;--c4:#d6b45a;--c5:#a3b3c2}}
.back{fill:var(--panel)}text{font:12px system-ui,sans-serif;fill:var(--soft)}
text.title{font-size:14px;font-weight:600;fill:var(--ink)}text.code{font-family:ui-monospace,monospace;fill:var(--ink)}
.grid{stroke:var(--line);fill:none}.line{fill:none;stroke-width:2}.whisker{stroke:var(--ink);stroke-width:1.5;fill:none}
.cell{fill:none;stroke:var(--line)}.cell.on{fill:var(--mark)}.time{stroke:var(--ink);fill:none;stroke-width:1.5}
"""
_COLOURS = "".join(
    f".line.c{i}{{stroke:var(--c{i})}}.dot.c{i},.bar.c{i}{{fill:var(--c{i})}}" for i in range(6)
)  # as on the report's page


def figure(*panels: tuple[str, str]) -> str:
    """One SVG file of panels (title, svg element) below one another."""
    parts, top = [], 0
    for title, svg in panels:
        height = int(re.search(r'viewBox="0 0 \d+ (\d+)"', svg).group(1))  # type: ignore[union-attr]
        place = f'<svg x="0" y="{top + _TITLE}" width="{WIDTH}" height="{height}"'
        parts.append(f'<text class="title" x="16" y="{top + 21}">{escape(title)}</text>')
        parts.append(svg.replace("<svg", place, 1))
        top += _TITLE + height + _GAP
    name = escape("; ".join(title for title, _ in panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        f'role="img"><title>{name}</title><style>{_STYLE}{_COLOURS}</style>'
        f'<rect class="back" width="{WIDTH}" height="{top}" rx="6"/>{"".join(parts)}</svg>\n'
    )


def drawn(plot: Plot | Bars) -> tuple[str, str]:
    """A plot as a panel: its title and its svg element."""
    return plot.title, draw(plot)


def panel(height: int, parts: Sequence[str]) -> str:
    """Parts that were drawn by hand as the svg element of a panel."""
    return f'<svg viewBox="0 0 {WIDTH} {height}">{"".join(parts)}</svg>'
