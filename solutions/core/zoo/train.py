"""Train the embedded models on the synthetic street: `python -m solutions.core.zoo.train detector --tier small`.

Seeded, on the CPU, resumable: a run that is stopped goes on from its last checkpoint. Pictures are rendered once into
the cache folder (about 3 GB, ten minutes).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional

from solutions.core.scripts import run, write_json
from solutions.core.vision.detection import nms
from solutions.core.vision.detection_metrics import TruthBoxes, average_precision
from solutions.core.vision.scenes import CLASSES, COLOURS
from solutions.core.zoo.export import export_classifier, export_detector, load_weights, save_weights
from solutions.core.zoo.grid import decode_grid
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import CLASSIFIER, SCORES, TIERS, WEIGHTS, cache_folder
from solutions.core.zoo.training.augment import WHOLE, WINDOWS, crop_images, detection_batch
from solutions.core.zoo.training.dataset import (
    CROP_HW,
    HELD_OUT_IMAGES,
    HELD_OUT_SEED,
    INPUT_HW,
    PICTURE_HW,
    StreetData,
    street_data,
)
from solutions.core.zoo.training.loop import Schedule, train
from solutions.core.zoo.training.losses import detection_loss

BATCH, CROP_BATCH = 32, 256
WHOLE_STEPS = {"small": 7_000, "medium": 3_000, "large": 6_000}
WINDOW_STEPS = {"small": 3_000, "medium": 3_000, "large": 2_500}
CLASSIFIER_STEPS = 3_000


def train_detector(tier: str, images: int, out: Path, cache: Path, *, seed: int = 0) -> dict[str, float]:
    """Train, export and score one tier; the scores on held-out seeds."""
    torch.manual_seed(seed)
    with _progress() as bars:
        data = _data(bars, 0, images, PICTURE_HW, cache)
        held_out = _data(bars, HELD_OUT_SEED, HELD_OUT_IMAGES, INPUT_HW, cache)

        def loss(model, batch):  # type: ignore[no-untyped-def]
            pictures, targets = batch
            with torch.autocast("cpu", torch.bfloat16):
                grid = model(pictures.to(memory_format=torch.channels_last))
            return detection_loss(grid, targets, classes=len(CLASSES))

        model: torch.nn.Module = StreetNet(SIZES[tier])
        for stage, view, schedule in (
            ("whole", WHOLE, Schedule(WHOLE_STEPS[tier])),
            ("windows", WINDOWS, Schedule(WINDOW_STEPS[tier], peak_rate=1.5e-3)),
        ):

            def batch(step, view=view, stage=stage):  # type: ignore[no-untyped-def]
                chance = np.random.default_rng((seed, len(stage), step))
                return detection_batch(data, chance.integers(len(data), size=BATCH), view, chance)

            title = f"train {tier}, {stage}"
            bar = bars.add_task(title, total=schedule.steps)
            checkpoint = cache / f"street-{tier}-{stage}.checkpoint"
            model = train(model, batch, loss, schedule, checkpoint, progress=_shower(bars, bar, title))
    stem = out / f"street-{tier}"
    save_weights(model, stem.with_suffix(".pt"))
    kept = StreetNet(SIZES[tier])
    load_weights(kept, stem.with_suffix(".pt"))
    export_detector(kept, stem.with_suffix(".onnx"), labels=CLASSES, input_hw=INPUT_HW)
    return score_detector(kept, held_out)


def train_classifier(images: int, out: Path, cache: Path, *, seed: int = 0) -> dict[str, float]:
    """Train, export and score the crop classifier; the scores on held-out seeds."""
    torch.manual_seed(seed)
    with _progress() as bars:
        data = _data(bars, 0, images, PICTURE_HW, cache)
        held_out = _data(bars, HELD_OUT_SEED, HELD_OUT_IMAGES, INPUT_HW, cache)

        def batch(step: int):  # type: ignore[no-untyped-def]
            chance = np.random.default_rng((seed, step))
            rows = chance.integers(len(data.crops), size=CROP_BATCH)
            return crop_images(data.crops[rows], chance), torch.from_numpy(data.crop_labels[rows])

        def loss(model, batch):  # type: ignore[no-untyped-def]
            crops, labels = batch
            with torch.autocast("cpu", torch.bfloat16):
                classes, colours = model(crops.to(memory_format=torch.channels_last))
            smooth = 0.05  # a crop may show nothing that tells white from grey in the shade
            return functional.cross_entropy(
                classes.float(), labels[:, 0], label_smoothing=smooth
            ) + functional.cross_entropy(colours.float(), labels[:, 1], label_smoothing=smooth)

        bar = bars.add_task("train classifier", total=CLASSIFIER_STEPS)
        checkpoint = cache / "street-classifier.checkpoint"
        model = train(
            CropNet(),
            batch,
            loss,
            Schedule(CLASSIFIER_STEPS),
            checkpoint,
            progress=_shower(bars, bar, "train classifier"),
        )
    stem = out / "street-classifier"
    save_weights(model, stem.with_suffix(".pt"))
    kept = load_weights(CropNet(), stem.with_suffix(".pt"))
    export_classifier(kept, stem.with_suffix(".onnx"), labels=CLASSES, colours=COLOURS, input_hw=CROP_HW)
    return score_classifier(kept, held_out)


@torch.inference_mode()
def score_detector(model: torch.nn.Module, data: StreetData) -> dict[str, float]:
    """AP50 over all pictures of `data`: the mean over classes, and each class."""
    frames = []
    for row in range(len(data)):
        images = torch.from_numpy(data.images[row].transpose(2, 0, 1)[None].astype(np.float32))
        found = nms(
            decode_grid(model(images)[0].numpy(), classes=len(CLASSES), score_threshold=0.02), iou_threshold=0.6
        )
        labels = slice(data.starts[row], data.starts[row + 1])
        frames.append((found, TruthBoxes(data.boxes[labels], data.class_ids[labels], data.ignore[labels])))
    result = average_precision(frames)
    return {"ap50": result.mean, **{f"ap50_{CLASSES[key]}": value for key, value in result.ap.items()}}


@torch.inference_mode()
def score_classifier(model: torch.nn.Module, data: StreetData) -> dict[str, float]:
    """Shares of crops whose class, colour and both are right."""
    classes, colours = model(crop_images(data.crops, None))
    right = torch.stack((classes.argmax(1), colours.argmax(1)), 1) == torch.from_numpy(data.crop_labels)
    return {
        "class_accuracy": float(right[:, 0].float().mean()),
        "colour_accuracy": float(right[:, 1].float().mean()),
        "both_accuracy": float(right.all(1).float().mean()),
    }


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


def _data(bars: Progress, first_seed: int, images: int, size_hw: tuple[int, int], cache: Path) -> StreetData:
    bar = bars.add_task("render" if first_seed == 0 else "render held-out", total=images)
    data = street_data(first_seed, images, size_hw, cache, progress=lambda done: bars.update(bar, completed=done))
    bars.update(bar, completed=images)
    return data


def _shower(bars: Progress, bar, name: str):  # type: ignore[no-untyped-def]
    mean = [0.0]

    def show(step: int, loss: float) -> None:
        mean[0] = loss if step == 1 else 0.98 * mean[0] + 0.02 * loss
        bars.update(bar, completed=step, description=f"{name} loss {mean[0]:.3f}")

    return show


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("detector", "classifier"))
    parser.add_argument("--tier", choices=TIERS, default="small", help="detector size (default small)")
    parser.add_argument("--images", type=int, default=7_000, help="rendered training pictures (default 7000)")
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="folder for the .pt and .onnx files and the held-out scores"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Train what the command line names."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cache = cache_folder() / "training"
    cache.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "detector":
        scores = train_detector(args.tier, args.images, args.out, cache)
    else:
        scores = train_classifier(args.images, args.out, cache)
    for name, value in scores.items():
        print(f"{name} {value:.4f}")
    _keep_scores(args.out, f"street-{args.tier}" if args.what == "detector" else CLASSIFIER, scores)
    return 0


def _keep_scores(folder: Path, name: str, scores: dict[str, float]) -> None:
    """Put the scores beside the weights, where the registry reads them."""
    path = folder / SCORES.name
    known = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, known | {name: {key: round(value, 4) for key, value in scores.items()}})


if __name__ == "__main__":
    raise SystemExit(run(main))
