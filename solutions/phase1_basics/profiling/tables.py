"""A profile as the tables that people read: one list of tables, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.report import Cell
from solutions.phase1_basics.profiling.layer_table import LayerPass, matched
from solutions.phase1_basics.profiling.report import Layers, ProfileReport, energy_sentence, overhead_sentence
from solutions.phase1_basics.profiling.roofline import RooflinePoint

LATENCY_COLUMNS = ("n", "mean", "p50", "p90", "p95", "p99", "max")


@dataclass(frozen=True, slots=True)
class Table:
    """A title, sentences, and rows under columns; rows may be absent."""

    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()


def tables(report: ProfileReport, *, top: int = 15) -> list[Table]:
    """The tables of a profile in reading order; of the layers the `top` slowest."""
    found = [_latency(report), _batches(report), _threads(report), _stages(report)]
    if report.layers is not None:
        found += [_layers(report.layers, top), _roofline(report.layers)]
        if report.rival is not None:
            found.append(_rival(report.layers, report.rival, top))
    elif "layers" in report.notes:
        found.append(Table("Layers", report.notes["layers"]))
    found += [_memory(report), _comparison(report)]
    found.append(Table("What measuring costs", overhead_sentence(report)))
    return found


def _latency(report: ProfileReport) -> Table:
    summary = report.latency.summary
    cold = report.cold
    factor = f", {cold.first_ms / summary.p50:.1f} times the warm median" if summary.p50 else ""
    text = (
        f"loading {cold.load_ms:.0f} ms, first inference {cold.first_ms:.1f} ms{factor}; "
        f"warm {report.latency.throughput.per_second:.1f} inferences/s, one after another"
    )
    if summary.n < 100:
        text += f"\np99 of {summary.n} samples is little more than the maximum: run 100 iterations or more"
    return Table("Latency in ms", text, LATENCY_COLUMNS, [_latency_row(summary)])


def _batches(report: ProfileReport) -> Table:
    rows = [
        (p.batch, p.latency.n, p.latency.p50, p.latency.p99, p.latency.p50 / p.batch, p.rows_per_s)
        for p in report.batches
    ]
    columns = ("batch", "n", "p50 ms", "p99 ms", "p50 ms / row", "rows / s")
    return Table("Batch size", report.notes.get("batches", ""), columns, rows)


def _threads(report: ProfileReport) -> Table:
    rows = [
        (p.threads, p.latency.n, p.latency.p50, p.latency.p99, str(p.ratio) if p.ratio else "baseline", p.beside_ms)
        for p in report.threads
    ]
    columns = ("threads", "n", "p50 ms", "p99 ms", "time over baseline, interleaved", "baseline beside it")
    return Table("Threads", report.notes.get("threads", ""), columns, rows)


def _stages(report: ProfileReport) -> Table:
    title = "From the file to the answer"
    if report.stages is None:
        return Table(title, report.notes.get("stages", ""))
    stages = report.stages
    rows: list[Sequence[Cell]] = [
        (name, latency.p50, latency.p99, f"{stages.share(name):.0%}") for name, latency in stages.stages.items()
    ]
    rows.append(("together", stages.total.p50, stages.total.p99, ""))
    text = f"picture: {stages.picture}" + (f"\n{stages.note}" if stages.note else "")
    return Table(title, text, ("stage", "p50 ms", "p99 ms", "share"), rows)


def _layers(layers: Layers, top: int) -> Table:
    found = layers.found
    points = {id(point.layer): point for point in layers.points}
    rows = [
        (
            layer.name, layer.kind if layer.calls == 1 else f"{layer.kind} x {layer.calls}",
            layer.ms, f"{found.share(layer):.1%}",
            None if layer.cost.flops is None else layer.cost.flops / 1e6, layer.cost.bytes / 1e6,
            layer.cost.intensity, layer.gflops_per_s, _verdict(points[id(layer)]),
        )
        for layer in found.slowest(top)
    ]  # fmt: skip
    shown = sum(found.share(layer) for layer in found.slowest(top))
    text = (
        f"{layers.source}: {len(found.layers)} layers, median of {found.runs} runs; an inference of this pass takes "
        f"{found.total_ms:.2f} ms, {found.outside_ms:.2f} ms of it between the layers\n"
        f"the {len(rows)} slowest are {shown:.0%} of it; kinds: "
        + ", ".join(f"{kind} {ms:.2f} ms" for kind, ms in list(found.by_kind().items())[:5])
    )
    columns = ("layer", "kind", "ms", "share", "MFLOP", "MB", "FLOP/B", "GFLOP/s", "bound by (of roof)")
    return Table("Slowest layers", text, columns, rows)


def _verdict(point: RooflinePoint) -> str:
    return point.bound if point.of_roof is None else f"{point.bound} ({point.of_roof:.0%})"


def _roofline(layers: Layers) -> Table:
    roofs, shares = layers.roofs, layers.shares
    threads = threads_text(roofs.threads)
    text = (
        f"measured roofs on {roofs.device} with {threads}: {roofs.flops_per_s / 1e9:.1f} GFLOP/s (float32 matrix "
        f"product), {roofs.bytes_per_s / 1e9:.1f} GB/s (c = a + b); they meet at {roofs.ridge:.1f} FLOP/B\n"
        f"of the layers' time, {shares['compute']:.0%} is compute-bound, {shares['memory']:.0%} memory-bound"
    )
    if shares["unknown"]:
        text += f", {shares['unknown']:.0%} in layers whose operations nobody can count"
    text += "\nabove 100 % of a memory roof: the data came from a cache; int8 layers may pass the float32 roof"
    return Table("Roofline", text)


def _rival(layers: Layers, rival: LayerPass, top: int) -> Table:
    pairs = matched(layers.found, rival)
    slowest = sorted(pairs, key=lambda pair: -pair[1])[:top]
    text = (
        f"{len(pairs)} layers have the same name in both; ONNX Runtime fuses a convolution with what follows it\n"
        "two passes, one after the other: a hint where to look, no ratio to quote"
    )
    return Table("The same layers in ONNX Runtime", text, ("layer", f"{layers.source} ms", "ONNX Runtime ms"), slowest)


def _memory(report: ProfileReport) -> Table:
    resources, activations = report.resources, report.activations
    at_most = "" if resources.rss_exact else " (an upper bound: the peak is older)"
    rows: list[Sequence[Cell]] = [
        ("peak resident memory (MB)", resources.rss_peak_mb, f"whole process{at_most}"),
        ("growth during the timed calls (MB)", resources.rss_growth_mb, ""),
        ("device memory (MB)", resources.vram_mb, "" if resources.vram_mb is not None else "no device in use by torch"),
    ]
    if activations is not None:
        rows += [
            ("weights (MB)", activations.weight_bytes / 1e6, ""),
            ("activations, all kept (MB)", activations.naive_bytes / 1e6, f"{activations.tensors} buffers"),
            ("activations, peak alive (MB)", activations.peak_bytes / 1e6, f"at {activations.at}"),
        ]
    text = f"energy: {energy_sentence(report)}"
    if activations is not None:
        text += f"\n{activations.method}: {activations.saved:.0%} of the activations never have to exist at once"
    elif "activations" in report.notes:
        text += f"\nactivations: {report.notes['activations']}"
    return Table("Memory and energy", text, ("what", "value", "note"), rows)


def _comparison(report: ProfileReport) -> Table:
    rows: list[Sequence[Cell]] = [
        (
            p.title, p.latency.n, p.latency.p50, p.latency.p99,
            str(p.ratio) if p.ratio else "baseline", p.beside_ms, p.difference,
        )
        for p in report.comparison.points
    ]  # fmt: skip
    text = report.comparison.sentence
    if (copies := report.comparison.copies) is not None:
        text += (
            f"\non {copies.device}, synchronised after each part (p50): inputs there {copies.to_device.p50:.3f} ms, "
            f"computing {copies.compute.p50:.3f} ms, outputs back {copies.from_device.p50:.3f} ms"
        )
    columns = (
        "where",
        "n",
        "p50 ms",
        "p99 ms",
        "time over baseline, interleaved",
        "baseline beside it",
        "output difference",
    )
    return Table("Devices and runtimes", text, columns, rows)


def threads_text(count: int) -> str:
    """The number with its noun.

    >>> threads_text(1), threads_text(2)
    ('1 thread', '2 threads')
    """
    return f"{count} thread{'' if count == 1 else 's'}"


def _latency_row(summary: LatencySummary) -> Sequence[Cell]:
    return (summary.n, summary.mean, summary.p50, summary.p90, summary.p95, summary.p99, summary.max)
