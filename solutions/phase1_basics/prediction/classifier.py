"""A loaded classifier that takes pictures and answers with names: reading, preprocessing, batching, postprocessing.

The pictures go through in batches, so a folder of a hundred thousand needs no more memory than one batch.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from solutions.core.errors import ConfigError, ImageError
from solutions.core.tensors import Model
from solutions.phase1_basics.prediction.batching import MAX_BATCH, predict_in_batches, rows_per_call
from solutions.phase1_basics.prediction.image_files import MAX_PIXELS, read_image
from solutions.phase1_basics.prediction.postprocessing import Postprocessing, Prediction
from solutions.phase1_basics.prediction.preprocessing import Preprocessing

Picture: TypeAlias = "str | Path | np.ndarray"


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """Where the time of a prediction went, in seconds: reading files, preprocessing, the model, postprocessing.

    >>> (StageSeconds(0.5, 0.25, 1.0, 0.0) + StageSeconds(infer_s=0.25)).total_s
    2.0
    """

    load_s: float = 0.0
    preprocess_s: float = 0.0
    infer_s: float = 0.0
    postprocess_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All four together."""
        return self.load_s + self.preprocess_s + self.infer_s + self.postprocess_s

    def __add__(self, other: StageSeconds) -> StageSeconds:
        return StageSeconds(
            self.load_s + other.load_s,
            self.preprocess_s + other.preprocess_s,
            self.infer_s + other.infer_s,
            self.postprocess_s + other.postprocess_s,
        )


@dataclass(frozen=True, slots=True)
class BatchPredictions:
    """The answers to one batch of pictures.

    Attributes:
        predictions: per picture the best classes, best first; empty for a picture that could not be read.
        seconds: where the time went.
        calls: how often the model ran: once, or not at all where no picture could be read.
    """

    predictions: list[list[Prediction]]
    seconds: StageSeconds
    calls: int


class Classifier:
    """Pictures in, names out, for a model of any runtime.

    Pictures are files (see `image_files`) or frames, uint8 [H, W, 3] BGR, in any sizes and mixed.

    Args:
        model: a loaded classifier; the caller closes it.
        preprocessing: default what the model tells, see `Preprocessing.of`.
        postprocessing: default what the model tells, see `Postprocessing.of`.
        top: how many classes per picture.
        max_batch: the most pictures per call of a model with a free batch. More is faster until the cores are busy,
            and takes memory for as many pictures at once.
        max_pixels: limit for files, see `read_image`.
        clock: seconds, ascending.

    Raises:
        ConfigError: the model is no classifier of pictures, or a setting is out of range.
        ModelLoadError: its metadata cannot be understood.
    """

    def __init__(
        self,
        model: Model,
        *,
        preprocessing: Preprocessing | None = None,
        postprocessing: Postprocessing | None = None,
        top: int = 5,
        max_batch: int = MAX_BATCH,
        max_pixels: int = MAX_PIXELS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if top < 1:
            raise ConfigError(f"top must be at least 1, got {top}")
        if len(model.inputs) != 1:
            names = ", ".join(spec.name for spec in model.inputs)
            raise ConfigError(f"{model.name} wants {names}, not only pictures; feed it with predict_in_batches")
        self.model = model
        self.preprocessing = preprocessing or Preprocessing.of(model)
        self.postprocessing = postprocessing or Postprocessing.of(model)
        self.batch_size = rows_per_call(model, max_batch=max_batch)
        self._top = top
        self._max_batch = max_batch
        self._max_pixels = max_pixels
        self._clock = clock

    def predict(self, pictures: Iterable[Picture]) -> list[list[Prediction]]:
        """The best classes of each picture, best first.

        Raises:
            ImageError: a file is no whole picture.
            ConfigError: a frame is not uint8 [H, W, 3], or the model does not answer like a classifier.
        """
        return [found for batch in self.predict_batches(pictures) for found in batch.predictions]

    def predict_batches(
        self, pictures: Iterable[Picture], *, on_unreadable: Callable[[Picture, ImageError], None] | None = None
    ) -> Iterator[BatchPredictions]:
        """The answers batch after batch, each as soon as it is there, with its timing.

        Args:
            pictures: may be endless; one batch of them is taken at a time.
            on_unreadable: told about every file that is no whole picture, whose answer is then empty; without it the
                ImageError is raised.
        """
        remaining = iter(pictures)
        while batch := list(itertools.islice(remaining, self.batch_size)):
            yield self._predict_batch(batch, on_unreadable)

    def _predict_batch(
        self, batch: list[Picture], on_unreadable: Callable[[Picture, ImageError], None] | None
    ) -> BatchPredictions:
        start_s = self._clock()
        frames: list[np.ndarray] = []
        readable: list[int] = []
        for index, picture in enumerate(batch):
            try:
                frames.append(self._frame(picture))
                readable.append(index)
            except ImageError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(picture, error)
        loaded_s = self._clock()
        predictions: list[list[Prediction]] = [[] for _ in batch]
        if not frames:
            return BatchPredictions(predictions, StageSeconds(load_s=loaded_s - start_s), 0)
        tensor = self.preprocessing.batch(frames)
        ready_s = self._clock()
        answer = predict_in_batches(self.model, {self.preprocessing.input_name: tensor}, max_batch=self._max_batch)
        inferred_s = self._clock()
        found = self.postprocessing.predictions(answer.outputs[self.postprocessing.output_name], self._top)
        for index, best in zip(readable, found, strict=True):
            predictions[index] = best
        seconds = StageSeconds(loaded_s - start_s, ready_s - loaded_s, inferred_s - ready_s, self._clock() - inferred_s)
        return BatchPredictions(predictions, seconds, answer.calls)

    def _frame(self, picture: Picture) -> np.ndarray:
        return picture if isinstance(picture, np.ndarray) else read_image(picture, max_pixels=self._max_pixels)
