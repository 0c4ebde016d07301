"""The figures of phase 1's guidelines, drawn from the record of their measurements: file name -> SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.guidelines.drawing import drawn, figure, panel
from benchmarks.guidelines.records import Record
from solutions.core.measure.report_svg import Bars, Plot, Point

_LISTED = 12  # layers of the bottleneck table that are drawn


def figures(record: Record) -> dict[str, str]:
    """Every figure by its file name."""
    return {
        "first_bytes.svg": figure(("the first 12 bytes of five files", first_bytes(record["first_bytes"]))),
        "wrong_preprocessing.svg": figure(*map(drawn, wrong_preprocessing(record["wrong_preprocessing"]))),
        "batch_sweep.svg": figure(*map(drawn, batch_sweep(record["batch_sweep"]))),
        "latency_distribution.svg": figure(drawn(distribution(record["latency_distribution"]))),
        "warm_up.svg": figure(drawn(warm_up(record["warm_up"]))),
        "synchronise.svg": figure(("what the timer sees of three calls on a device", timeline())),
        "layers.svg": figure(*map(drawn, slowest(record["layers"]))),
        "activations.svg": figure(*map(drawn, activations(record["activations"]))),
        "roofline.svg": figure(drawn(roofline(record["layers"]))),
        "drift.svg": figure(*map(drawn, drift(record["drift"]))),
    }


def first_bytes(rows: Sequence[Record]) -> str:
    """A cell per byte, as hexadecimal and as text; those that tell the format are marked."""
    left, side, parts = 150, 46, []
    for line, row in enumerate(rows):
        top = 8 + 50 * line
        parts.append(f'<text x="{left - 12}" y="{top + 24}" text-anchor="end">{escape(row["file"])}</text>')
        for index, code in enumerate(bytes.fromhex(row["bytes"])):
            x, on = left + side * index, " on" if index in row["telling"] else ""
            shown = escape(chr(code)) if 32 < code < 127 else "·"
            parts.append(f'<rect class="cell{on}" x="{x}" y="{top}" width="{side - 3}" height="40" rx="3"/>')
            for text, y in ((f"{code:02x}", top + 17), (shown, top + 33)):
                parts.append(f'<text class="code" x="{x + side / 2 - 1.5}" y="{y}" text-anchor="middle">{text}</text>')
    return panel(8 + 50 * len(rows), parts)


def wrong_preprocessing(found: Record) -> list[Bars]:
    """Accuracy of both heads of the classifier, by what was done to its pictures."""
    return [
        Bars(
            f"{head} right, % of {found['crops']} pictures",
            "%",
            {row["fed"]: 100 * row[head] for row in found["rows"]},
        )
        for head in ("class", "colour")
    ]


def batch_sweep(models: Sequence[Record]) -> list[Plot]:
    """Time per row and time of the whole call, both relative to a batch of 1."""
    return [
        Plot(
            title,
            "batch size",
            "times that of batch 1",
            {one["model"]: [(row["batch"], row[key] / one["rows"][0][key]) for row in one["rows"]] for one in models},
        )
        for title, key in (
            ("cost: time per row of the batch", "picture_ms"),
            ("price: time until the answer", "call_ms"),
        )
    ]


def distribution(found: Record) -> Plot:
    """The share of calls that were faster than x, with the figures that people quote."""
    summary, levels = found["latency_ms"], [index / 2 for index in range(len(found["quantiles_ms"]))]
    marks = {f"{name} = {summary[name]:.2f} ms": summary[name] for name in ("p50", "mean", "p90", "p99")}
    return Plot(
        f"{summary['n']} calls of {found['model']}; the slowest 0.5 % are off the plot (up to {summary['max']:.1f} ms)",
        "milliseconds",
        "% of the calls that took at most this long",
        {
            "calls": list(zip(found["quantiles_ms"], levels, strict=True))[:-1],
            **{legend: [(ms, 0.0), (ms, 100.0)] for legend, ms in marks.items()},
        },
    )


def warm_up(found: Record) -> Plot:
    """The first calls of a process, and where they settle."""
    times = found["calls_ms"]
    return Plot(
        f"the first {len(times)} calls of {found['model']} in a fresh process, one thread",
        "call",
        "milliseconds",
        {
            "calls": [(number, ms) for number, ms in enumerate(times, 1)],
            "median from call 11 on": [(1, found["settled_ms"]), (len(times), found["settled_ms"])],
        },
    )


def timeline() -> str:
    """Two lanes, host and device, twice: a timer that stops at the launch, and one that waits."""
    parts = []
    for top, title, starts in ((0, "without synchronise", (0, 1, 2)), (135, "with synchronise", (0, 3, 6))):
        parts.append(f'<text x="16" y="{top + 18}">{title}</text>')
        for lane, name in enumerate(("host", "device")):
            parts.append(f'<text x="80" y="{top + 53 + 34 * lane}" text-anchor="end">{name}</text>')
            parts.append(f'<path class="grid" d="M90 {top + 62 + 34 * lane}H700"/>')
        for index, start in enumerate(starts):
            x, job = 90 + 60 * start, 90 + 18 + 180 * index
            parts.append(f'<rect class="bar c0" x="{x}" y="{top + 38}" width="18" height="20" rx="2"/>')
            parts.append(f'<rect class="bar c1" x="{job}" y="{top + 72}" width="160" height="20" rx="2"/>')
            end = x + 18 if title.startswith("without") else job + 160
            parts.append(f'<path class="time" d="M{x} {top + 33}v-5H{end}v5"/>')
            parts.append(f'<text x="{job + 80}" y="{top + 110}" text-anchor="middle">job {index + 1}</text>')
    return panel(255, parts)


def slowest(found: Record) -> list[Bars]:
    """The layers that take the most time, and the same time by kind of layer."""
    ordered = sorted(found["layers"], key=lambda layer: -layer["ms"])
    total = found["total_ms"]
    bars = {f"{one['name']} ({one['kind']})": 100 * one["ms"] / total for one in ordered[:_LISTED]}
    bars[f"the other {len(ordered) - _LISTED} layers"] = 100 * sum(one["ms"] for one in ordered[_LISTED:]) / total
    bars[_BETWEEN] = 100 * found["outside_ms"] / total
    return [
        Bars(f"{found['model']} by layer, one thread", "% of an inference", bars),
        Bars("the same by kind of layer", "% of an inference", shares_by_kind(found)),
    ]


_BETWEEN = "between the layers"


def shares_by_kind(found: Record) -> dict[str, float]:
    """Percent of an inference by kind of layer, the largest first; what no layer owns comes last."""
    sums: dict[str, float] = {}
    for layer in found["layers"]:
        sums[layer["kind"]] = sums.get(layer["kind"], 0.0) + 100 * layer["ms"] / found["total_ms"]
    ordered = dict(sorted(sums.items(), key=lambda item: -item[1]))
    return {**ordered, _BETWEEN: 100 * found["outside_ms"] / found["total_ms"]}


def activations(found: Record) -> list[Plot]:
    """Memory over the steps: what there would be if nothing were ever freed, and what must be there."""

    def curve(key: str) -> Sequence[Point]:
        return [(step, size / 1e6) for step, size in enumerate(found[key], 1)]

    alive = {"alive at this step": curve("alive_bytes")}
    title = f"activations of {found['model']}, batch 1, 224 x 224, float32"
    return [
        Plot(title, "step", "MB", {**alive, "all made so far": curve("made_bytes")}),
        Plot("alive alone", "step", "MB", alive),
    ]


def roofline(found: Record) -> Plot:
    """Every layer that computes, under the two roofs."""
    roofs = found["roofs"]
    clouds: dict[str, list[Point]] = {}
    for layer in found["layers"]:
        if layer["flops"] and layer["bytes"] and layer["ms"]:
            point = (layer["flops"] / layer["bytes"], layer["flops"] / layer["ms"] / 1e6)
            kind = "pooling" if layer["kind"].endswith("Pool2d") else layer["kind"]
            clouds.setdefault(kind, []).append(point)
    widest = max(x for points in clouds.values() for x, _ in points)
    ridge = roofs["flops_per_s"] / roofs["bytes_per_s"]
    lowest = min(x for points in clouds.values() for x, _ in points)
    roof = [
        (x, min(roofs["flops_per_s"], x * roofs["bytes_per_s"]) / 1e9) for x in (lowest, ridge, max(widest, 2 * ridge))
    ]
    return Plot(
        f"layers of {found['model']} under the roofs of one core",
        "operations per byte",
        "10^9 operations per second",
        {"roof": roof, **clouds},
        kind="scatter",
        log_x=True,
        log_y=True,
        lines=("roof",),
    )


def drift(found: Record) -> list[Plot]:
    """Milliseconds of the calls of both orders, in the order in which they ran, in the first run."""
    run = found["runs"][0]
    first, second = run["one_after_the_other"], run["interleaved"]
    half = len(first["a_ms"])
    places: dict[str, list[int]] = {"a": [], "b": []}
    for call, side in enumerate("abba" * (half // 2), 1):
        places[side].append(call)
    return [
        Plot(
            f"all of a, then all of b: the medians' ratio b / a is {first['ratio']:.2f}",
            "call",
            "milliseconds",
            {
                "a": list(enumerate(first["a_ms"], 1)),
                "b (the same function)": list(enumerate(first["b_ms"], half + 1)),
            },
            kind="scatter",
        ),
        Plot(
            f"a b b a: the rounds' ratio is {second['ratio']:.2f} [{second['low']:.2f}, {second['high']:.2f}]",
            "call",
            "milliseconds",
            {
                "a": list(zip(places["a"], second["a_ms"], strict=True)),
                "b (the same function)": list(zip(places["b"], second["b_ms"], strict=True)),
            },
            kind="scatter",
        ),
    ]
