"""The prediction half of `model_loader.py`'s command line: its options, and the answers as text and JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from solutions.core.errors import ImageError
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_OK, write_json
from solutions.core.tensors import Model
from solutions.phase1_basics.prediction.classifier import BatchPredictions, Classifier, Picture, StageSeconds
from solutions.phase1_basics.prediction.image_files import image_paths
from solutions.phase1_basics.prediction.labels import read_labels
from solutions.phase1_basics.prediction.postprocessing import Activation, Postprocessing, Prediction
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS, Preprocessing


def add_prediction_options(parser: argparse.ArgumentParser) -> None:
    """Add --image, --top, --labels, --pixels and --activation."""
    parser.add_argument("--image", nargs="+", metavar="PATH", help="classify these pictures, or all in a folder")
    parser.add_argument("--top", type=int, default=5, help="classes per picture (default: %(default)s)")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one per line")
    parser.add_argument(
        "--pixels", choices=sorted(PIXEL_FORMATS), help="how the model was trained to see pixels, if it does not tell"
    )
    parser.add_argument(
        "--activation", choices=get_args(Activation), help="what turns its scores into probabilities (default: auto)"
    )


def classify_files(model: Model, args: argparse.Namespace) -> int:
    """Print the best classes of every picture; the exit code.

    A picture that cannot be read among several is reported on stderr, the others are answered, and the code is 2.

    Raises:
        CourseError: nothing can be classified.
    """
    paths = image_paths(args.image)
    labels = read_labels(args.labels) if args.labels else None
    classifier = Classifier(
        model,
        preprocessing=Preprocessing.of(model, pixels=PIXEL_FORMATS[args.pixels] if args.pixels else None),
        postprocessing=Postprocessing.of(model, labels=labels, activation=args.activation),
        top=args.top,
        max_batch=args.batch,
    )
    if classifier.preprocessing.assumed:
        print(f"assumed, as {model.name} does not tell: {'; '.join(classifier.preprocessing.assumed)}", file=sys.stderr)
    failures: dict[str, str] = {}

    def report(picture: Picture, error: ImageError) -> None:
        failures[str(picture)] = str(error)
        print(f"error: {error}", file=sys.stderr)

    answers: list[list[Prediction]] = []
    batches: list[BatchPredictions] = []
    for batch in classifier.predict_batches(paths, on_unreadable=report if len(paths) > 1 else None):
        for path, found in zip(paths[len(answers) :], batch.predictions, strict=False):
            _print(path, found)
        answers += batch.predictions
        batches.append(batch)
    seconds = sum((batch.seconds for batch in batches), StageSeconds())
    calls = sum(batch.calls for batch in batches)
    classified = len(paths) - len(failures)
    print(
        f"pictures: {classified}, calls: {calls} of at most {classifier.batch_size}; "
        f"load {seconds.load_s * 1e3:.1f} ms, preprocess {seconds.preprocess_s * 1e3:.1f} ms, "
        f"infer {seconds.infer_s * 1e3:.1f} ms, postprocess {seconds.postprocess_s * 1e3:.1f} ms, cold"
    )
    if args.json:
        write_json(args.json, _as_json(model, paths, answers, failures, seconds, calls))
    return EXIT_CANNOT_RUN if failures else EXIT_OK


def _print(path: Path, found: list[Prediction]) -> None:
    if found:
        print(path)
    for prediction in found:
        print(f"  {prediction.score:8.4f}  {prediction.label}")


def _as_json(
    model: Model,
    paths: list[Path],
    answers: list[list[Prediction]],
    failures: dict[str, str],
    seconds: StageSeconds,
    calls: int,
) -> dict[str, Any]:
    return {
        "model": model.name,
        "format": model.format,
        "device": model.device,
        "images": [
            {
                "path": str(path),
                "predictions": [{"class_id": p.class_id, "label": p.label, "score": p.score} for p in found],
                "error": failures.get(str(path)),
            }
            for path, found in zip(paths, answers, strict=True)
        ],
        "calls": calls,
        "seconds": {
            "load": seconds.load_s,
            "preprocess": seconds.preprocess_s,
            "infer": seconds.infer_s,
            "postprocess": seconds.postprocess_s,
        },
    }
