"""What the embedded models are for: streets that neither training, calibration nor tuning has ever seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.comparison.average_precision import Ap50
from benchmarks.comparison.tasks import Judgement, MeanScore, Task
from solutions.core.vision.detection import nms
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.core.vision.scenes import CLASSES
from solutions.core.zoo.grid import decode_grid
from solutions.core.zoo.registry import CLASSIFIER, cache_folder
from solutions.core.zoo.training.dataset import INPUT_HW, StreetData, street_data
from solutions.phase2_optimization.quantization.running import Feeds, Predict

UNSEEN_SEED = 6_000_000  # beyond the seeds of training (0) and of the recipe's own held-out scores (1,000,000)
CALIBRATION_PICTURES = 40
_TRAINING_SEED = 0
_SCORE_THRESHOLD, _IOU_THRESHOLD = 0.02, 0.6  # those of the training recipe's scores


def street_task(name: str, *, pictures: int, batch: int) -> Task:
    """The work of an embedded model, on rendered pictures that are kept in the cache folder.

    Args:
        name: of the model.
        pictures: to judge by; from each come at most five crops for the classifier.
        batch: crops at once, timed and judged; detectors take one picture at a time.
    """
    learnt = _pictures(_TRAINING_SEED, CALIBRATION_PICTURES, "calibration")
    unseen = _pictures(UNSEEN_SEED, pictures, "held-out")
    if name == CLASSIFIER:
        return _classifier_task(learnt, unseen, batch)
    judged = _frames(unseen)
    return Task("AP50", _frames(learnt), judged, judged[0], partial(_judge_detector, judged=judged, data=unseen))


def _classifier_task(learnt: StreetData, unseen: StreetData, batch: int) -> Task:
    judged = _crops(unseen.crops, batch)
    labels = unseen.crop_labels[: len(judged) * batch]

    def judge(run: Predict) -> Judgement:
        answers = [run(feeds) for feeds in judged]
        found = np.stack([np.concatenate([each[place] for each in answers]).argmax(1) for place in (0, 1)], 1)
        return MeanScore((found == labels).all(1).astype(np.float64))

    return Task("class and colour right", _crops(learnt.crops, batch), judged, judged[0], judge)


def _judge_detector(run: Predict, judged: Sequence[Feeds], data: StreetData) -> Judgement:
    found, truth = [], []
    for row, feeds in enumerate(judged):
        cells = decode_grid(run(feeds)[0][0], classes=len(CLASSES), score_threshold=_SCORE_THRESHOLD)
        found.append(nms(cells, iou_threshold=_IOU_THRESHOLD))
        labels = slice(data.starts[row], data.starts[row + 1])
        truth.append(TruthBoxes(data.boxes[labels], data.class_ids[labels], data.ignore[labels]))
    return Ap50(found, truth)


def _frames(data: StreetData) -> tuple[Feeds, ...]:
    planes = (image.transpose(2, 0, 1)[None] for image in data.images)
    return tuple({"images": np.ascontiguousarray(plane, np.float32)} for plane in planes)


def _crops(crops: np.ndarray, batch: int) -> tuple[Feeds, ...]:
    """Whole batches: what is left over would be another size, for which compilers start anew."""
    planes = np.ascontiguousarray(crops, np.float32)
    return tuple({"crops": planes[end - batch : end]} for end in range(batch, len(planes) + 1, batch))


def _pictures(first_seed: int, count: int, what: str) -> StreetData:
    folder = cache_folder() / "benchmarks"
    return street_data(first_seed, count, INPUT_HW, Path(folder), progress=_shower(what, count))


def _shower(what: str, count: int) -> Callable[[int], None]:
    """Said once, and only where pictures are really rendered, which takes a quarter of a minute."""
    said: list[int] = []

    def show(done: int) -> None:
        if not said:
            print(f"rendering {count} {what} pictures, once: they stay in {cache_folder()}", file=sys.stderr)
        said.append(done)

    return show
