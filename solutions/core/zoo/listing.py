"""What the zoo offers: facts of every model, as rows for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from solutions.core.zoo.downloads import weights_file
from solutions.core.zoo.external import DETECTORS as EXTERNAL_DETECTORS
from solutions.core.zoo.external import external_names
from solutions.core.zoo.formats import embedded_input
from solutions.core.zoo.registry import DETECTORS, embedded, embedded_names


@dataclass(frozen=True, slots=True)
class EmbeddedRow:
    """An embedded model: scores are fractions of 1 on streets it never saw."""

    name: str
    task: str
    input: str
    onnx_bytes: int
    weights_bytes: int
    held_out: dict[str, float]


@dataclass(frozen=True, slots=True)
class ExternalRow:
    """A model of torchvision: `cached` says whether its trained weights are on this machine."""

    name: str
    task: str
    input: str
    parameters: int
    weights_mb: float
    cached: bool


def embedded_rows() -> list[EmbeddedRow]:
    """One row per embedded model."""
    rows = []
    for name in embedded_names():
        entry = embedded(name)
        height, width = embedded_input(name)
        size = f"3x{height}x{width}" + (" or multiples of 32" if name in DETECTORS else "")
        rows.append(
            EmbeddedRow(name, entry.task, size, entry.onnx.stat().st_size, entry.weights.stat().st_size, entry.held_out)
        )
    return rows


def external_rows() -> list[ExternalRow]:
    """One row per name of `external_names()`. Asks no network: sizes are those that torchvision records."""
    import torchvision

    rows = []
    for name in external_names():
        weights = torchvision.models.get_model_weights(name).DEFAULT
        detector = name in EXTERNAL_DETECTORS
        side = 320 if detector else int(weights.transforms().crop_size[0])
        rows.append(
            ExternalRow(
                name=name,
                task="detect" if detector else "classify",
                input=f"3x{side}x{side}",
                parameters=int(weights.meta["num_params"]),
                weights_mb=float(weights.meta["_file_size"]),
                cached=weights_file(weights.url).is_file(),
            )
        )
    return rows
