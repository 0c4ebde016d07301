"""The postprocessing that belongs to a classifier: from its output tensor to the best classes by name.

Quantized outputs become real numbers, logits become probabilities, and the best k get their names. A model that
already ends in a softmax is left alone: a second one would flatten 0.9 against 0.1 to 0.69 against 0.31.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from solutions.core.errors import ConfigError
from solutions.core.tensors import Model
from solutions.phase1_basics.prediction.labels import check_label_count, labels_of
from solutions.phase1_basics.prediction.preprocessing import Quantization, quantization_of

Activation = Literal["auto", "softmax", "sigmoid", "none"]

_SUM_TOLERANCE = 1e-2  # float16 softmax over 1000 classes: 1000 roundings of values around 1/1000, plus a margin
_LITERT_PROBABILITY_SCALE = 1 / 256  # the scale LiteRT fixes for the output of softmax and logistic, and nothing else


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class that a picture may show.

    Attributes:
        class_id: index in the model's output.
        label: its name; "class 7" where nobody told one.
        score: its probability, or with "none" as activation whatever the model gave.
    """

    class_id: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Postprocessing:
    """Everything between a model's output and its predictions.

    Attributes:
        output_name: the output that holds one score per class.
        labels: names by class; empty where unknown.
        activation: "softmax" (one class per picture), "sigmoid" (several at once), "none"; "auto" is softmax unless the
            scores are probabilities already: every row within 0..1 and summing to 1, or LiteRT's scale for those.
        quantization: scale and zero-point of an integer output.
    """

    output_name: str = "logits"
    labels: tuple[str, ...] = ()
    activation: Activation = "auto"
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise ConfigError(f"the activation must be one of {known}, got {self.activation!r}")

    @classmethod
    def of(
        cls, model: Model, *, labels: tuple[str, ...] | None = None, activation: Activation | None = None
    ) -> Postprocessing:
        """What the model says about itself: its first output, labels and "activation" from its metadata.

        Args:
            model: a loaded classifier.
            labels: names to use instead of the model's own; empty for none.
            activation: what to use whatever the model says.

        Raises:
            ConfigError: the number of labels is not the number of classes, or the activation is unknown.
        """
        spec = model.outputs[0]
        facts: Mapping[str, str] = getattr(model, "metadata", {}) or {}
        labels = labels_of(model) if labels is None else labels
        classes = [size for size in spec.shape[1:] if size != 1]
        if len(classes) == 1 and classes[0] is not None:
            check_label_count(labels, classes[0], model.name)
        told: Activation = facts.get("activation", "auto")  # type: ignore[assignment]  # checked in __post_init__
        return cls(spec.name, labels, activation or told, quantization_of(model, spec.name))

    def scores(self, output: np.ndarray) -> np.ndarray:
        """float32 [N, K] of the model's output [N, K], [N, K, 1, 1] or [N, 1, 1, K].

        Raises:
            ConfigError: the shape is no classifier's, a score is NaN or +infinity, or "auto" cannot know what to do
                with a single score per picture.
        """
        real = _one_row_per_picture(output, self.output_name)
        if real.dtype.kind in "iu" and self.quantization is not None:
            real = dequantize(real, *self.quantization)
        real = real.astype(np.float32, copy=False)
        bad = np.flatnonzero(np.isnan(real).any(axis=1) | np.isposinf(real).any(axis=1))
        if bad.size:
            raise ConfigError(
                f"{self.output_name} holds NaN or infinity for picture {bad[0]} of the batch: the model overflowed. "
                "Run it in float32, and check its preprocessing."
            )
        if self.activation == "auto" and real.shape[1] == 1:  # softmax would make it 1, whatever it is
            raise ConfigError(
                f"{self.output_name} is one score per picture, which may be a logit or a probability; say sigmoid or "
                "none as its activation"
            )
        if self.activation == "sigmoid":
            return sigmoid(real)
        if self.activation == "none" or (self.activation == "auto" and self._are_probabilities(output, real)):
            return real
        return softmax(real)

    def predictions(self, output: np.ndarray, top: int = 5) -> list[list[Prediction]]:
        """The `top` best classes of each picture, best first; all of them where the model has fewer.

        Raises:
            ConfigError: as `scores`; the number of labels is not the number of classes; top < 1.
        """
        scores = self.scores(output)
        check_label_count(self.labels, scores.shape[1], f"the output {self.output_name}")
        best = top_k(scores, top)
        return [
            [Prediction(int(index), self._label(int(index)), float(row[index])) for index in indices]
            for row, indices in zip(scores, best, strict=True)
        ]

    def _label(self, index: int) -> str:
        return (self.labels[index] if self.labels else "") or f"class {index}"

    def _are_probabilities(self, output: np.ndarray, real: np.ndarray) -> bool:
        if output.dtype.kind in "iu" and self.quantization is not None:
            # 1001 roundings to 1/256 may move a row's sum by 2, so the sum says nothing; the scale does
            scale, zero_point = self.quantization
            return scale == _LITERT_PROBABILITY_SCALE and zero_point == np.iinfo(output.dtype).min
        within = bool((real >= 0).all() and (real <= 1 + _SUM_TOLERANCE).all())
        return within and bool((np.abs(real.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis, float32, for logits of any size: the largest is subtracted first.

    >>> softmax(np.array([[1000.0, 1000.0, -1000.0]]))
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """
    real = np.asarray(logits, np.float32)
    powers = np.exp(real - real.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) for each score, float32; exp only ever sees negative numbers, so nothing overflows.

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    real = np.asarray(logits, np.float32)
    power = np.exp(-np.abs(real))
    probabilities: np.ndarray = np.where(real >= 0, np.float32(1), power) / (1 + power)
    return probabilities


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Indices of the k largest per row of [N, K], int64 [N, min(k, K)], best first; of equals the first comes first.

    >>> top_k(np.array([[0.1, 0.7, 0.1, 0.1]]), 3)
    array([[1, 0, 2]])

    Raises:
        ConfigError: k < 1.
    """
    if k < 1:
        raise ConfigError(f"top must be at least 1, got {k}")
    return np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]


def dequantize(codes: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """scale * (code - zero_point), float32.

    >>> dequantize(np.array([0, 128, 255], np.uint8), 0.5, 128)
    array([-64. ,   0. ,  63.5], dtype=float32)
    """
    real: np.ndarray = (codes.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale)
    return real


def _one_row_per_picture(output: np.ndarray, name: str) -> np.ndarray:
    sizes = [size for size in output.shape[1:] if size != 1]
    if output.ndim < 2 or len(sizes) > 1:
        raise ConfigError(
            f"the output {name} is {list(output.shape)}, and a classifier gives one score per class, [N, K]; "
            "is this a detector?"
        )
    return output.reshape(len(output), sizes[0] if sizes else 1)
