"""Everything that a profile found, as one value, and the JSON record of it.

The record, schema "ml-inference/profile/1" (milliseconds, bytes and seconds by the names of the keys; null where a part
was not measured, with the reason under "notes"):

    schema, model {name, format, device, inputs, outputs}, settings {iterations, warmup, batches, threads},
    host, versions          the machine and the packages
    cold                    load_ms, first_inference_ms
    latency                 latency_ms {n, mean, std, min, p50, p90, p95, p99, max}, warmup, per_second
    resources               rss_peak_mb, rss_growth_mb, rss_peak_is_exact, vram_mb, energy, joules_per_inference
    batches []              batch, latency_ms, rows_per_second
    threads []              threads, latency_ms, ratio_to_first
    stages                  picture, note, total_ms, stages {load, preprocess, infer, postprocess}
    layers                  source, runs, total_ms, outside_ms, layers [] {name, node, kind, calls, ms, share, flops,
                            bytes, intensity, gflops_per_s}
    roofline                roofs, shares {compute, memory, unknown}, points [] {name, bound, of_roof}
    activations             peak_bytes, naive_bytes, weight_bytes, at, saved, method
    comparison              sentence, points [], copies
    overhead                latency {ratio_b_over_a, ...}, layers {...}: instruments on over instruments off;
                            microseconds_per_call, on an empty call
    notes {}                part -> why it is missing or what to know about it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from solutions.core.measure.profiling import Measurement, PairMeasurement
from solutions.core.measure.report import host_record, versions_record
from solutions.phase1_basics.profiling.activation_memory import ActivationMemory
from solutions.phase1_basics.profiling.device_comparison import Comparison
from solutions.phase1_basics.profiling.latency import BatchPoint, ColdStart, Resources, ThreadPoint
from solutions.phase1_basics.profiling.layer_table import LayerPass
from solutions.phase1_basics.profiling.overhead import BAR_FROM_MS, LATENCY_BAR
from solutions.phase1_basics.profiling.roofline import RooflinePoint, Roofs, shares_by_bound
from solutions.phase1_basics.profiling.stage_split import StageSplit

SCHEMA = "ml-inference/profile/1"


@dataclass(frozen=True, slots=True)
class Layers:
    """A per-layer pass, what made it, what it cost, and the verdict on each layer."""

    source: str
    found: LayerPass
    roofs: Roofs
    points: tuple[RooflinePoint, ...]
    overhead: PairMeasurement

    @property
    def shares(self) -> dict[str, float]:
        """The part of the layers' time that is compute-bound, memory-bound and unknown."""
        return shares_by_bound(self.points)


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """A profile. Parts that could not be measured are None, and `notes` says why.

    `rival` is the per-layer pass of another runtime over the same network, whose layers have the same names where the
    export kept them.
    """

    model: dict[str, Any]
    settings: dict[str, Any]
    cold: ColdStart
    latency: Measurement
    resources: Resources
    batches: tuple[BatchPoint, ...]
    threads: tuple[ThreadPoint, ...]
    stages: StageSplit | None
    layers: Layers | None
    rival: LayerPass | None
    activations: ActivationMemory | None
    comparison: Comparison
    overhead: PairMeasurement
    instrument_us: float
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The model, its format and its device, for headings."""
        return f"{self.model['name']} ({self.model['format']}) on {self.model['device']}"

    @property
    def overhead_passes(self) -> bool | None:
        """Whether measuring latency costs less than the bar; None where the model is too short for it, or in doubt."""
        if self.latency.summary.p50 < BAR_FROM_MS:
            return None
        verdict = self.overhead.ratio.verdict(at_most=LATENCY_BAR)
        return None if verdict == "inconclusive" else verdict == "pass"

    def as_dict(self) -> dict[str, Any]:
        """The record, ready for JSON."""
        layers = self.layers
        return {
            "schema": SCHEMA,
            "model": self.model,
            "settings": self.settings,
            "host": host_record(),
            "versions": versions_record(),
            "cold": self.cold.as_dict(),
            "latency": {**self.latency.as_dict(), "per_second": self.latency.throughput.per_second},
            "resources": self.resources.as_dict(),
            "batches": _dicts(self.batches),
            "threads": _dicts(self.threads),
            "stages": self.stages.as_dict() if self.stages else None,
            "layers": {"source": layers.source, **layers.found.as_dict()} if layers else None,
            "rival_layers": self.rival.as_dict() if self.rival else None,
            "roofline": {"roofs": layers.roofs.as_dict(), "shares": layers.shares, "points": _dicts(layers.points)}
            if layers
            else None,
            "activations": self.activations.as_dict() if self.activations else None,
            "comparison": self.comparison.as_dict(),
            "overhead": {
                "latency": self.overhead.as_dict(),
                "microseconds_per_call": self.instrument_us,
                "layers": layers.overhead.as_dict() if layers else None,
            },
            "notes": self.notes,
        }


def overhead_sentence(report: ProfileReport) -> str:
    """What the instruments cost, with its interval, and whether that meets the bar."""
    ratio = report.overhead.ratio
    bar = f"bar {LATENCY_BAR - 1:.0%} of a model of {BAR_FROM_MS:g} ms"
    verdict = {True: f"meets the {bar}", False: f"MISSES the {bar}", None: f"the {bar} is not decided here"}
    text = f"latency measurement: {_percent(ratio.ratio)} [{_percent(ratio.low)}, {_percent(ratio.high)}], "
    text += f"{ratio.rounds} interleaved rounds; {verdict[report.overhead_passes]}"
    share = report.instrument_us / 1e3 / report.latency.summary.p50 if report.latency.summary.p50 else 0.0
    text += f"\non an empty call it adds {report.instrument_us:.2f} us, {share:.4%} of this model's median"
    if report.layers is not None:
        of_layers = report.layers.overhead.ratio
        text += f"\nper-layer pass ({report.layers.source}): {_percent(of_layers.ratio)} "
        text += f"[{_percent(of_layers.low)}, {_percent(of_layers.high)}]; it is a pass of its own"
    return text


def energy_sentence(report: ProfileReport) -> str:
    """The energy per inference, or that and why it cannot be known here."""
    resources = report.resources
    joules = resources.energy.per(resources.inferences)
    return str(resources.energy) if joules is None else f"{joules:.3g} J per inference ({resources.energy})"


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %"


def _dicts(items: Sequence[Any]) -> list[Any]:
    return [item.as_dict() for item in items]
