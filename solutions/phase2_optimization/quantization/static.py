"""Post-training static quantization: the recipe from a float ONNX file to an int8 one for a given runtime.

    prepare -> rewrite -> equalise -> plan -> correct biases -> calibrate -> spare the drowned -> insert QDQ -> save

Every step is a module of its own. What this file adds is their order and what depends on the model and this processor:
the tail that stays in float, and the bits of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import detect
from solutions.phase2_optimization.quantization.bias_correction import correct_bias
from solutions.phase2_optimization.quantization.drowned import drowned_layers
from solutions.phase2_optimization.quantization.equalisation import equalise
from solutions.phase2_optimization.quantization.graph_edits import Wiring
from solutions.phase2_optimization.quantization.preparation import prepare
from solutions.phase2_optimization.quantization.qdq_graph import insert_qdq
from solutions.phase2_optimization.quantization.qdq_plan import WEIGHTED, QdqPlan, plan_qdq
from solutions.phase2_optimization.quantization.qdq_scheme import SCHEMES, QdqScheme
from solutions.phase2_optimization.quantization.rewrites import rewrite_for_integers
from solutions.phase2_optimization.quantization.saving import save_model
from solutions.phase2_optimization.quantization.static_config import StaticConfig, StaticReport
from solutions.phase2_optimization.quantization.static_ranges import calibrated_ranges

__all__ = [
    "FIRST_SAMPLES",
    "StaticConfig",
    "StaticDraft",
    "StaticReport",
    "calibrated_ranges",
    "draft_static",
    "needs_reduced_range",
    "plan_model",
    "quantize_static",
    "spare_drowned",
    "tail_nodes",
]

_DEFAULT = StaticConfig()
FIRST_SAMPLES = 16  # means and variances settle long before ranges do


def quantize_static(
    source: str | Path,
    out: str | Path,
    feeds: Iterable[Mapping[str, np.ndarray]],
    config: StaticConfig = _DEFAULT,
) -> StaticReport:
    """The report on the QDQ file written to `out`; the file appears whole or not at all.

    Whether it is faster and accurate enough is not known here: measure it.

    Args:
        source: a float32 ONNX file.
        out: where to write.
        feeds: samples of what the model will see, input name -> array; read once, one at a time.
        config: the choices.

    Raises:
        ModelLoadError: the file cannot be read, prepared or run, or is quantized already.
        ConfigError: no sample or one that does not fit, a name in keep_float that the model lacks, nothing to quantize,
            or `out` cannot be written.
    """
    counted = _Counted(feeds, config.max_samples)
    samples: Iterable[Mapping[str, np.ndarray]] = iter(counted)
    first = list(islice(samples, FIRST_SAMPLES))
    draft = draft_static(source, config, first)
    ranges = calibrated_ranges(draft.model, draft.plan.tensors, chain(first, samples), draft.config)
    draft = spare_drowned(draft, ranges, first)
    missing = [name for name in draft.plan.tensors if name not in ranges]  # laid bare by a layer in float
    if missing:
        ranges |= calibrated_ranges(draft.model, missing, first, draft.config)
    save_model(insert_qdq(draft.model, draft.plan, ranges, draft.scheme), out)
    kinds = {node.name: node.op_type for node in draft.model.graph.node}
    weighted = draft.plan.weighted
    done = draft.plan.workers if draft.scheme.code_outputs else weighted
    return StaticReport(
        path=Path(out),
        config=draft.config,
        quantized=dict(Counter(kinds[name] for name in done)),
        kept_float=tuple(name for name, kind in kinds.items() if kind in WEIGHTED and name not in weighted),
        drowned=draft.drowned,
        samples=counted.seen,
        rewrites=draft.rewrites,
        equalised=draft.equalised,
        corrected=draft.corrected,
        bytes_before=Path(source).stat().st_size,
        bytes_after=Path(out).stat().st_size,
    )


@dataclass(frozen=True, slots=True)
class StaticDraft:
    """A float model that waits for ranges.

    Attributes:
        model: prepared, rewritten, equalised, biases corrected.
        plan: what to code in it.
        config: the choices, with reduce_range decided.
        scheme: the types.
        rewrites, equalised, corrected: counts for the report.
        drowned: nodes that were put back into float after calibration -> why, see `spare_drowned`.
    """

    model: onnx.ModelProto
    plan: QdqPlan
    config: StaticConfig
    scheme: QdqScheme
    rewrites: Mapping[str, int]
    equalised: int
    corrected: int
    drowned: Mapping[str, str] = field(default_factory=dict)


def draft_static(
    source: str | Path, config: StaticConfig, first: Iterable[Mapping[str, np.ndarray]] = ()
) -> StaticDraft:
    """All steps up to the calibration; `first` are the samples that bias correction learns from, if it is asked for.

    Raises:
        ModelLoadError, ConfigError: as `quantize_static`.
    """
    reduce_range = needs_reduced_range() if config.reduce_range is None else config.reduce_range
    config = replace(config, reduce_range=reduce_range)
    scheme = replace(SCHEMES[config.target], per_channel=config.per_channel, reduce_range=reduce_range)
    model = prepare(source)
    counts = rewrite_for_integers(model, channels_last=config.target == "onnxruntime") if config.rewrite else {}
    equalised = equalise(model) if config.equalise else 0
    plan = plan_model(model, config)
    if not plan.weighted:
        raise ConfigError(f"{source} has no Conv, MatMul or Gemm to quantize: keep it in float")
    corrected = 0
    if config.correct_bias:
        codes = {"per_channel": scheme.per_channel, "reduce_range": scheme.reduce_range}
        corrected = correct_bias(model, plan.weighted, first, **codes, threads=config.threads)
    return StaticDraft(model, plan, config, scheme, counts, equalised, corrected)


def spare_drowned(
    draft: StaticDraft, ranges: Mapping[str, tuple[float, float]], first: Iterable[Mapping[str, np.ndarray]]
) -> StaticDraft:
    """The draft with those nodes in float that `drowned.drowned_layers` finds on the samples; itself where none is."""
    config = draft.config
    if not config.channel_db:
        return draft
    found = drowned_layers(draft.model, draft.plan, ranges, first, least_db=config.channel_db, threads=config.threads)
    if not found:
        return draft
    config = replace(config, keep_float=(*config.keep_float, *found))
    return replace(draft, config=config, plan=plan_model(draft.model, config), drowned=found)


def plan_model(model: onnx.ModelProto, config: StaticConfig) -> QdqPlan:
    """The plan for a prepared and rewritten model; raises ConfigError for unknown names in keep_float."""
    names = {node.name for node in model.graph.node}
    for name in config.keep_float:
        if name not in names:
            raise ConfigError(f"keep_float names {name}, which is no node of the model, e.g. {min(names, default='')}")
    kept = {*config.keep_float, *tail_nodes(model, config.tail)}
    return plan_qdq(
        model,
        keep_float=kept,
        fused_activations=SCHEMES[config.target].fused_activations,
        share_concat=config.share_concat,
    )


def tail_nodes(model: onnx.ModelProto, tail: str = "decode") -> set[str]:
    """Names of the nodes between the last layers with weights and the outputs; with "predictions", of these layers too.

    Nothing is tail where the way back from an output meets no such layer, or where it is the output itself.
    """
    if tail == "none":
        return set()
    wiring = Wiring(model.graph)
    found: set[str] = set()
    waiting = sorted(wiring.outputs)
    while waiting:
        node = wiring.makers.get(waiting.pop())
        if node is None or node.name in found:
            continue
        if node.op_type in WEIGHTED:
            if tail == "predictions":
                found.add(node.name)
            continue
        found.add(node.name)
        waiting.extend(node.input)
    return found


def needs_reduced_range() -> bool:
    """True on an x86 processor without VNNI, whose 16-bit sums of products saturate with 8-bit weights."""
    profile = detect()
    return profile.machine in ("x86_64", "AMD64") and not profile.has("VNNI")


class _Counted:
    """The first `most` samples, counted as they pass."""

    def __init__(self, feeds: Iterable[Mapping[str, np.ndarray]], most: int) -> None:
        self._rest = islice(feeds, most)
        self.seen = 0

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        for sample in self._rest:
            self.seen += 1
            yield sample
