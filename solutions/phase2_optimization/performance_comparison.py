"""Which way of running a model is best here? Every candidate is measured, as far as the decision needs; one is chosen.

    python solutions/phase2_optimization/performance_comparison.py --model mobilenet_v3_small --random
    python solutions/phase2_optimization/performance_comparison.py --model resnet18.pth --calibration pictures \\
        --batch 8 --objective throughput --slo-ms 200 --html report.html --out chosen.onnx
    python solutions/phase2_optimization/performance_comparison.py --model street-small --threads 1 --sweep

Candidates are runtime x precision x threads x graph level. They race: whoever is slower than the leader beyond doubt is
out after three rounds, and what cannot win is not even prepared (`tuning.race`). Whoever is fast has to answer well
before it may win. The verdict is kept for this model, machine, versions and question; `--fresh` measures again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError, CourseError
from solutions.core.scripts import EXIT_FAILED, EXIT_OK, run, write_json
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS
from solutions.phase2_optimization.tuning.candidates import OBJECTIVES, RUNTIMES, Candidate, Wanted
from solutions.phase2_optimization.tuning.int8_on_onnxruntime import Int8Report, explain_int8
from solutions.phase2_optimization.tuning.pictures import Samples, batch_of
from solutions.phase2_optimization.tuning.record import SCHEMA, tuning_record
from solutions.phase2_optimization.tuning.report import render, write_page
from solutions.phase2_optimization.tuning.subject import Subject, find_subject
from solutions.phase2_optimization.tuning.tuner import Settings, Tuning, samples_for, sweep, tune
from solutions.phase2_optimization.tuning.verdict_cache import keep_verdict, stored_verdict, verdict_key
from solutions.phase2_optimization.tuning.workshop import Workshop


def compare(args: argparse.Namespace, workshop: Path) -> dict[str, Any]:
    """The record of a tuning or sweep, measured now or known from before.

    Raises:
        CourseError: the model, the samples or the settings cannot be used.
    """
    settings = settings_from(args)
    loader = {"arch": args.arch} if args.arch else {}
    subject = find_subject(args.model, workshop=workshop, random=args.random, loader=loader)
    taken = {"count": args.samples, "pixels": args.pixels, "resize": args.resize}
    asked = {**settings.as_dict(), **taken, "sweep": args.sweep, "name": subject.name}
    key = verdict_key(subject.digest(), asked, args.calibration)
    known = None if args.fresh or args.out else stored_verdict(key)
    if known is not None:
        print(f"known from {known['when']}, measured on this machine with these versions; --fresh measures again")
        return known
    samples = samples_for(subject, folder=args.calibration, **taken)
    told = (lambda line: None) if args.quiet else (lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    tuning = (sweep if args.sweep else tune)(subject, samples, settings, folder=workshop, told=told)
    record = tuning_record(
        subject,
        samples,
        settings,
        tuning,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        way="sweep" if args.sweep else "race",
        int8=explained(subject, samples, settings, tuning, workshop),
    )
    keep_verdict(key, record)
    if args.out:
        keep_model(tuning, Path(args.out))
    return record


def explained(
    subject: Subject, samples: Samples, settings: Settings, tuning: Tuning, workshop: Path
) -> Int8Report | None:
    """How int8 did on ONNX Runtime; None where it is not among the candidates or cannot be made."""
    static = next(
        (row for row in tuning.rows if (row.candidate.runtime, row.candidate.precision) == ("onnxruntime", "int8")),
        None,
    )
    if static is None or static.latency is None:
        return None
    try:
        draft = Workshop(subject, samples, workshop).file(static.candidate, draft=True)
        return explain_int8(subject.graph, draft, batch_of(samples.judged, settings.batch))
    except CourseError as error:
        print(f"int8 on ONNX Runtime could not be profiled: {error}", file=sys.stderr)
        return None


def keep_model(tuning: Tuning, out: Path) -> None:
    """Write the file that the choice loads.

    Raises:
        ConfigError: nothing was chosen, or the place cannot be written.
    """
    chosen: Candidate | None = tuning.choice.candidate
    if chosen is None or chosen not in tuning.files:
        raise ConfigError(f"{out} was not written: {tuning.choice.sentence}")
    source = tuning.files[chosen]
    if source.suffix != out.suffix:
        raise ConfigError(f"{chosen.label} loads a {source.suffix} file, and {out.name} is none: name it so.")
    try:
        shutil.copyfile(source, out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}. Choose another place.") from error


def settings_from(args: argparse.Namespace) -> Settings:
    """What the arguments ask for.

    Raises:
        ConfigError: a value out of range.
    """
    try:
        threads = tuple(int(part) for part in args.threads.split(",")) if args.threads else (1, 0)
    except ValueError:
        raise ConfigError(f"--threads takes counts such as 1,2, got {args.threads}") from None
    return Settings(
        batch=args.batch,
        slo_ms=args.slo_ms,
        wanted=Wanted(threads, args.objective, tuple(args.runtimes or ())),
        max_drop=args.max_drop,
        observer=args.observer,
        budget_s=args.budget_s,
        memory=not args.no_memory,
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the ways to run a model here, and choose one.")
    parser.add_argument("--model", required=True, help="an ONNX or PyTorch file, or the name of a zoo model")
    parser.add_argument("--random", action="store_true", help="untrained weights of a zoo model: no download")
    parser.add_argument("--arch", metavar="NAME", help="the network of a PyTorch file that holds weights only")
    parser.add_argument(
        "--sweep", action="store_true", help="measure every candidate to the end: several times as long"
    )
    parser.add_argument("--fresh", action="store_true", help="measure although the verdict is known")
    parser.add_argument("--quiet", action="store_true", help="no line per candidate while it runs")
    wish = parser.add_argument_group("what is wanted")
    wish.add_argument("--batch", type=int, default=1, help="rows per request (default: %(default)s)")
    wish.add_argument("--objective", choices=OBJECTIVES, default="latency", help="(default: %(default)s)")
    wish.add_argument(
        "--slo-ms", type=float, metavar="MS", help="bound of the p99 latency; exit code 1 if none holds it"
    )
    wish.add_argument(
        "--max-drop", type=float, metavar="SHARE", help="the score may fall by this (0.01; 0.05 of others)"
    )
    wish.add_argument("--threads", metavar="N,N", help="counts to try, 0 is all usable cores (default: 1,0)")
    wish.add_argument("--runtimes", nargs="+", choices=RUNTIMES, metavar="NAME", help=f"of {', '.join(RUNTIMES)}")
    wish.add_argument("--budget-s", type=float, metavar="S", help="begin no candidate after that")
    wish.add_argument("--no-memory", action="store_true", help="do not measure memory: saves a process per finalist")
    data = parser.add_argument_group("samples")
    data.add_argument(
        "--calibration",
        metavar="FOLDER",
        help="pictures or .npz samples, half of them to judge by; without, static int8 of trained weights may not win",
    )
    data.add_argument("--samples", type=int, default=128, help="taken from there at most (default: %(default)s)")
    data.add_argument("--pixels", choices=sorted(PIXEL_FORMATS), help="how the model sees pixels, if it does not tell")
    data.add_argument("--resize", choices=("crop", "stretch", "letterbox"), help="likewise")
    data.add_argument("--observer", default="entropy", help="of static int8 (default: %(default)s)")
    files = parser.add_argument_group("files")
    files.add_argument("--out", metavar="FILE", help="write the model file that the choice loads")
    files.add_argument("--json", metavar="FILE", help=f"write the record (schema {SCHEMA})")
    files.add_argument("--html", metavar="FILE", help="write one page with the accuracy-against-latency plot")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, compare, render; exit code 1 when no candidate holds what was asked for."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="tuning-") as folder:
        record = compare(args, Path(folder))
    render(record, model=args.model, kept=args.out or "")
    if args.json:
        write_json(args.json, record)
    if args.html:
        write_page(args.html, record)
    return EXIT_OK if record["choice"]["meets"] else EXIT_FAILED


if __name__ == "__main__":
    raise SystemExit(run(main))
