"""Samples to calibrate and judge with: a folder, the synthetic street for the course's own models, or noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from solutions.core.classroom.crops import street_crops
from solutions.core.tensors import Model
from solutions.core.vision.scenes import StreetScene
from solutions.core.zoo.registry import CLASSIFIER, DETECTORS
from solutions.core.zoo.training.dataset import HELD_OUT_SEED, PICTURE_HW
from solutions.phase1_basics.prediction.preprocessing import PIXEL_FORMATS, Preprocessing
from solutions.phase1_basics.prediction.resizing import Resize
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase2_optimization.quantization.running import Feeds, Predict
from solutions.phase2_optimization.quantization.samples import folder_samples, halves

MOST_CALIBRATED = 32  # ranges settle long before; the others judge


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs of one row each.

    Attributes:
        calibration: to choose ranges by.
        judged: other ones, to judge by and to time on.
        origin: where they come from, for the report.
        meaningful: false for noise, on which no score means anything.
        truth: for each judged sample the class that is right; None where nobody knows.
    """

    calibration: Sequence[Feeds]
    judged: Sequence[Feeds]
    origin: str
    meaningful: bool = True
    truth: np.ndarray | None = None

    def score(self) -> Callable[[Predict], np.ndarray] | None:
        """1 for each judged sample whose class the first output names, else 0; None without truth."""
        truth = self.truth
        if truth is None:
            return None
        return lambda predict: np.array(
            [float(predict(sample)[0].argmax() == right) for sample, right in zip(self.judged, truth, strict=True)]
        )


def find_samples(
    model: Model,
    name: str,
    *,
    folder: str | Path | None = None,
    count: int = 128,
    pixels: str | None = None,
    resize: str | None = None,
) -> Samples:
    """The best samples there are for a model.

    Args:
        model: a loaded one, which says what it takes.
        name: of the zoo, where it is one of its models.
        folder: pictures or .npz files; see `folder_samples` for the rest.
        count: at most that many, half of them to judge by.
        pixels: how the model sees pixels, if it does not tell.
        resize: likewise.

    Raises:
        ConfigError: the folder or `count` cannot be used.
    """
    if folder is not None:
        found, assumed = folder_samples(model, folder, most=count, pixels=pixels, resize=resize)
        calibration, judged = halves(found)
        note = f"; assumed: {'; '.join(assumed)}" if assumed else ""
        return Samples(calibration[:MOST_CALIBRATED], judged, f"{len(found)} samples of {Path(folder).name}{note}")
    half = max(count // 2, 1)
    if name == CLASSIFIER:
        input_name = model.inputs[0].name
        learnt, unseen = street_crops(min(half, MOST_CALIBRATED), held_out=False), street_crops(half, held_out=True)
        rows = [[{input_name: one[None]} for one in crops.pictures] for crops in (learnt, unseen)]
        return Samples(rows[0], rows[1], f"{half} held-out crops of the synthetic street", truth=unseen.classes)
    if name in DETECTORS:
        half = min(half, MOST_CALIBRATED)
        preparation = Preprocessing.of(model, pixels=PIXEL_FORMATS["raw-bgr"], resize=Resize("letterbox"))
        made = [
            [{preparation.input_name: preparation.batch([_street_picture(seed + index)])} for index in range(half)]
            for seed in (0, HELD_OUT_SEED)
        ]
        return Samples(made[0], made[1], f"{half} held-out pictures of the synthetic street")
    noise = [sample_feeds(model, seed=seed) for seed in range(min(2 * half, MOST_CALIBRATED))]
    return Samples(
        noise[::2], noise[1::2] or noise, "noise (pictures, given by --calibration, would tell more)", meaningful=False
    )


def _street_picture(seed: int) -> np.ndarray:
    picture: np.ndarray = StreetScene(seed, size_hw=PICTURE_HW, traffic=1.5).render()[0]
    return picture


def batch_of(samples: Sequence[Feeds], size: int) -> dict[str, np.ndarray]:
    """The first `size` samples as one, from the start again where there are fewer; axis 0 is joined."""
    chosen = [samples[index % len(samples)] for index in range(size)]
    return {name: np.concatenate([one[name] for one in chosen]) for name in chosen[0]}
