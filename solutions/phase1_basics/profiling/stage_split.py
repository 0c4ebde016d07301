"""Where the time from a picture file to an answer goes: reading it, preprocessing, the model, postprocessing.

On small models the stages around the model often take longer than the model, and then no compiler will help.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.measure.metrics import LatencySummary
from solutions.core.measure.profiling import Clock
from solutions.core.tensors import Model
from solutions.phase1_basics.prediction.classifier import Classifier, StageSeconds
from solutions.phase1_basics.prediction.image_files import read_image
from solutions.phase1_basics.prediction.preprocessing import Preprocessing

SAMPLE_HW = (480, 640)
STAGES = ("load", "preprocess", "infer", "postprocess")


@dataclass(frozen=True, slots=True)
class StageSplit:
    """Latencies of each stage over the same pictures, and of all together.

    `note` says what is not in it; `picture` what was read.
    """

    stages: dict[str, LatencySummary]
    total: LatencySummary
    picture: str
    note: str = ""

    def share(self, stage: str) -> float:
        """The stage's fraction of the summed mean times."""
        total = sum(latency.mean for latency in self.stages.values())
        return self.stages[stage].mean / total if total else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return {
            "picture": self.picture,
            "note": self.note,
            "total_ms": self.total.as_dict(),
            "stages": {
                name: {"latency_ms": latency.as_dict(), "share": self.share(name)}
                for name, latency in self.stages.items()
            },
        }


def split_stages(
    model: Model,
    *,
    picture: str | Path | None = None,
    repeats: int = 20,
    warmup: int = 3,
    clock: Clock = time.perf_counter,
) -> StageSplit:
    """The stages of `repeats` predictions of one picture, after `warmup` that do not count.

    Args:
        model: with one input of pictures.
        picture: a file; a made-up JPEG of 640 x 480 unless given. It is in the page cache: a cold disk costs more.
        repeats: timed predictions.
        warmup: predictions before them.
        clock: seconds, monotonic.

    Raises:
        ConfigError: the model takes no pictures, or a count is out of range.
        ImageError: the file is no picture.
    """
    if repeats < 1 or warmup < 0:
        raise ConfigError(f"a stage split needs repeats >= 1 and warmup >= 0, got {repeats} and {warmup}")
    with tempfile.TemporaryDirectory(prefix="stage-split-") as folder:
        file = Path(picture) if picture is not None else write_sample(Path(folder) / "sample.jpg")
        seconds, note = _run(model, file, warmup + repeats, clock)
        what = str(picture) if picture is not None else f"a made-up JPEG of {SAMPLE_HW[1]} x {SAMPLE_HW[0]}"
    return of_seconds(seconds[warmup:], what, note)


def of_seconds(seconds: Sequence[StageSeconds], picture: str, note: str = "") -> StageSplit:
    """The summary of these predictions; a stage that never took time where a note explains it is left out."""
    stages = {
        stage: LatencySummary.of([getattr(each, f"{stage}_s") for each in seconds])
        for stage in STAGES
        if not (note and all(getattr(each, f"{stage}_s") == 0 for each in seconds))
    }
    return StageSplit(stages, LatencySummary.of([each.total_s for each in seconds]), picture, note)


def write_sample(path: Path, *, seed: int = 0) -> Path:
    """A JPEG with about the detail of a photograph, which decides how long it takes to decode."""
    height, width = SAMPLE_HW
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(seed + 1).normal(0, 4, smooth.shape)
    pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not written:
        raise ConfigError("OpenCV could not encode a JPEG: give a picture of your own with --picture")
    path.write_bytes(data.tobytes())
    return path


def _run(model: Model, file: Path, count: int, clock: Clock) -> tuple[list[StageSeconds], str]:
    """The seconds of each prediction, and a note where the answer is left undecoded."""
    try:
        classifier = Classifier(model, max_batch=1, clock=clock)
        return [batch.seconds for _ in range(count) for batch in classifier.predict_batches([file])], ""
    except ConfigError:
        preprocessing = Preprocessing.of(model)  # raises when it takes no pictures at all
    seconds = []
    for _ in range(count):
        start = clock()
        frame = read_image(file)
        loaded = clock()
        feeds = {preprocessing.input_name: preprocessing.batch([frame])}
        ready = clock()
        model.predict(feeds)
        seconds.append(StageSeconds(loaded - start, ready - loaded, clock() - ready))
    return seconds, "no classifier: its answer is not decoded here, so postprocessing is not in the split"
