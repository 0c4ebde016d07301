"""The measured numbers of phase 2's guidelines, written from the record: block name -> Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.guidelines.records import Record
from benchmarks.guidelines.words import host, percent, table

_OBSERVERS = {
    "float32": "float32, no codes",
    "minmax": "least and greatest value",
    "moving_average": "moving average of both",
    "percentile": "percentile 99.99",
    "entropy": "entropy",
    "mse": "least squared error",
    "percentile:99": "percentile 99",
}


def blocks(record: Record) -> dict[str, str]:
    """Every block by its name."""
    return {
        "host": host(record, ("torch", "torchvision", "onnx", "onnxruntime", "numpy")),
        "channel_scales": channel_scales(record["channel_scales"]),
        "streaming": streaming(record["streaming"]),
        "clipping": clipping(record["clipping"]),
        "observers": observers(record["observers"]),
        "training": training(record["training"]),
        "placement": placement(record["placement"]),
        "verdicts": verdicts(record["verdicts"]),
        "exports": exports(record["exports"]),
        "folding": folding(record["folding"]),
        "passes": passes(record["passes"], record["simplified"]),
        "arena": arena(record["arena"]),
        "parity": parity(record["parity"]),
        "engines": engines(record["engines"]),
    }


def times(found: Record) -> str:
    """A ratio of times with its interval."""
    return f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def speedup(found: Record) -> str:
    """The same the other way round: how many times as fast."""
    return f"{1 / found['ratio']:.2f} [{1 / found['high']:.2f}, {1 / found['low']:.2f}]"


def channel_scales(found: Record) -> str:
    """The layers that gain most and least, and the whole."""
    ordered = sorted(found["layers"], key=lambda one: one["one_db"] - one["own_db"])
    rows = [
        (one["layer"], f"{one['spread']:.1f}", f"{one['one_db']:.1f}", f"{one['own_db']:.1f}")
        for one in (*ordered[:3], ordered[-1])
    ]
    return table(
        (f"layer of {found['model']}", "largest channel / smallest", "one scale, dB", "scale per channel, dB"), rows
    )


def streaming(found: Record) -> str:
    """Sorted against streamed."""
    rows = [
        (
            f"{100 * row['share']:g} %",
            f"{row['sorted']:.4f}",
            f"{row['streamed']:.4f}",
            f"{row['streamed'] - row['sorted']:.4f}",
        )
        for row in found["rows"]
    ]
    return (
        table(("share", "all values sorted", "2048 bins", "difference"), rows)
        + f"\n\nThe first activation of `{found['model']}` over its calibration crops: {found['values']:,} values, "
        f"{found['kept_bytes'] / 1e6:.1f} MB to keep, {found['histogram_bytes'] / 1e3:.1f} kB to count; the largest is "
        f"{found['largest']:.2f}, so the histogram may err by {2 * found['largest'] / 2048:.4f}."
    )


def clipping(found: Record) -> str:
    """The best limit by bits."""
    rows = [
        (
            each["bits"],
            f"{each['best']:.2f}",
            f"{100 * each['at_best']:.2f} %",
            f"{100 * each['points'][-1][1]:.2f} %",
        )
        for each in found["curves"]
    ]
    return table(("bits", "best limit / largest value", "error there", "error without clipping"), rows)


def observers(found: Record) -> str:
    """Accuracy and error of the logits by observer."""
    rows = [
        (_OBSERVERS[row["observer"]], percent(row["right"]), f"{row['db']:.1f}" if "db" in row else "")
        for row in found["rows"]
    ]
    return (
        table((f"{found['model']}, ranges by", "class right", "logits: signal over noise, dB"), rows)
        + f"\n\nCalibrated with {found['calibrated_with']} crops, judged on {found['crops']} others."
    )


def training(found: Record) -> str:
    """Rounded against trained."""
    rows: list[tuple[Any, ...]] = [
        (row["codes"], percent(row["largest"]), percent(row["least_error"]), percent(row["trained"]))
        for row in found["rows"]
    ]
    columns = ("codes per weight", "rounded, limit: largest", "rounded, limit: least error", "trained with the codes")
    return (
        table(columns, rows)
        + f"\n\nThe {found['weights']} weights of the last layer of `{found['model']}`, everything before it in float; "
        f"{found['crops']} crops, {percent(found['float'])} right in float. Trained: {found['steps']} steps on "
        f"{found['learnt_from']} other crops."
    )


def placement(found: Record) -> str:
    """Layers in integers, and the time, by placement."""
    rows = [(row["pairs"], row["integer"], row["float"], times(row)) for row in found["rows"]]
    return table((f"pairs on ... ({found['model']})", "layers in integers", "in float", "time / float32's"), rows)


def verdicts(rows: Sequence[Record]) -> str:
    """Size and speed of int8 and float16."""
    told = [
        (
            row["model"],
            row["bytes"] / 1e6,
            f"{row['int8']['bytes'] / row['bytes']:.2f}",
            speedup(row["int8"]),
            f"{row['float16']['bytes'] / row['bytes']:.2f}",
            speedup(row["float16"]),
        )
        for row in rows
    ]
    return table(
        ("model", "float32 MB", "int8: size", "int8: times as fast", "float16: size", "float16: times as fast"), told
    )


def exports(found: Record) -> str:
    """What was refused."""
    refused = []
    for row in found["rows"]:
        pairs = zip(found["batches"], row["off"], strict=True)
        if batches := [str(batch) for batch, off in pairs if off is None]:
            refused.append(f"batches of {' and '.join(batches)} ({row['export']})")
    worst = max(off for row in found["rows"] for off in row["off"] if off is not None)
    return (
        f"Refused: {'; '.join(refused)}. Where an answer came, it was off by at most {worst:.0e} of the largest value."
    )


def folding(rows: Sequence[Record]) -> str:
    """Time without batch norms over time with them."""
    return table(
        ("PyTorch", "batch norms folded", "time / time before"),
        [(row["model"], row["folded"], times(row)) for row in rows],
    )


def passes(graphs: Sequence[Record], timed: Sequence[Record]) -> str:
    """Nodes and time before and after."""
    rows = [
        (graph["model"], graph["before"], graph["after"], times(time["none"]), times(time["all"]))
        for graph, time in zip(graphs, timed, strict=True)
    ]
    columns = (
        "model",
        "nodes as exported",
        "after all passes",
        "time / before, runtime's optimiser off",
        "the same, on",
    )
    return table(columns, rows)


def arena(found: Record) -> str:
    """Bytes planned against bytes without a plan and the bound."""
    rows = [
        (row["model"], row["tensors"], row["naive"] / 1e6, row["arena"] / 1e6, f"{row['arena'] / row['bound']:.3f}")
        for row in found["rows"]
    ]
    return table(("model", "tensors", "each on its own, MB", "arena, MB", "arena / alive at once"), rows)


def parity(found: Record) -> str:
    """The verdict on right and wrong candidates."""
    rows = [
        (row["candidate"], f"{row['worst']:.1e}", "agrees" if row["agrees"] else "differs") for row in found["rows"]
    ]
    return (
        table((f"{found['model']}, compared with itself", "worst difference", "verdict"), rows)
        + f"\n\nRounding in float32 explains {found['explained']:.1e}."
    )


def engines(found: Record) -> str:
    """Builds by policy."""
    rows = [(row["policy"], len(row["built_at"])) for row in found["rows"]]
    return (
        table(("profile of an engine", "builds"), rows)
        + f"\n\n{found['requests']} requests with {found['sizes']} different batch sizes from 1 to 32."
    )
