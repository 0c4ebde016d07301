"""The auto-tuner beside a full sweep of the same candidates: is its choice as good, in a third of the time?

    python benchmarks/tuner_sweep.py --json out.json
    MLI_DATA=FOLDER python benchmarks/tuner_sweep.py --models yolox_nano --json out.json

Per model: the tuner runs first, so that whatever the operating system or a compiler keeps helps the sweep; then every
candidate is prepared, judged and measured to the end. The tuner's choice and the sweep's best are then measured in
interleaved pairs. Exit code 1 where the choice takes more than 1.05 times the time of the sweep's best, or the tuner
more than a third of the sweep's. One thread per candidate unless --threads asks otherwise; about 10 minutes for the
usual four models on two quiet cores, most of it spent by torch.compile and AOTInductor in the sweep. YOLOX-nano is
calibrated on real pictures and may lose one point of AP50 on pedestrians of vtest.avi; random weights are not judged.

On a busy machine --cpu-time takes the processor time of this process for the clock: what neighbours take does not
count, nor do child processes (the C++ compiler, memory measurements), which are the sweep's more than the tuner's.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from solutions.core import scripts
from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import PairedRatio
from solutions.core.measure.profiling import Clock, measure_pair
from solutions.core.measure.report import host_record, render_table, versions_record
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.core.vision.mot import read_truth
from solutions.core.zoo.registry import embedded_names
from solutions.phase2_optimization.quantization.judges import Judge
from solutions.phase2_optimization.tuning.candidates import Candidate, Wanted
from solutions.phase2_optimization.tuning.pictures import Samples, batch_of
from solutions.phase2_optimization.tuning.subject import Subject, find_subject
from solutions.phase2_optimization.tuning.tuner import Settings, Tuning, samples_for, sweep, tune
from solutions.phase2_optimization.tuning.workshop import Workshop
from solutions.phase4_production.video_analysis.detector import load_detector
from solutions.phase4_production.video_analysis.detector_judge import DetectorJudge, LabelledSet

YOLOX = "yolox_nano"
_EVERY = 8  # of vtest.avi's 795 frames: 100 are judged
MODELS = ("street-small", "mobilenet_v3_small", "resnet18", YOLOX)
CHOICE_BAR, TIME_BAR = 1.05, 1 / 3


def compare(name: str, settings: Settings, *, rounds: int, samples: int, clock: Clock) -> dict[str, Any]:
    """Everything about one model.

    Args:
        name: of the zoo, "yolox_nano", or a file.
        settings: of tuner and sweep alike.
        rounds: of the paired measurement at the end.
        samples: to calibrate and judge with.
        clock: seconds.
    """
    with tempfile.TemporaryDirectory(prefix="tuner-sweep-") as folder:
        workshop = Path(folder)
        subject, found, judge = _model(name, workshop, samples)
        ways: dict[str, Tuning] = {}
        for way, function in (("tuner", tune), ("sweep", sweep)):
            place = workshop / way
            place.mkdir()
            print(f"{name}: {way}", file=sys.stderr, flush=True)
            ways[way] = function(subject, found, settings, folder=place, score=judge, clock=clock, told=_tell)
        chosen, best = (ways[way].choice.candidate for way in ("tuner", "sweep"))
        if chosen is None or best is None:
            raise ConfigError(f"{name}: nothing was chosen: {ways['tuner'].choice.sentence}")
        ratio = _ratio(Workshop(subject, found, workshop), found, best, chosen, settings, rounds, clock)
    share = ways["tuner"].seconds / ways["sweep"].seconds
    return {
        "model": name,
        "candidates": len(ways["sweep"].rows),
        "chosen": chosen.label,
        "best_of_sweep": best.label,
        "chosen_over_best": ratio.as_dict(),
        "tuner_s": ways["tuner"].seconds,
        "tuner_chosen_s": ways["tuner"].chosen_s,
        "sweep_s": ways["sweep"].seconds,
        "time_share": share,
        "calls": {way: sum(row.latency.n for row in found.rows if row.latency) for way, found in ways.items()},
        "rows": {way: [row.as_dict() for row in found.rows] for way, found in ways.items()},
        "missing": [{"label": each.label, "reason": each.reason} for each in ways["sweep"].missing],
    }


def failures(result: dict[str, Any]) -> list[str]:
    """The bars that a model missed, as sentences."""
    found = []
    over = result["chosen_over_best"]["ratio"]
    if over > CHOICE_BAR:
        found.append(
            f"{result['model']}: the tuner chose {result['chosen']}, which takes {over:.2f} times the time of "
            f"{result['best_of_sweep']}"
        )
    if result["time_share"] > TIME_BAR:
        found.append(f"{result['model']}: the tuner took {result['time_share']:.2f} of the sweep's time")
    return found


def _model(name: str, workshop: Path, samples: int) -> tuple[Subject, Samples, Judge | None]:
    if name == YOLOX:
        data = Path(os.environ["MLI_DATA"])
        subject = find_subject(data / "models" / f"{YOLOX}.onnx", workshop=workshop)
        pictures = {"folder": data / "images" / "coco_val", "pixels": "raw-bgr", "resize": "letterbox"}
        return subject, samples_for(subject, count=samples, **pictures), pedestrians(subject.graph, data)
    subject = find_subject(name, workshop=workshop, random=name not in embedded_names() and not Path(name).exists())
    return subject, samples_for(subject, count=samples), None


def pedestrians(graph: Path, data: Path) -> DetectorJudge:
    """AP50 of people in vtest.avi, which is MOT15's PETS09-S2L1, frame for frame."""
    detector = load_detector(graph, device="cpu", threads=1, wanted=["person"])
    truth = read_truth(data / "mot" / "MOT15" / "PETS09-S2L1" / "gt" / "gt.txt")[::_EVERY]
    boxes = [TruthBoxes(one.boxes, one.class_ids, one.scores == 0) for one in truth]
    capture = cv2.VideoCapture(str(data / "videos" / "vtest.avi"))
    frames = [frame for index in range(len(truth) * _EVERY) if (frame := capture.read()[1]) is not None][::_EVERY]
    capture.release()
    return DetectorJudge(detector, {"pedestrians": LabelledSet(frames, boxes[: len(frames)], class_aware=False)})


def _ratio(
    workshop: Workshop,
    samples: Samples,
    best: Candidate,
    chosen: Candidate,
    settings: Settings,
    rounds: int,
    clock: Clock,
) -> PairedRatio:
    """The choice's time per input over the best's; 1 where they are the same candidate."""
    if chosen == best:
        return PairedRatio(1.0, 1.0, 1.0, rounds)
    feeds = batch_of(samples.judged, settings.batch)
    first, second = (workshop.ready(candidate, feeds, draft=True) for candidate in (best, chosen))
    try:
        ratio = measure_pair(first.call, second.call, rounds=rounds, inner=3, clock=clock).ratio
    finally:
        first.close()
        second.close()
    scale = first.items / second.items
    return PairedRatio(ratio.ratio * scale, ratio.low * scale, ratio.high * scale, ratio.rounds)


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(
        description="The auto-tuner beside a full sweep: about 10 minutes for the usual four models on two quiet cores."
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="zoo names or files (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="counts to try (default: 1)")
    parser.add_argument("--runtimes", nargs="+", default=[], help="only these")
    parser.add_argument("--samples", type=int, default=64, help="half of them judge (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=40, help="of the paired measurement (default: %(default)s)")
    parser.add_argument("--no-memory", action="store_true", help="leave memory out of both")
    parser.add_argument(
        "--cpu-time", action="store_true", help="for a busy machine: the processor time of this process"
    )
    parser.add_argument("--json", help="write the results here")
    args = parser.parse_args(argv)
    clock: Clock = time.process_time if args.cpu_time else time.perf_counter
    settings = Settings(wanted=Wanted(tuple(args.threads), runtimes=tuple(args.runtimes)), memory=not args.no_memory)
    names = [name for name in args.models if name != YOLOX or os.environ.get("MLI_DATA")]
    if len(names) < len(args.models):
        print(f"not run here: {YOLOX} lies in the folder that MLI_DATA names, and it names none", file=sys.stderr)
    import torchvision  # noqa: F401 - seconds to import, and neither tuner nor sweep should pay for it

    results = [compare(name, settings, rounds=args.rounds, samples=args.samples, clock=clock) for name in names]
    rows = [
        (
            result["model"],
            result["candidates"],
            result["chosen"],
            result["best_of_sweep"],
            result["chosen_over_best"]["ratio"],
            result["tuner_s"],
            result["sweep_s"],
            result["time_share"],
        )
        for result in results
    ]
    columns = ("model", "candidates", "chosen", "best of sweep", "chosen / best", "tuner s", "sweep s", "share")
    render_table("The tuner beside a sweep" + (" (processor time)" if args.cpu_time else ""), columns, rows)
    missed = [sentence for result in results for sentence in failures(result)]
    for sentence in missed:
        print(sentence, file=sys.stderr)
    if args.json:
        record = {"schema": "ml-inference/tuner-sweep/1", "host": host_record(), "versions": versions_record()}
        scripts.write_json(
            args.json,
            {**record, "clock": "cpu" if args.cpu_time else "wall", "results": results, "missed": missed},
        )
    return scripts.EXIT_FAILED if missed else scripts.EXIT_OK


if __name__ == "__main__":
    raise SystemExit(scripts.run(main))
