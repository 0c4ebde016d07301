"""What a network is for: inputs to calibrate with, other inputs to judge it by, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase2_optimization.quantization.judges import Drop, agreement, paired_drop
from solutions.phase2_optimization.quantization.running import Feeds, Predict
from solutions.phase2_optimization.quantization.samples import folder_samples, halves


class Judgement(Protocol):
    """What the answers of one model are worth, 0..1, and how much less those of another one are."""

    @property
    def value(self) -> float:
        """The figure."""

    @property
    def per_sample(self) -> np.ndarray | None:
        """The score of each sample whose mean the figure is; None where it is no mean."""

    def drop(self, after: Judgement, *, confidence: float = 0.95) -> Drop:
        """How much lower `after` lies, with the paired bootstrap's interval."""


@dataclass(frozen=True, slots=True)
class MeanScore:
    """A figure that is the mean of one score per sample."""

    per_sample: np.ndarray

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.per_sample.mean())

    def drop(self, after: Judgement, *, confidence: float = 0.95) -> Drop:
        """As `Judgement.drop`."""
        if after.per_sample is None:
            raise ConfigError("scores per sample cannot be compared with a figure that has none")
        return paired_drop(self.per_sample, after.per_sample, confidence=confidence)


@dataclass(frozen=True, slots=True)
class Task:
    """The network's work.

    Attributes:
        metric: what the figure is, in words.
        calibration: inputs to calibrate with; empty where there are none.
        judged: other inputs, that `judge` runs.
        timed: the input that is timed.
        judge: the worth of a model, given the function that runs it.
        note: what has to be known about the figure, or nothing.
    """

    metric: str
    calibration: tuple[Feeds, ...]
    judged: tuple[Feeds, ...]
    timed: Feeds
    judge: Callable[[Predict], Judgement]
    note: str = ""


def agreement_task(
    source: Path, model: Model, folder: Path, *, most: int, pixels: str | None = None, resize: str | None = None
) -> Task:
    """Without labels: how far a model answers as the float one does on the pictures of a folder.

    Half of them calibrate, and the others judge.

    Args:
        source: the float ONNX file.
        model: the same, loaded.
        folder: pictures, or .npz files with one array per input.
        most: pictures taken from there.
        pixels, resize: how the model sees pictures, where it does not tell.

    Raises:
        ConfigError, ImageError: the folder cannot be used.
    """
    samples, assumed = folder_samples(model, folder, most=most, pixels=pixels, resize=resize)
    calibration, judged = halves(samples)
    note = f"assumed, as the file does not tell: {'; '.join(assumed)}" if assumed else ""
    return _agreement(source, tuple(calibration), tuple(judged), note)


def random_task(source: Path, model: Model, *, batch: int, most: int) -> Task:
    """With nothing to look at: agreement with the float model on random inputs; there is nothing to calibrate with."""
    judged = tuple(sample_feeds(model, batch=batch, seed=seed) for seed in range(most))
    return _agreement(source, (), judged, "random inputs: they tell whether answers agree, and nothing of accuracy")


def _agreement(source: Path, calibration: tuple[Feeds, ...], judged: tuple[Feeds, ...], note: str) -> Task:
    score = agreement(onnx.load(source), judged)
    return Task("answers as the float model's", calibration, judged, judged[0], lambda run: MeanScore(score(run)), note)


def runner(model: Model) -> Predict:
    """The function that gives a model's outputs in the file's order."""
    names = [spec.name for spec in model.outputs]

    def run(feeds: Feeds) -> list[np.ndarray]:
        answers = model.predict(feeds)
        return [answers[name] for name in names]

    return run
