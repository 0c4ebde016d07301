"""The plots of phase 2's guidelines, drawn from the record of their measurements: file name -> SVG text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.guidelines.drawing import drawn, figure
from benchmarks.guidelines.phase2 import sketches
from benchmarks.guidelines.records import Record
from solutions.core.measure.report_svg import Bars, Plot, Point

INT16, INT32 = 2**15 - 1, 2**31 - 1
LARGEST_PRODUCT = 255 * 127  # of a uint8 activation and an int8 weight


def figures(record: Record) -> dict[str, str]:
    """Every figure by its file name."""
    return {
        "codes.svg": figure(("eight codes for values from 1 to 6", sketches.codes())),
        "channel_scales.svg": figure(drawn(channel_scales(record["channel_scales"]))),
        "streaming.svg": figure(("a histogram of eight bins whose top doubles", sketches.streaming())),
        "clipping.svg": figure(drawn(clipping(record["clipping"]))),
        "straight_through.svg": figure(*map(drawn, straight_through())),
        "accumulators.svg": figure(drawn(accumulators())),
        "placement.svg": figure(("a residual block, and its pairs", sketches.placement())),
        "gate.svg": figure(
            ("nine cases: both whole intervals must lie on the good side", sketches.gate()),
            drawn(speeds(record["verdicts"])),
        ),
        "exports.svg": figure(
            ("three exports of one network, asked for three batches", sketches.exports(record["exports"]))
        ),
        "folding.svg": figure(drawn(folding(record["folding"]))),
        "passes.svg": figure(*map(drawn, passes(record["passes"]))),
        "arena.svg": figure(("every activation of street-medium in one arena", sketches.arena(record["arena"]))),
        "parity.svg": figure(drawn(parity(record["parity"]))),
        "engines.svg": figure(drawn(engines(record["engines"]))),
    }


def channel_scales(found: Record) -> Plot:
    """Signal over noise of each channel by its size, with a scale for all and with its own."""
    widest = max(one["largest"] for one in found["channels"])
    ordered = sorted(found["channels"], key=lambda one: float(one["largest"]))

    def cloud(key: str) -> Sequence[Point]:
        return [(one["largest"] / widest, one[key]) for one in ordered]

    return Plot(
        f"the output channels of {found['layer']} in {found['model']}, as int8",
        "largest weight of the channel / largest weight of the layer",
        "signal over noise, dB",
        {"one scale for the layer": cloud("one_db"), "a scale per channel": cloud("own_db")},
        kind="scatter",
    )


def clipping(found: Record) -> Plot:
    """Signal over noise by the limit, with the best limit of each curve."""

    def clean(error: float) -> float:
        return -20 * math.log10(error)

    curves: dict[str, Sequence[Point]] = {
        f"{each['bits']} bits": [(x, clean(error)) for x, error in each["points"]] for each in found["curves"]
    }
    return Plot(
        f"{found['values']} values of a Laplace distribution, clipped and coded",
        "limit / largest value",
        "signal over noise, dB",
        {**curves, "least error": [(each["best"], clean(each["at_best"])) for each in found["curves"]]},
        kind="scatter",
        lines=tuple(curves),
    )


def straight_through() -> list[Plot]:
    """Codes -2..2 of scale 1: what goes forward, and what goes back."""
    xs = [index / 50 for index in range(-200, 201)]
    forward = [(x, float(max(-2, min(2, math.floor(x + 0.5))))) for x in xs]
    inside = [(x, 1.0 if -2.5 <= x <= 2.5 else 0.0) for x in xs]
    return [
        Plot(
            "forward: five codes, -2 to 2, scale 1",
            "value",
            "what it becomes",
            {"coded": forward, "value": [(-4, -4), (4, 4)]},
        ),
        Plot(
            "backward: the share of the gradient that passes",
            "value",
            "factor",
            {"straight through, clipped": inside, "true derivative (0 but for the jumps)": [(-4, 0), (4, 0)]},
        ),
    ]


def accumulators() -> Plot:
    """How large sums of products of codes can get, and what integers hold."""
    lengths = [2**power for power in range(18)]
    # uniform codes 0..255 and -127..127 without a mean: the root mean squares of both, times sqrt(n)
    typical = math.sqrt((255**2 / 3) * (127 * 128 / 3))
    ends = [(1, 1), (lengths[-1], 1)]
    return Plot(
        "a sum of uint8 times int8",
        "products in the sum",
        "magnitude",
        {
            "largest possible": [(length, length * LARGEST_PRODUCT) for length in lengths],
            "typical (random codes)": [(length, math.sqrt(length) * typical) for length in lengths],
            "int16 ends": [(x, INT16) for x, _ in ends],
            "int32 ends": [(x, INT32) for x, _ in ends],
        },
        log_x=True,
        log_y=True,
    )


def speeds(rows: Sequence[Record]) -> Bars:
    """Speed-up over float32 with its interval."""
    found = {f"{row['model']}, {kind}": row[kind] for row in rows for kind in ("int8", "float16")}
    return Bars(
        "measured: speed-up over float32, ONNX Runtime, one thread",
        "times as fast as float32",
        {name: 1 / one["ratio"] for name, one in found.items()},
        {name: (1 / one["high"], 1 / one["low"]) for name, one in found.items()},
    )


def folding(rows: Sequence[Record]) -> Bars:
    """Time of an inference without batch norms, as a share of that with them."""
    shares, spans = {}, {}
    for row in rows:
        shares[f"{row['model']} as trained"] = 100.0
        name = f"{row['folded']} batch norms folded"
        name = f"{row['model']}, {name}"
        shares[name], spans[name] = 100 * row["ratio"], (100 * row["low"], 100 * row["high"])
    return Bars("PyTorch, one picture, one thread", "% of the time with batch norms", shares, spans)


def passes(rows: Sequence[Record]) -> list[Bars]:
    """Nodes by pass: what it removes, and what is left."""
    return [
        Bars(
            f"{row['model']}: {row['before']} nodes as exported",
            "nodes",
            {
                **{name.replace("_", " "): float(count) for name, count in row["removed"].items()},
                "left": float(row["after"]),
            },
        )
        for row in rows[:2]
    ]


def parity(found: Record) -> Plot:
    """Error by depth, against what rounding explains."""
    layers = found["layers"]

    def curve(key: str) -> Sequence[Point]:
        return [(index, layer[key]) for index, layer in enumerate(layers, 1)]

    return Plot(
        f"{found['model']} against itself in float64, layer by layer",
        "layers with weights so far",
        "largest difference / largest value",
        {
            "float32": curve("float32"),
            "explained by rounding": curve("explained"),
            "float32, eps 0.001 for 0.00001": curve("wrong_eps"),
        },
        log_y=True,
    )


def engines(found: Record) -> Plot:
    """Builds so far over the requests, by policy."""
    curves: dict[str, Sequence[Point]] = {}
    for row in found["rows"]:
        points: list[Point] = []
        for count, at in enumerate(row["built_at"], 1):
            points += [(at, count - 1), (at, count)]
        curves[row["policy"]] = [*points, (found["requests"], len(row["built_at"]))]
    return Plot("engines built so far", "request", "builds", curves)
