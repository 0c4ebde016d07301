"""The measured numbers of phase 1's guidelines, written from the record: block name -> Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.guidelines.phase1.pictures import shares_by_kind
from benchmarks.guidelines.records import Record
from benchmarks.guidelines.words import host, percent, table
from solutions.core.measure.report import Cell

_ROOFLINE_LAYERS = ("layer1.0.conv2", "layer1.0.conv1", "fc", "bn1", "relu", "maxpool")


def blocks(record: Record) -> dict[str, str]:
    """Every block by its name."""
    return {
        "host": host(record),
        "wrong_preprocessing": wrong_preprocessing(record["wrong_preprocessing"]),
        "batch_sweep": batch_sweep(record["batch_sweep"]),
        "latency_distribution": distribution(record["latency_distribution"]),
        "warm_up": warm_up(record["warm_up"]),
        "synchronise": synchronise(record["synchronise"]),
        "layers": layers(record["layers"]),
        "activations": activations(record["activations"]),
        "roofline": roofline(record["layers"]),
        "drift": drift(record["drift"]),
    }


def wrong_preprocessing(found: Record) -> str:
    """Accuracy by mistake."""
    rows = [(row["fed"], percent(row["class"]), percent(row["colour"])) for row in found["rows"]]
    return table((f"{found['crops']} pictures, fed ...", "class right", "colour right"), rows)


def batch_sweep(models: Sequence[Record]) -> str:
    """Milliseconds by batch size."""
    columns = ["batch"]
    for one in models:
        columns += [f"{one['model']}: ms per call", "ms per row"]
    rows = []
    for points in zip(*(one["rows"] for one in models), strict=True):
        rows.append((points[0]["batch"], *(point[key] for point in points for key in ("call_ms", "picture_ms"))))
    return table(columns, rows)


def distribution(found: Record) -> str:
    """The summary of all calls, and what blocks of a hundred would have said."""
    names = ("mean", "p50", "p90", "p95", "p99", "max")
    summary, tails = found["latency_ms"], found["block_p99_ms"]
    return (
        table(names, [[summary[name] for name in names]])
        + f"\n\nMilliseconds, of {summary['n']} calls of `{found['model']}`. Cut into {len(tails)} blocks of "
        f"{found['block']}, the same calls give {len(tails)} different p99, from {min(tails):.2f} to {max(tails):.2f}."
    )


def warm_up(found: Record) -> str:
    """The first call against the later ones, and what came before it."""
    first, settled = found["calls_ms"][0], found["settled_ms"]
    rows = [
        ("importing torch and torchvision", found["import_ms"]),
        (f"building {found['model']}", found["build_ms"]),
        ("first call", first),
        ("second call", found["calls_ms"][1]),
        ("median from call 11 on", settled),
    ]
    return (
        table(("in a fresh process", "ms"), rows) + f"\n\nThe first call takes {first / settled:.2f} times the median."
    )


def synchronise(found: Record) -> str:
    """What the timer reads in both cases."""
    job = found["device_job_ms"]
    rows = [
        (name, found[key]["p50"], found[key]["p99"])
        for name, key in (("without synchronise", "without_ms"), ("with synchronise", "with_ms"))
    ]
    return table((f"a device that needs {job:g} ms per job", "p50 ms", "p99 ms"), rows)


def layers(found: Record) -> str:
    """The slowest layers and the kinds, each with what an inference would gain if it cost nothing."""
    slowest = sorted(found["layers"], key=lambda layer: -layer["ms"])[:3]
    shares = {f"{one['name']} ({one['kind']})": 100 * one["ms"] / found["total_ms"] for one in slowest}
    kinds = {f"all {kind}": share for kind, share in list(shares_by_kind(found).items())[:3]}
    rows = [(name, one, f"{one:.1f} %", f"{1 / (1 - one / 100):.2f} x") for name, one in {**shares, **kinds}.items()]
    return (
        table(("part", "share", "faster if it cost nothing"), [(name, text, gain) for name, _, text, gain in rows])
        + f"\n\nOf {found['total_ms']:.1f} ms for {len(found['layers'])} layers of {found['model']}, "
        f"{found['outside_ms']:.1f} ms lie between the layers."
    )


def activations(found: Record) -> str:
    """Peak against sum."""
    peak, total = max(found["alive_bytes"]) / 1e6, found["made_bytes"][-1] / 1e6
    return (
        f"{found['model']} makes {total:.1f} MB of activations in {len(found['made_bytes'])} steps, and never needs "
        f"more than {peak:.1f} MB of them at once (step {found['at_step']}, `{found['at']}`): a {total / peak:.0f}th."
    )


def roofline(found: Record) -> str:
    """Some layers under the roofs."""
    peak, rate = found["roofs"]["flops_per_s"], found["roofs"]["bytes_per_s"]
    by_name = {layer["name"]: layer for layer in found["layers"]}
    rows: list[tuple[Cell, ...]] = []
    for layer in (by_name[name] for name in _ROOFLINE_LAYERS):
        compute_ms, memory_ms = layer["flops"] / peak * 1e3, layer["bytes"] / rate * 1e3
        best = max(compute_ms, memory_ms)
        bound = "compute" if compute_ms >= memory_ms else "memory"
        rows.append(
            (
                f"{layer['name']} ({layer['kind']})", layer["flops"] / 1e6, layer["bytes"] / 1e6,
                layer["flops"] / layer["bytes"], bound, best, layer["ms"], f"{100 * best / layer['ms']:.0f} %",
            )
        )  # fmt: skip
    columns = ("layer", "MFLOP", "MB", "FLOP / byte", "bound", "best ms", "measured ms", "of its roof")
    return (
        f"Roofs: {peak / 1e9:.0f} GFLOP/s and {rate / 1e9:.1f} GB/s; the ridge is at {peak / rate:.1f} FLOP / byte."
        + "\n\n"
        + table(columns, rows)
    )


def drift(found: Record) -> str:
    """What each order said of a function against itself."""
    rows = []
    for number, run in enumerate(found["runs"], 1):
        paired = run["interleaved"]
        told = f"{paired['ratio']:.3f} [{paired['low']:.3f}, {paired['high']:.3f}]"
        rows.append((number, f"{run['one_after_the_other']['ratio']:.3f}", told))
    return table(("run", "all of a, then all of b", "a b b a, with its 95 % interval"), rows)
