"""The embedded detectors and the classifier, trained for int8 on the street they were made for.

The pictures are rendered once into the cache, the training takes a few minutes on one core, and its result is kept
beside them: asking again only looks it up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

from solutions.core.errors import ConfigError
from solutions.core.vision.scenes import CLASSES
from solutions.core.zoo.export import load_weights
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import cache_folder, embedded, embedded_names
from solutions.core.zoo.training.augment import WINDOWS, crop_images, detection_batch
from solutions.core.zoo.training.dataset import PICTURE_HW, StreetData, street_data
from solutions.core.zoo.training.losses import detection_loss
from solutions.phase2_optimization.qat.export import export_qat
from solutions.phase2_optimization.qat.prepare import QatConfig, QatModel, prepare_qat
from solutions.phase2_optimization.qat.training import Loss, QatSchedule, distillation, train_qat
from solutions.phase2_optimization.quantization.saving import save_model

_RECIPE = 1  # part of the cache's key: raise it when the way of preparing, training or exporting changes
_SEED = 7
_CALIBRATION_STEP = 1_000_000  # batches that training never comes to
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class EmbeddedRecipe:
    """How one embedded model is trained.

    Attributes:
        images: rendered pictures, of the seeds that it was trained on before.
        batch: windows of pictures, or crops, per step.
        calibration: batches that set the first ranges.
        schedule: of the training.
        config: of the quantization.
    """

    images: int = 1000
    batch: int = 16
    calibration: int = 8
    schedule: QatSchedule = field(default_factory=lambda: QatSchedule(steps=100, freeze_after=0.0))
    config: QatConfig = field(default_factory=QatConfig)


DETECTOR_RECIPE = EmbeddedRecipe()
CLASSIFIER_RECIPE = EmbeddedRecipe(batch=128)


def trained_int8(name: str, *, steps: int | None = None) -> Path:
    """The QDQ file, for ONNX Runtime, of an embedded model after quantization-aware training.

    It comes from the cache, or is made now, which takes about two minutes on one core, and for the pictures, once for
    all, another one.

    Args:
        name: "street-small", "street-medium", "street-large" or "street-classifier".
        steps: of the training; None takes the recipe's.

    Raises:
        ConfigError: another name, or steps < 1.
    """
    recipe = recipe_for(name)
    return trained_file(name, recipe if steps is None else with_steps(recipe, steps))


def with_steps(recipe: EmbeddedRecipe, steps: int) -> EmbeddedRecipe:
    """The recipe with another length of training."""
    schedule = replace(recipe.schedule, steps=steps, warmup=min(recipe.schedule.warmup, steps))
    return replace(recipe, schedule=schedule)


def trained_file(name: str, recipe: EmbeddedRecipe) -> Path:
    """As `trained_int8`, by a recipe of one's own."""
    weights = embedded(name).weights.read_bytes()
    key = hashlib.sha256(f"{_RECIPE} {recipe}".encode() + weights).hexdigest()[:16]
    path = cache_folder() / "qat" / f"{name}-{key}.onnx"
    if not path.exists():
        save_model(export_qat(train_embedded(name, recipe)), path)
    return path


class TrainedVariants:
    """One embedded model after training, as the quantizer takes methods: which layers are int8 is not to be chosen.

    Args:
        source: the shipped ONNX file of the model.

    Raises:
        ConfigError: it is none: training needs more than an ONNX file.
    """

    layers: tuple[str, ...] = ()

    def __init__(self, source: str | Path) -> None:
        self._name = Path(source).stem
        shipped = self._name in embedded_names() and Path(source).resolve() == embedded(self._name).onnx.resolve()
        if not shipped:
            raise ConfigError(
                f"{source} cannot be trained for int8: that needs a torch module and data, which the course has for "
                f"{', '.join(embedded_names())}; for others call prepare_qat, train_qat and export_qat (in "
                "solutions/phase2_optimization/qat/)"
            )

    def build(self, keep: Collection[str] = ()) -> onnx.ModelProto:
        """The trained model, from the cache or made now; `keep` is empty, as `layers` is."""
        return onnx.load(trained_int8(self._name))


def recipe_for(name: str) -> EmbeddedRecipe:
    """The recipe of an embedded model.

    Raises:
        ConfigError: the name is unknown.
    """
    return DETECTOR_RECIPE if embedded(name).task == "detect" else CLASSIFIER_RECIPE


@dataclass(frozen=True, slots=True)
class EmbeddedTask:
    """What training one embedded model takes.

    Attributes:
        model: the float module with its BatchNorm layers, in eval mode.
        make_batch: step -> (inputs, labels).
        loss: of a module and a batch.
        sizes: the free axes of the input.
    """

    model: nn.Module
    make_batch: Callable[[int], tuple[torch.Tensor, Any]]
    loss: Loss
    sizes: dict[int, torch.export.Dim]


def embedded_task(name: str, recipe: EmbeddedRecipe, *, progress: Progress | None = None) -> EmbeddedTask:
    """The float module, batches and loss of an embedded model; renders the pictures where the cache lacks them.

    Args:
        name: of the embedded model.
        recipe: how many pictures, how large batches.
        progress: called with what is going on, how much is done, and how much there is.

    Raises:
        ConfigError: the name is unknown.
    """
    entry = embedded(name)

    def rendered(done: int) -> None:
        if progress is not None:
            progress("render pictures", done, recipe.images)

    data = street_data(0, recipe.images, PICTURE_HW, cache_folder() / "training", progress=rendered)
    batch = torch.export.Dim("batch")
    if entry.task == "classify":
        classifier = load_weights(CropNet(), entry.weights)
        return EmbeddedTask(classifier, _crops(data, recipe.batch), _with_labels(classifier, _crop_loss), {0: batch})
    detector = load_weights(StreetNet(SIZES[name.removeprefix("street-")]), entry.weights)
    sizes = {0: batch, 2: 32 * torch.export.Dim("rows32"), 3: 32 * torch.export.Dim("columns32")}
    return EmbeddedTask(detector, _windows(data, recipe.batch), _with_labels(detector, _grid_loss), sizes)


def prepare_embedded(name: str, recipe: EmbeddedRecipe, task: EmbeddedTask) -> QatModel:
    """The embedded model with fake quantization, calibrated and not trained yet; named as the shipped file is."""
    shipped = onnx.load(embedded(name).onnx, load_external_data=False)
    return prepare_qat(
        task.model,
        [task.make_batch(_CALIBRATION_STEP + number)[0] for number in range(recipe.calibration)],
        inputs=[value.name for value in shipped.graph.input],
        outputs=[value.name for value in shipped.graph.output],
        sizes=[task.sizes],
        facts={entry.key: entry.value for entry in shipped.metadata_props},
        config=recipe.config,
    )


def train_embedded(name: str, recipe: EmbeddedRecipe, *, progress: Progress | None = None) -> QatModel:
    """The trained model, in eval mode; the same recipe gives the same model on the same machine.

    Arguments and errors are those of `embedded_task`.
    """
    task = embedded_task(name, recipe, progress=progress)
    qat = prepare_embedded(name, recipe, task)

    def show(step: int, loss: float) -> None:
        if progress is not None:
            progress(f"train {name} for int8, loss {loss:.3f}", step, recipe.schedule.steps)

    return train_qat(qat, task.make_batch, task.loss, recipe.schedule, progress=show)


def _windows(data: StreetData, size: int) -> Callable[[int], tuple[torch.Tensor, Any]]:
    def make(step: int) -> tuple[torch.Tensor, Any]:
        chance = np.random.default_rng((_SEED, step))
        return detection_batch(data, chance.integers(len(data), size=size), WINDOWS, chance)

    return make


def _crops(data: StreetData, size: int) -> Callable[[int], tuple[torch.Tensor, Any]]:
    def make(step: int) -> tuple[torch.Tensor, Any]:
        chance = np.random.default_rng((_SEED, step))
        rows = chance.integers(len(data.crops), size=size)
        return crop_images(data.crops[rows], chance), torch.from_numpy(data.crop_labels[rows])

    return make


def _with_labels(model: nn.Module, labelled: Loss) -> Loss:
    """Labels and the float model's answers together: the truth for what it got wrong, the answers for all the rest."""
    taught = distillation(model, lambda batch: batch[0])
    return lambda module, batch: labelled(module, batch) + taught(module, batch)


def _grid_loss(module: nn.Module, batch: Any) -> torch.Tensor:
    return detection_loss(module(batch[0]), batch[1], classes=len(CLASSES))


def _crop_loss(module: nn.Module, batch: Any) -> torch.Tensor:
    classes, colours = module(batch[0])
    smooth = 0.05  # as it was trained with
    return functional.cross_entropy(classes, batch[1][:, 0], label_smoothing=smooth) + functional.cross_entropy(
        colours, batch[1][:, 1], label_smoothing=smooth
    )
