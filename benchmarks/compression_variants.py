"""The models that `compression_curves.py` compares: how each is made, trained once and kept in the cache folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from solutions.core.vision.scenes import CLASSES, COLOURS
from solutions.core.zoo.export import export_classifier, export_detector, load_weights
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import CLASSIFIER, TIERS, cache_folder, embedded
from solutions.core.zoo.training.dataset import CROP_HW, INPUT_HW, PICTURE_HW, StreetData, street_data
from solutions.phase2_optimization.compression.channels import ChannelPruning, prune_channels
from solutions.phase2_optimization.compression.magnitude import (
    MaskRule,
    Scope,
    attach_masks,
    bake_masks,
    graph_weights,
    magnitude_masks,
    mask_graph,
    weights_of,
)
from solutions.phase2_optimization.compression.scaling import CropScale
from solutions.phase2_optimization.compression.training import Task, crop_task, street_task, train_briefly
from solutions.phase2_optimization.compression.two_four import two_four_masks
from solutions.phase2_optimization.quantization.saving import save_model

RECIPE = 2  # raise it when a training changes: what is cached is then made anew
TRAINING_PICTURES = 1500
CROP_STEPS, CROP_TUNE_STEPS, STREET_TUNE_STEPS = 500, 300, 500
TUNE_RATE = 2e-3
SPARSITIES = (0.5, 0.8, 0.95)
SCOPES: tuple[Scope, ...] = ("global", "layer", "lamp")
SHARES = (0.25, 0.5, 0.625)
SEEDS = (0, 1, 2)
CHOICES = ("original", "magnitude", "2:4", "channels", "distillation", "scaling")
DETECTOR = "street-small"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Variant:
    """One point of a curve.

    Attributes:
        model: the embedded model that it is compared with.
        method: one of CHOICES.
        setting: what was done, in words that tell it from the others of its method.
        file: makes the ONNX file if need be, and returns its path.
        input_hw: of the measurement.
        facts: numbers of its own, ready for JSON.
    """

    model: str
    method: str
    setting: str
    file: Callable[[], Path]
    input_hw: tuple[int, int]
    facts: dict[str, Any] = field(default_factory=dict)


class Workshop:
    """Makes variants: rendered pictures and trained files come from the cache folder or go there."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._cache = cache_folder()
        self.folder = self._cache / f"compression-{RECIPE}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._data: StreetData | None = None

    def pictures(self, first_seed: int, count: int, size_hw: tuple[int, int]) -> StreetData:
        """Rendered pictures with their truth."""
        folder = self._cache / "training"
        folder.mkdir(parents=True, exist_ok=True)
        return street_data(first_seed, count, size_hw, folder, progress=self._rendered)

    def variants(self, methods: tuple[str, ...]) -> Iterator[Variant]:
        """The points of these methods, for the classifier and the detector."""
        makers = (self._original, self._magnitude, self._two_four, self._channels, self._distillation, self._scaling)
        for method, make in zip(CHOICES, makers, strict=True):
            if method in methods:
                yield from make()

    # -- methods -----------------------------------------------------------------------------------------------------

    def _original(self) -> Iterator[Variant]:
        for model in (CLASSIFIER, DETECTOR):
            yield Variant(model, "original", "as embedded", partial(_there, embedded(model).onnx), _input_hw(model))

    def _magnitude(self) -> Iterator[Variant]:
        for model in (CLASSIFIER, DETECTOR):
            for sparsity in SPARSITIES:
                for scope in SCOPES:
                    rule = partial(magnitude_masks, sparsity=sparsity, scope=scope)
                    tune = scope == "lamp" and sparsity > 0.5
                    yield from self._masked(model, "magnitude", f"{sparsity:.0%} {scope}", rule, tune=tune)

    def _two_four(self) -> Iterator[Variant]:
        for model in (CLASSIFIER, DETECTOR):
            yield from self._masked(model, "2:4", "2 of 4", two_four_masks, tune=True)

    def _channels(self) -> Iterator[Variant]:
        for model in (CLASSIFIER, DETECTOR):
            hw = _input_hw(model)
            example = torch.rand(2, 3, *hw) * 255
            for share in SHARES:
                made = partial(_pruned, model, example, ChannelPruning(share, round_to=1))
                setting = f"{share:.1%} of channels"
                yield Variant(model, "channels", setting, partial(self._export, model, setting, made), hw)
                yield self._tuned(model, "channels", setting, made)
            made = partial(_pruned, model, example, ChannelPruning(0.5, round_to=16))
            yield self._tuned(model, "channels", "50% of channels in blocks of 16", made)

    def _distillation(self) -> Iterator[Variant]:
        student = CropScale(width=8)
        for seed in SEEDS:
            for taught in (False, True):
                setting = f"width 8, {'taught' if taught else 'truth alone'}, seed {seed}"
                teacher = shipped(CLASSIFIER) if taught else None
                file = partial(self._fresh_crop, setting, student, seed, teacher)
                facts = {"taught": taught, "seed": seed}
                yield Variant(CLASSIFIER, "distillation", setting, file, CROP_HW, facts)
        example = torch.rand(2, 3, *INPUT_HW) * 255
        made = partial(_pruned, DETECTOR, example, ChannelPruning(0.5))
        for seed in SEEDS[:2]:
            for name in ("", "street-large"):
                setting = f"half the channels, {f'taught by {name}' if name else 'truth alone'}, seed {seed}"
                variant = self._tuned(DETECTOR, "distillation", setting, made, seed, shipped(name) if name else None)
                variant.facts.update(taught=name, seed=seed)
                yield variant

    def _scaling(self) -> Iterator[Variant]:
        scales = [CropScale(), *(CropScale(width=w) for w in (8, 12, 24)), CropScale(depth=0), CropScale(depth=2)]
        for scale in [*scales, *(CropScale(side=side) for side in (24, 32))]:
            setting = f"width {scale.width}, depth {scale.depth}, {scale.side} px"
            file = partial(self._fresh_crop, setting, scale, 0, None)
            yield Variant(CLASSIFIER, "scaling", setting, file, (scale.side, scale.side))
        for tier in TIERS:
            for hw in ((128, 224), (192, 320), INPUT_HW, (320, 576)):
                path = embedded(f"street-{tier}").onnx
                yield Variant(DETECTOR, "scaling", f"{tier}, {hw[1]}x{hw[0]} px", partial(_there, path), hw)

    # -- ways to make a file -----------------------------------------------------------------------------------------

    def _masked(self, model: str, method: str, setting: str, rule: MaskRule, *, tune: bool) -> Iterator[Variant]:
        def zeroed() -> Path:
            graph = onnx.load(str(embedded(model).onnx))
            return save_model(mask_graph(graph, rule(graph_weights(graph))), self._path(model, setting))

        def masked() -> nn.Module:
            net = shipped(model)
            return attach_masks(net, rule(weights_of(net)))

        yield Variant(model, method, setting, zeroed, _input_hw(model))
        if tune:
            yield self._tuned(model, method, setting, masked)

    def _tuned(
        self,
        model: str,
        method: str,
        setting: str,
        make: Callable[[], nn.Module],
        seed: int = 0,
        teacher: nn.Module | None = None,
    ) -> Variant:
        setting = f"{setting}, trained on"

        def tuned() -> nn.Module:
            steps = CROP_TUNE_STEPS if model == CLASSIFIER else STREET_TUNE_STEPS
            if model == CLASSIFIER:
                task = crop_task(self._training_data(), seed=seed, teacher=teacher)
            else:
                task = street_task(self._training_data(), seed=seed, teacher=teacher)
            return self._train(make(), task, steps, TUNE_RATE, self._path(model, setting))

        file = partial(self._export, model, setting, tuned)
        return Variant(model, method, setting, file, _input_hw(model))

    def _fresh_crop(self, setting: str, scale: CropScale, seed: int, teacher: nn.Module | None) -> Path:
        def fresh() -> nn.Module:
            torch.manual_seed(seed)
            task = crop_task(self._training_data(), seed=seed, scale=scale, teacher=teacher)
            path = self._path(CLASSIFIER, setting)
            return self._train(scale.build(), task, CROP_STEPS, 3e-3, path)

        return self._export(CLASSIFIER, setting, fresh, (scale.side, scale.side))

    def _train(self, net: nn.Module, task: Task, steps: int, rate: float, path: Path) -> nn.Module:
        self._say(f"training {path.stem}: {steps} steps")
        return bake_masks(train_briefly(net, task, steps, path.with_suffix(".checkpoint"), peak_rate=rate))

    def _export(
        self, model: str, setting: str, make: Callable[[], nn.Module], input_hw: tuple[int, int] = CROP_HW
    ) -> Path:
        path = self._path(model, setting)
        if path.exists():
            return path
        net: Any = make()
        if model == CLASSIFIER:
            export_classifier(net, path, labels=CLASSES, colours=COLOURS, input_hw=input_hw)
        else:
            export_detector(net, path, labels=CLASSES, input_hw=INPUT_HW)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)
        return path

    def _path(self, model: str, setting: str) -> Path:
        words = "".join(letter if letter.isalnum() else "-" for letter in f"{model} {setting}")
        return self.folder / f"{'-'.join(part for part in words.split('-') if part)}.onnx"

    def _training_data(self) -> StreetData:
        if self._data is None:
            self._data = self.pictures(0, TRAINING_PICTURES, PICTURE_HW)
        return self._data

    def _rendered(self, done: int) -> None:
        if done % 100 == 0:
            self._say(f"rendered {done} pictures")


def shipped(model: str) -> nn.Module:
    """The embedded network of that name, in eval mode."""
    net: nn.Module = CropNet() if model == CLASSIFIER else StreetNet(SIZES[model.removeprefix("street-")])
    return load_weights(net, embedded(model).weights)


def _pruned(model: str, example: torch.Tensor, settings: ChannelPruning) -> nn.Module:
    return prune_channels(shipped(model), (example,), settings).module


def _there(path: Path) -> Path:
    return path


def _input_hw(model: str) -> tuple[int, int]:
    return CROP_HW if model == CLASSIFIER else INPUT_HW
