"""The figures of phase 2's guidelines that are no plots: the svg element of each, drawn by hand."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from benchmarks.guidelines.drawing import panel
from benchmarks.guidelines.records import Record


def text(x: float, y: float, words: str, anchor: str = "middle", kind: str = "") -> str:
    """Words at a place."""
    name = f' class="{kind}"' if kind else ""
    return f'<text{name} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """A rectangle with rounded corners."""
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="3"/>'


def line(path: str, kind: str = "time") -> str:
    """A stroke."""
    return f'<path class="{kind}" d="{path}"/>'


def codes() -> str:
    """The same range with eight codes, as it is and widened to hold 0.0."""
    parts = []

    def at(value: float) -> float:
        return 60 + 100 * value

    for top, title, low in ((0, "spread over 1 to 6: 0.0 has no code, and comes back as 1.0", 1.0),
                            (110, "spread over 0 to 6: 0.0 is code 0, and the steps are wider", 0.0)):  # fmt: skip
        parts.append(text(16, top + 22, title, "start"))
        parts.append(line(f"M{at(0)} {top + 62}H{at(6.3)}", "grid"))
        step = (6 - low) / 7
        for code in range(8):
            value = low + step * code
            parts.append(f'<circle class="dot c0" cx="{at(value):.1f}" cy="{top + 62}" r="5"/>')
            parts.append(text(at(value), top + 50, str(code), kind="code"))
            parts.append(text(at(value), top + 82, f"{value:.2f}"))
        if low:
            parts.append(line(f"M{at(0)} {top + 54}v16"))
            parts.append(text(at(0), top + 82, "0.00"))
            parts.append(line(f"M{at(0) + 6} {top + 62}H{at(1) - 10}m-7 -5l7 5l-7 5"))
    return panel(206, parts)


def streaming() -> str:
    """Three batches: a bar per bin; where the top doubles, two old bins make one new bin."""
    parts: list[str] = []
    counts, top, bins = np.zeros(8, int), 1.0, 8
    batches = ([0.1, 0.3, 0.3, 0.6, 0.9, 1.0], [0.2, 1.2, 1.3, 1.9], [0.5, 3.0])
    for index, batch in enumerate(batches):
        while top < max(batch):
            counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(bins // 2, int)])
            top *= 2
        counts = counts + np.histogram(batch, bins, (0.0, top))[0]
        left = 20 + 236 * index
        parts.append(text(left, 22, f"batch {index + 1}: {', '.join(f'{value:g}' for value in batch)}", "start"))
        for place, count in enumerate(counts):
            x = left + 26 * place
            parts.append(box(x, 130 - 22 * int(count), 22, 22 * int(count), "bar c0"))
            if count:
                parts.append(text(x + 11, 124 - 22 * int(count), str(count)))
        parts.append(line(f"M{left} 130H{left + 206}", "grid"))
        parts += [text(left, 148, "0"), text(left + 206, 148, f"{top:g}")]
        parts.append(text(left + 103, 166, f"bins of {top / bins:g}"))
    return panel(180, parts)


def placement() -> str:
    """Two convolutions and a skip: a pair where an integer op reads, none between what is fused."""
    parts = []
    nodes = {
        "Conv": (132, "bar c0"),
        "Relu": (236, "bar c2"),
        "Conv ": (382, "bar c0"),
        "Add": (530, "bar c0"),
        "Relu ": (616, "bar c2"),
    }
    y = 96
    parts.append(line(f"M16 {y}H712", "grid"))
    parts.append(line(f"M76 {y}V40H530V{y - 18}", "grid"))
    parts.append(text(22, y - 8, "x"))
    for name, (x, kind) in nodes.items():
        parts.append(box(x - 36, y - 18, 72, 36, kind))
        parts.append(
            f'<text class="code" x="{x}" y="{y + 4}" text-anchor="middle" style="fill:#fff">{name.strip()}</text>'
        )
    for x, yy, label in ((52, y, "x"), (309, y, "b"), (456, y, "c"), (684, y, "y")):
        parts.append(box(x - 18, yy - 10, 36, 20, "cell on"))
        parts.append(text(x, yy + 4, "QDQ", kind="code"))
        parts.append(text(x, yy + 26, label))
    parts.append(text(300, 32, "the skip reads the pair of x"))
    for x, name in ((132, "w1"), (382, "w2")):
        parts.append(line(f"M{x} {y + 18}V{y + 66}", "grid"))
        parts.append(box(x - 18, y + 38, 36, 20, "cell on"))
        parts.append(text(x, y + 52, "DQ", kind="code"))
        parts.append(text(x, y + 80, f"{name}: int8, a scale per channel"))
    parts.append(text(184, y - 26, "none: fused"))
    parts.append(text(600, y - 26, "none: fused"))
    return panel(196, parts)


def gate() -> str:
    """Accuracy across, speed down: each case with its two intervals and the verdict."""
    parts = []
    kinds = ("pass", "inconclusive", "fail")
    # an interval (from, to) on a line whose bar stands in the middle; left is good
    spans = {"pass": (-46.0, -12.0), "inconclusive": (-22.0, 20.0), "fail": (12.0, 48.0)}
    for column, accuracy in enumerate(kinds):
        parts.append(text(240 + 180 * column, 20, f"accuracy: {accuracy}"))
        for row, speed in enumerate(kinds):
            left, top = 155 + 180 * column, 34 + 74 * row
            if not column:
                parts.append(text(140, top + 36, f"speed: {speed}", "end"))
            verdict = kinds[max(column, row)]
            parts.append(box(left, top, 170, 66, "cell on" if verdict == "pass" else "cell"))
            for offset, kind, colour in ((18, accuracy, "c0"), (34, speed, "c1")):
                low, high = spans[kind]
                middle = left + 85
                parts.append(line(f"M{left + 20} {top + offset}H{left + 150}", "grid"))
                parts.append(line(f"M{middle + low} {top + offset}H{middle + high}", f"line {colour}"))
                parts.append(line(f"M{middle} {top + offset - 6}v12"))
            parts.append(text(left + 85, top + 58, verdict, kind="code"))
    parts.append(text(155, 276, "blue: accuracy, orange: speed; the mark is the bar, and left of it is good", "start"))
    return panel(286, parts)


def exports(found: Record) -> str:
    """A row per export, a cell per batch size."""
    parts = [text(250, 22, "batch in the file")]
    parts += [text(390 + 110 * index, 22, f"asked for {batch}") for index, batch in enumerate(found["batches"])]
    for index, row in enumerate(found["rows"]):
        top = 36 + 44 * index
        parts.append(text(16, top + 22, row["export"], "start"))
        parts.append(text(250, top + 22, str(row["batch"]), kind="code"))
        for place, off in enumerate(row["off"]):
            parts.append(box(340 + 110 * place, top, 100, 34, "cell on" if off is not None else "cell"))
            parts.append(text(390 + 110 * place, top + 22, "refused" if off is None else f"off by {off:.0e}"))
    return panel(36 + 44 * len(found["rows"]) + 8, parts)


def arena(found: Record) -> str:
    """Time to the right, memory upwards: a rectangle per tensor."""
    boxes: Sequence[Record] = found["boxes"]
    steps = max(one["last"] for one in boxes) + 1
    size = max(one["at"] + one["bytes"] for one in boxes)
    left, right, top, bottom = 60, 704, 14, 300
    across, up = (right - left) / steps, (bottom - top) / size
    parts = [
        line(f"M{left} {bottom - megabyte * 1e6 * up:.1f}H{right}", "grid") for megabyte in range(int(size / 1e6) + 1)
    ]
    parts += [
        text(left - 8, bottom - megabyte * 1e6 * up + 4, f"{megabyte}", "end")
        for megabyte in range(int(size / 1e6) + 1)
    ]
    for index, one in enumerate(boxes):
        height = one["bytes"] * up
        parts.append(
            f'<rect class="bar c{index % 6}" opacity="0.75" x="{left + one["first"] * across + 0.5:.1f}" '
            f'y="{bottom - one["at"] * up - height:.1f}" width="{(one["last"] - one["first"] + 1) * across - 1:.1f}" '
            f'height="{max(height - 0.5, 0.5):.1f}"/>'
        )
    parts.append(text((left + right) / 2, bottom + 20, "step"))
    parts.append(f'<g transform="rotate(-90 18 157)">{text(18, 157, "MB")}</g>')
    return panel(bottom + 32, parts)
