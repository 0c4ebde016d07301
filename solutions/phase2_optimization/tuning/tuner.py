"""The auto-tuner: the best way to run this model on this machine, for this batch and promise, found by measuring.

`tune` lets the candidates race (see `race`) and measures as much as the decision needs; `sweep` measures everything to
the end, which is what the tuner's choice is checked against.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError, CourseError
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.feeds import fixed_batch, has_free_batch
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.quantization.judges import Judge, Score
from solutions.phase2_optimization.tuning.accuracy import Jury
from solutions.phase2_optimization.tuning.afterwards import (
    End,
    Ends,
    finish_winner,
    judge_for_front,
    look_for_slo,
    measure_memory,
    rows_of,
)
from solutions.phase2_optimization.tuning.bench import Bench, Contender
from solutions.phase2_optimization.tuning.candidates import Candidate, Missing, Wanted, list_candidates, missing_here
from solutions.phase2_optimization.tuning.outcome import Choice, Row, choose
from solutions.phase2_optimization.tuning.pictures import Samples, batch_of, find_samples
from solutions.phase2_optimization.tuning.race import Rules, race
from solutions.phase2_optimization.tuning.standing import Standing, over_winner
from solutions.phase2_optimization.tuning.subject import Subject
from solutions.phase2_optimization.tuning.workshop import Workshop

_NO_MODULE = "the model is an ONNX graph without a PyTorch module"
_ROUNDS_OF_SWEEP = 50  # with the calls of a block, enough for a p99
_CALLS_OF_SWEEP = 200

Clock = Callable[[], float]
Told = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Settings:
    """What to tune for.

    Attributes:
        batch: rows per request.
        slo_ms: bound of the p99 latency of a request; None for none.
        wanted: objective, thread counts and runtimes.
        max_drop: bound of the accuracy's fall, see `accuracy.Jury`.
        observer: of static int8.
        budget_s: no candidate is begun after that; None for no limit.
        memory: measure it, in a process per candidate that may win.
        rules: of the race.
    """

    batch: int = 1
    slo_ms: float | None = None
    wanted: Wanted = field(default_factory=Wanted)
    max_drop: float | None = None
    observer: str = "entropy"
    budget_s: float | None = None
    memory: bool = True
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch must be >= 1, got {self.batch}")
        for name in ("slo_ms", "budget_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if self.max_drop is not None and self.max_drop < 0:
            raise ConfigError(f"max_drop must be >= 0, got {self.max_drop}")

    def as_dict(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was found.

    Attributes:
        rows: in the order of trial.
        missing: what could not be tried.
        choice: which one to take.
        chosen_s: until that was known.
        seconds: until the figures for the Pareto front were there, too.
        metric: what scores are: "accuracy", "agreement" or "score".
        bound: of the score's fall; None where it was not judged.
        files: what the candidates that were judged load, as long as the folder of the tuning lives.
    """

    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    choice: Choice
    chosen_s: float
    seconds: float
    metric: str
    bound: float | None
    files: dict[Candidate, Path] = field(default_factory=dict)

    def row(self, candidate: Candidate) -> Row | None:
        """Its row; None where it was not among them."""
        return next((row for row in self.rows if row.candidate == candidate), None)


def tune(
    subject: Subject,
    samples: Samples,
    settings: Settings = Settings(),
    *,
    folder: Path,
    score: Score | Judge | None = None,
    clock: Clock = time.perf_counter,
    told: Told = lambda line: None,
) -> Tuning:
    """The choice and the figures behind it.

    Args:
        subject: the network, see `find_subject`.
        samples: see `samples_for`.
        settings: what to tune for.
        folder: for the files that are made.
        score: another measure of accuracy, as `Jury` takes it.
        clock: seconds, monotonic.
        told: hears a line about each candidate that is out.

    Raises:
        CourseError: the float model does not run here, or the settings cannot be used.
    """
    start = clock()
    bench, candidates, missing = _bench(subject, samples, settings, folder, score, clock)
    contenders = {candidate: Contender(candidate, bench) for candidate in candidates}
    by_label = {candidate.label: candidate for candidate in candidates}

    def over() -> bool:
        return settings.budget_s is not None and clock() - start > settings.budget_s

    ends: Ends = {}

    def hear(standing: Standing) -> None:
        told(f"{standing.name}: {standing.state}{': ' if standing.reason else ''}{standing.reason}")

    standings = race(list(contenders.values()), settings.rules, expired=over, told=hear)
    relative = over_winner(standings)
    for standing in standings:
        ends[by_label[standing.name]] = End(standing.state, standing.reason, relative.get(standing.name))
    finish_winner(bench, contenders, ends)
    if settings.slo_ms is not None:
        look_for_slo(bench, contenders, ends, settings.slo_ms)
    chosen_s = clock() - start
    judge_for_front(bench, contenders, ends, over)
    if settings.memory:
        measure_memory(bench, ends)
    return _tuning(bench, ends, missing, settings, chosen_s, clock() - start)


def sweep(
    subject: Subject,
    samples: Samples,
    settings: Settings = Settings(),
    *,
    folder: Path,
    score: Score | Judge | None = None,
    clock: Clock = time.perf_counter,
    told: Told = lambda line: None,
) -> Tuning:
    """Every candidate prepared, judged, and measured in interleaved rounds to the end; arguments as for `tune`."""
    start = clock()
    bench, candidates, missing = _bench(subject, samples, settings, folder, score, clock)
    ends: Ends = {}
    running: list[Contender] = []
    for candidate in candidates:
        contender = Contender(candidate, bench, draft=False)
        try:
            contender.enter()
        except CourseError as error:
            ends[candidate] = End("unavailable", str(error))
            told(f"{contender.name}: unavailable: {error}")
            continue
        objection = contender.qualify()
        ends[candidate] = End("refused", objection) if objection else End("measured")
        told(f"{contender.name}: prepared{': ' if objection else ''}{objection}")
        running.append(contender)
    for turn in range(_ROUNDS_OF_SWEEP):
        for contender in running if turn % 2 else reversed(running):
            contender.measure()
    for contender in running:
        contender.complete(_CALLS_OF_SWEEP)
        contender.leave()
    chosen_s = clock() - start
    if settings.memory:
        measure_memory(bench, ends)
    return _tuning(bench, ends, missing, settings, chosen_s, clock() - start)


def samples_for(subject: Subject, **options: Any) -> Samples:
    """The samples of `find_samples` for a subject; options as there."""
    model: Model = OnnxModel(subject.graph, device="cpu", threads=1)
    try:
        return find_samples(model, subject.name, **options)
    finally:
        model.close()


def _bench(
    subject: Subject, samples: Samples, settings: Settings, folder: Path, score: Score | Judge | None, clock: Clock
) -> tuple[Bench, list[Candidate], list[Missing]]:
    jury = Jury(subject.graph, samples, max_drop=settings.max_drop, score=score, means_nothing=subject.untrained)
    model = OnnxModel(subject.graph, device="cpu", threads=1)
    try:
        if not has_free_batch(model) and fixed_batch(model) != settings.batch:
            raise ConfigError(f"{subject.name} takes a batch of {fixed_batch(model)} only, got {settings.batch}")
        free = has_free_batch(model)
    finally:
        model.close()
    feeds = batch_of(samples.judged, settings.batch if free else 1)
    workshop = Workshop(subject, samples, folder, observer=settings.observer)
    lacking = missing_here()
    if subject.module is None:
        lacking |= dict.fromkeys(("pytorch", "torchscript", "inductor", "aot"), _NO_MODULE)
    candidates, missing = list_candidates(settings.wanted, lacking=lacking)
    if not candidates:
        raise ConfigError("there is nothing to choose from: " + "; ".join(f"{m.label}: {m.reason}" for m in missing))
    return Bench(workshop, jury, feeds, batch=settings.batch, clock=clock), candidates, missing


def _tuning(
    bench: Bench, ends: Ends, missing: Sequence[Missing], settings: Settings, chosen_s: float, seconds: float
) -> Tuning:
    rows = rows_of(bench, ends)
    choice = choose(rows, objective=settings.wanted.objective, slo_ms=settings.slo_ms)
    files = {row.candidate: bench.workshop.file(row.candidate) for row in rows if row.is_sound and row.accuracy}
    return Tuning(tuple(rows), tuple(missing), choice, chosen_s, seconds, bench.jury.metric, bench.jury.bound, files)
