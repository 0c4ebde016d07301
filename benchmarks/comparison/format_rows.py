"""What was measured of each format: does it answer as the baseline, what is it worth, and how long does it take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison.formats import Format
from benchmarks.comparison.rows import NotRun, calls_per_timing, file_bytes
from benchmarks.comparison.tasks import Judgement, Task
from solutions.core.errors import CourseError
from solutions.core.measure.latency import LatencySummary
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import measure, measure_pair
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.device_comparison import in_layout, relative_difference
from solutions.phase2_optimization.compilation.parity import measure_amplification, rounding_tolerance
from solutions.phase2_optimization.quantization.judges import Drop


@dataclass(frozen=True, slots=True)
class FormatRow:
    """One format.

    Attributes:
        size_bytes: of its file; None where it has none.
        made_s: seconds to make and load it.
        difference: largest difference of an output from the baseline's, relative to its largest value; None for the
            baseline, and where it has no meaning.
        tolerance: what rounding explains of that; None where it is not rounding (int8).
        value: the task's figure.
        drop: below the baseline, with its interval.
        latency: per call.
        ratio: time over the baseline's, interleaved.
        note: what has to be known about it.
    """

    title: str
    device: str
    size_bytes: int | None
    made_s: float
    difference: float | None
    tolerance: float | None
    value: float
    drop: Drop | None
    latency: LatencySummary
    ratio: PairedRatio | None
    note: str = ""

    @property
    def agrees(self) -> bool:
        """False where rounding does not explain the difference."""
        if self.ratio is None or self.tolerance is None:
            return True
        return self.difference is not None and self.difference <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "title": self.title,
            "device": self.device,
            "size_bytes": self.size_bytes,
            "made_seconds": self.made_s,
            "relative_output_difference": self.difference,
            "tolerance": self.tolerance,
            "agrees": self.agrees,
            "accuracy": self.value,
            "drop": self.drop.as_dict() if self.drop else None,
            "latency_ms": self.latency.as_dict(),
            "ratio_to_baseline": self.ratio.as_dict() if self.ratio else None,
            "speedup": self.ratio.speedup if self.ratio else None,
            "note": self.note,
        }


class Fed:
    """A model that takes the task's inputs, whatever it calls them and wherever it wants the channels.

    Args:
        model: its inputs and outputs are those of the graph, in order or by name.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: Model, outputs: Sequence[str]) -> None:
        self.model = model
        names = [spec.name for spec in model.outputs]
        self._outputs = list(outputs) if set(names) == set(outputs) else names

    def feeds(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs as this model wants them."""
        specs = self.model.inputs
        arrays = feeds.values() if {spec.name for spec in specs} != feeds.keys() else [feeds[s.name] for s in specs]
        return {spec.name: in_layout(spec, array) for spec, array in zip(specs, arrays, strict=True)}

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs in the graph's order."""
        answers = self.model.predict(self.feeds(feeds))
        return [answers[name] for name in self._outputs]


@dataclass(frozen=True, slots=True)
class _Baseline:
    fed: Fed
    judged: Judgement
    answers: list[np.ndarray]
    amplification: float


class FormatBench:
    """Measures formats one after the other; the first that runs is the baseline of all others.

    Args:
        task: what the network is for.
        graph: the ONNX graph, from which the tolerances follow.
        outputs: names of its outputs.
        rounds: of each interleaved pair.
    """

    def __init__(self, task: Task, graph: Path, outputs: Sequence[str], *, rounds: int) -> None:
        self._task, self._graph, self._outputs, self._rounds = task, graph, outputs, rounds
        self._baseline: _Baseline | None = None

    def run(self, form: Format) -> FormatRow | NotRun:
        """The row of one format, or why there is none."""
        start = time.perf_counter()
        try:
            path, model = form.make()
        except CourseError as error:
            return NotRun(form.title, "", str(error))
        made_s = time.perf_counter() - start
        try:
            return self._measured(form, path, model, made_s)
        except CourseError as error:  # it was made, and does not take what it should
            return NotRun(form.title, "", str(error))
        finally:
            if self._baseline is None or self._baseline.fed.model is not model:
                model.close()

    def close(self) -> None:
        """Free the baseline."""
        if self._baseline is not None:
            self._baseline.fed.model.close()

    def _measured(self, form: Format, path: Path | None, model: Model, made_s: float) -> FormatRow:
        fed, feeds = Fed(model, self._outputs), self._task.timed
        answers, judged = fed.run(feeds), self._task.judge(fed.run)
        size = file_bytes(path) if path else None
        own = fed.feeds(feeds)
        if self._baseline is None:
            self._baseline = _Baseline(fed, judged, answers, measure_amplification(model, own))
            alone = measure(lambda: model.predict(own), repeats=2 * self._rounds).summary
            return FormatRow(
                form.title, model.device, size, made_s, None, None, judged.value, None, alone, None, "baseline"
            )
        first = self._baseline.fed
        theirs = first.feeds(feeds)
        pair = measure_pair(
            lambda: first.model.predict(theirs),
            lambda: model.predict(own),
            rounds=self._rounds,
            inner=calls_per_timing(lambda: first.model.predict(theirs)),
        )
        tolerance = None
        if form.precision:
            amplified = self._baseline.amplification
            tolerance = rounding_tolerance(self._graph, precision=form.precision, amplification=amplified)
        return FormatRow(
            form.title, model.device, size, made_s, relative_difference(self._baseline.answers, answers), tolerance,
            judged.value, self._baseline.judged.drop(judged), pair.b, pair.ratio, form.note,
        )  # fmt: skip
