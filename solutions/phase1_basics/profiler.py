"""Profile a model: latency, batches, threads, stages, layers under the roofline, memory, energy, devices.

    python solutions/phase1_basics/profiler.py --model resnet50.pth --iterations 100
    python -m solutions.phase1_basics.profiler --model street-small --batch 1,2,4,8 --threads 1,2 --html profile.html

What is timed is `Model.predict`, as every later phase calls it: arrays on the host in, arrays on the host out. The
per-layer pass slows the model down and is a pass of its own. What the instruments cost is measured and printed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from solutions.core.errors import ConfigError
from solutions.core.hardware.profile import usable_cores
from solutions.core.measure.profiling import Clock
from solutions.core.measure.report import render_table
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.core.tensors import Model
from solutions.phase1_basics.model_loader import load_model, locate
from solutions.phase1_basics.profiling.feeds import sample_feeds, usable_batches
from solutions.phase1_basics.profiling.latency import (
    ThreadPoint,
    cold_start,
    profile_latency,
    sweep_batches,
    sweep_threads,
)
from solutions.phase1_basics.profiling.overhead import BAR_FROM_MS, instrument_us, latency_overhead
from solutions.phase1_basics.profiling.page import write_page
from solutions.phase1_basics.profiling.parts import Effort, compare, look_inside, stages_or_note, tracks
from solutions.phase1_basics.profiling.report import ProfileReport
from solutions.phase1_basics.profiling.tables import tables, threads_text
from solutions.phase1_basics.profiling.trace import write_trace


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """What to measure and how often.

    Attributes:
        iterations: timed calls of the main measurement; sweeps, stages and layers take a part of it.
        warmup: calls before anything is timed.
        batches: sizes of the sweep; the first is the one for everything else.
        threads: counts of the sweep; the first is the one for everything else.
        device: as `load_model` takes it.
        picture: file for the stages; made up unless given.
        load_options: handed to the runtime.
    """

    iterations: int = 100
    warmup: int = 10
    batches: tuple[int, ...] = (1, 2, 4, 8)
    threads: tuple[int, ...] = ()
    device: str = "auto"
    picture: str | None = None
    load_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.warmup < 0:
            raise ConfigError(f"iterations must be >= 1 and warmup >= 0, got {self.iterations} and {self.warmup}")
        if not self.batches or min(self.batches) < 1 or (self.threads and min(self.threads) < 1):
            raise ConfigError(f"batches and threads must be >= 1, got {self.batches} and {self.threads}")

    @property
    def rounds(self) -> int:
        """Rounds of each interleaved measurement: 4 calls each, so about as many calls as `iterations`."""
        return max(3, min(50, self.iterations // 4))

    @property
    def sweep_threads(self) -> tuple[int, ...]:
        """The thread counts; all usable cores, then one, unless they were named."""
        return tuple(dict.fromkeys(self.threads or (usable_cores(), 1)))


def profile_model(
    path_or_name: str,
    config: ProfileConfig,
    *,
    clock: Clock = time.perf_counter,
    progress: Callable[[str], None] = lambda part: None,
) -> ProfileReport:
    """Everything about one model. Parts that it or this machine does not allow are noted, not raised.

    Args:
        path_or_name: as `load_model` takes it.
        config: what and how often.
        clock: seconds, monotonic.
        progress: told each part before it begins.

    Raises:
        CourseError: the model cannot be loaded or run at all.
    """
    threads = config.sweep_threads
    few = max(3, config.iterations // 5)
    effort = Effort(threads[0], few, config.rounds, clock)

    def load(count: int | None, device: str = config.device) -> Model:
        return load_model(path_or_name, device=device, threads=count, **config.load_options)

    progress("cold start")
    model, cold = cold_start(lambda: load(threads[0]), batch=config.batches[0], clock=clock)
    try:
        described = describe(model)
        feeds = sample_feeds(model, batch=config.batches[0])
        progress("latency")
        latency, resources = profile_latency(
            model, feeds, iterations=config.iterations, warmup=config.warmup, clock=clock
        )
        inner = max(1, round(BAR_FROM_MS / max(latency.summary.p50, 0.01)))  # so that a timing is worth its noise
        overhead = latency_overhead(lambda: model.predict(feeds), rounds=config.rounds, inner=inner, clock=clock)
        progress("batch sizes")
        batches, batch_note = usable_batches(model, config.batches)
        by_batch = sweep_batches(model, batches, repeats=few, clock=clock)
        progress("stages")
        stages, stage_note = stages_or_note(model, config.picture, repeats=few, clock=clock)
        progress("layers and memory")
        inside = look_inside(model, locate(path_or_name), feeds, effort)
        progress("devices and runtimes")
        comparison, rival = compare(model, locate(path_or_name), feeds, load, effort)
    finally:
        model.close()
    by_threads: tuple[ThreadPoint, ...] = ()
    thread_note = "not measured: on a device, the threads of the CPU hardly matter"
    if described["device"] == "cpu":
        thread_note = ""
        progress("threads")
        by_threads = sweep_threads(load, threads, rounds=config.rounds, batch=config.batches[0], clock=clock)
    notes = {"batches": batch_note, "threads": thread_note, "stages": stage_note, "layers": inside.note}
    return ProfileReport(
        model=described,
        settings={
            "iterations": config.iterations,
            "warmup": config.warmup,
            "batches": list(batches),
            "threads": list(threads),
        },
        cold=cold,
        latency=latency,
        resources=resources,
        batches=by_batch,
        threads=by_threads,
        stages=stages,
        layers=inside.layers,
        rival=rival,
        activations=inside.activations,
        comparison=comparison,
        overhead=overhead,
        instrument_us=instrument_us(clock=clock),
        notes={part: note for part, note in notes.items() if note},
    )


def render(report: ProfileReport, *, top: int = 15) -> None:
    """Print the profile as tables."""
    print(f"{report.title}, {threads_text(report.settings['threads'][0])}")
    for table in tables(report, top=top):
        print()
        if table.rows:
            render_table(table.title, table.columns, table.rows)
        else:
            print(table.title)
        if table.text:
            print(table.text)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Profile a model: latency, layers, memory, devices.")
    parser.add_argument("--model", required=True, help="a model file or the name of a zoo model")
    parser.add_argument("--iterations", type=int, default=100, help="timed inferences (default: %(default)s)")
    parser.add_argument("--warmup", type=int, default=10, help="untimed ones before (default: %(default)s)")
    parser.add_argument("--batch", type=_counts, default=(1, 2, 4, 8), metavar="N,N", help="sizes (default: 1,2,4,8)")
    parser.add_argument("--threads", type=_counts, default=(), metavar="N,N", help="counts (default: all cores, 1)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--arch", help="architecture of a PyTorch file that holds weights only")
    parser.add_argument("--trust-pickle", action="store_true", help="let a pickled PyTorch module run its code")
    parser.add_argument("--picture", metavar="FILE", help="picture for the stages (default: a made-up JPEG)")
    parser.add_argument("--top", type=int, default=15, help="layers to list (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the record (schema ml-inference/profile/1)")
    parser.add_argument("--html", metavar="FILE", help="write one page with plots")
    parser.add_argument("--trace", metavar="FILE", help="write a trace for ui.perfetto.dev")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, profile, render."""
    args = parse_args(argv)
    options = {"arch": args.arch, "trust_pickle": args.trust_pickle}
    config = ProfileConfig(
        iterations=args.iterations,
        warmup=args.warmup,
        batches=args.batch,
        threads=args.threads,
        device=args.device,
        picture=args.picture,
        load_options={name: value for name, value in options.items() if value},
    )
    report = profile_model(args.model, config, progress=_say)
    render(report, top=args.top)
    if args.json:
        write_json(args.json, report.as_dict())
    if args.html:
        write_page(args.html, report)
    if args.trace:
        write_trace(args.trace, report.title, tracks(report))
    return EXIT_FAILED if report.overhead_passes is False else EXIT_OK


def describe(model: Model) -> dict[str, Any]:
    """Name, format, device, inputs and outputs of a model, ready for JSON."""
    return {
        "name": model.name,
        "format": model.format,
        "device": model.device,
        "inputs": [{"name": spec.name, "spec": spec.describe()} for spec in model.inputs],
        "outputs": [{"name": spec.name, "spec": spec.describe()} for spec in model.outputs],
    }


def _say(part: str) -> None:
    """Progress goes to stderr and only to people: a profile of a large model takes minutes."""
    if sys.stderr.isatty():
        print(f"measuring {part} ...", file=sys.stderr)


def _counts(text: str) -> tuple[int, ...]:
    """ "1,2,4" as numbers; argparse turns the error into its own."""
    try:
        counts = tuple(int(part) for part in text.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(
            f"whole numbers of at least 1 with commas between them are wanted, got {text!r}"
        )
    return counts


if __name__ == "__main__":
    raise SystemExit(run(main))
