"""From what the user asked for to a pipeline that is ready: which detector, which precision, which classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.hardware.device import Device, Precision
from solutions.core.hardware.model_cost import model_cost
from solutions.core.hardware.profile import HardwareProfile
from solutions.core.hardware.roofline import estimate
from solutions.core.vision.video import SourceInfo
from solutions.core.zoo.external import external_model
from solutions.core.zoo.registry import CLASSIFIER, DETECTORS, embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase4_production.video_analysis.bytes_input import bytes_model
from solutions.phase4_production.video_analysis.calibration import calibration_pictures
from solutions.phase4_production.video_analysis.classifier import CropClassifier
from solutions.phase4_production.video_analysis.detector import Detector, load_detector
from solutions.phase4_production.video_analysis.edge_precision import detector_in
from solutions.phase4_production.video_analysis.edge_profiles import EdgeProfile, is_here, profile_of
from solutions.phase4_production.video_analysis.model_pipeline import Pipeline, PipelineConfig
from solutions.phase4_production.video_analysis.motion import MotionConfig
from solutions.phase4_production.video_analysis.tracker_config import TrackerConfig

SSDLITE = "ssdlite320_mobilenet_v3_large"
# By head: (score from which the detector reports, score from which a detection may begin a track). Average precision
# judges a ranking and wants its low end, the tracker uses what scores 0.1. The embedded detectors score a box by how
# well it lies and find something faint everywhere: theirs would drown the frame.
SCORES = {"grid": (0.2, 0.4), "yolox": (0.05, 0.6)}
OTHER_SCORES = (0.05, 0.5)


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """What the user asked for; None leaves a choice to the device's profile or the detector's head."""

    device: str = "auto"
    detector: str = "auto"
    head: str | None = None
    tier: str | None = None
    precision: str | None = None
    threads: int | None = None
    detect_every: int | None = None
    motion_gate: bool = False
    score: float | None = None
    classes: tuple[str, ...] | None = None
    classifier: str = "auto"
    calibration: str | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads must be at least 1, got {self.threads}")
        if self.score is not None and not 0 < self.score < 0.9:
            raise ConfigError(f"--score must lie in (0, 0.9), got {self.score}")


@dataclass(frozen=True, slots=True)
class Ready:
    """A pipeline and what is to be said about it.

    Attributes:
        pipeline: to be closed by its owner.
        labels: names of the detector's classes.
        facts: name, precision, runtime, threads, input size and more, for the report.
        estimates: what the named device would do, by the roofline model; None where this machine is meant.
        notes: sentences for the user.
    """

    pipeline: Pipeline
    labels: tuple[str, ...]
    facts: dict[str, Any]
    estimates: dict[str, Any] | None
    notes: tuple[str, ...]


def prepare(config: EdgeConfig, source: SourceInfo, hardware: HardwareProfile) -> Ready:
    """Everything loaded and checked.

    Raises:
        ConfigError, ModelLoadError, BackendUnavailable: with the way out.
    """
    profile, device = profile_of(config.device)
    profile = _overridden(profile, config)
    path, is_embedded = find_detector(config.detector, profile.tier, source)
    notes: list[str] = []
    here = device is None or is_here(device, hardware)
    if device is not None and not here:
        notes.append(
            f"This machine is not a {device.title}: its profile ({profile.tier} tier, {profile.precision}, detector on "
            f"every {_ordinal(profile.detect_every)} frame) runs here; what the device would do is an estimate."
        )
    pictures = partial(calibration_pictures, config.calibration, source, street=is_embedded)
    learns = not source.live or config.calibration is not None
    path, precision = detector_in(
        profile.precision,
        path,
        pictures if learns or profile.precision != "fp16" else None,
        notes,
        threads=config.threads,
        head=config.head,
        wanted=config.classes,
    )
    detector = _detector_of_bytes(path, config, device="auto" if here else "cpu")
    try:
        classifier = _load_classifier(config, is_embedded, notes)
        _warm_up(detector, classifier, source.size_hw)
        low, high = SCORES.get(detector.head.name, OTHER_SCORES)
        high = config.score or high
        detector.score_threshold = min(low, high)
        pipeline = Pipeline(
            detector,
            classifier,
            PipelineConfig(
                tracker=TrackerConfig.pipeline(high=high),
                detect_every=profile.detect_every,
                motion=MotionConfig() if config.motion_gate else None,
            ),
        )
    except BaseException:
        detector.close()
        raise
    facts = {
        "name": path.stem,
        "head": detector.head.name,
        "precision": precision,
        "runtime": "onnxruntime",
        "device": detector.model.device,
        "threads": getattr(detector.model, "threads", None),
        "input_hw": list(detector.input_hw),
        "tier": profile.tier if is_embedded else None,
        "detect_every": profile.detect_every,
        "motion_gate": config.motion_gate,
        "score": high,
        "classifier": classifier.name if classifier else None,
    }
    estimates = _estimates(device, path, detector, precision, notes) if device is not None else None
    return Ready(pipeline, detector.labels, facts, estimates, tuple(notes))


def find_detector(wanted: str, tier: str, source: SourceInfo) -> tuple[Path, bool]:
    """The detector's file, and whether it is one of the embedded family.

    Raises:
        BackendUnavailable: "auto" on real video, and no real detector can be had here.
        ModelLoadError: no such file or name.
    """
    if wanted == "auto":
        wanted = "street" if source.kind == "scenes" else SSDLITE
        try:
            return _by_name(wanted, tier)
        except BackendUnavailable as error:
            raise BackendUnavailable(
                f"{source.spec} is real video, and the embedded detector knows only the synthetic street. Name a real "
                f"detector (--detector yolox_nano.onnx), or run once with a network, so that {SSDLITE} can be fetched; "
                "if the file does show the synthetic street, say --detector street."
            ) from error
    return _by_name(wanted, tier)


def _by_name(wanted: str, tier: str) -> tuple[Path, bool]:
    if wanted == "street":
        wanted = f"street-{tier}"
    if wanted in DETECTORS:
        return embedded(wanted).onnx, True
    if wanted == "ssdlite320":
        wanted = SSDLITE
    path = Path(wanted).expanduser()
    if not path.exists() and (path.suffix or len(path.parts) > 1):
        raise ModelLoadError(
            f"{wanted} does not exist. Give an ONNX file, street, {', '.join(DETECTORS)} or ssdlite320."
        )
    return external_model(wanted), False


def _overridden(profile: EdgeProfile, config: EdgeConfig) -> EdgeProfile:
    return replace(
        profile,
        tier=config.tier or profile.tier,
        precision=config.precision or profile.precision,
        detect_every=config.detect_every if config.detect_every is not None else profile.detect_every,
    )


def _detector_of_bytes(path: Path, config: EdgeConfig, *, device: str) -> Detector:
    """The detector behind `path`, made to take bytes where that can be done."""
    plain = load_detector(path, config.head, device=device, threads=config.threads, wanted=config.classes)
    try:
        of_bytes = bytes_model(path, plain.head.pixels)
        if of_bytes == path:
            return plain
        model = load_model(of_bytes, device=device, threads=config.threads)
        detector = Detector(model, plain.head, wanted=config.classes)
    except BaseException:
        plain.close()
        raise
    plain.close()
    return detector


def _load_classifier(config: EdgeConfig, is_embedded: bool, notes: list[str]) -> CropClassifier | None:
    wanted = config.classifier
    if wanted == "none":
        return None
    if wanted == "auto":
        if not is_embedded:
            notes.append(
                "No classifier runs: the embedded one knows only the synthetic street (--classifier names another)."
            )
            return None
        wanted = CLASSIFIER
    path = embedded(wanted).onnx if wanted == CLASSIFIER else external_model(wanted)
    model = load_model(path, device="cpu", threads=config.threads)
    try:
        return CropClassifier(model)
    except BaseException:
        model.close()
        raise


def _warm_up(detector: Detector, classifier: CropClassifier | None, size_hw: tuple[int, int]) -> None:
    """The first inferences are slow (memory is planned, kernels are chosen): no frame should wait for them."""
    blank = np.full((*size_hw, 3), 114, np.uint8)
    for _ in range(3):
        detector.detect(blank)
        if classifier is not None:
            classifier.probabilities(blank, np.array([[0, 0, *size_hw[::-1]]], np.float32))


def _estimates(device: Device, path: Path, detector: Detector, precision: str, notes: list[str]) -> dict[str, Any]:
    """The roofline estimate of the detector on the named device, in the nearest precision it has."""
    cost = model_cost(path, {detector.model.inputs[0].name: (1, 3, *detector.input_hw)})
    wanted: Precision = precision if precision in device.precisions else device.precisions[-1]
    found = estimate(cost, device, wanted)
    notes.append(str(found))
    return {
        "kind": "estimate",
        "device": device.name,
        "precision": wanted,
        "detector_ms": [found.latency_low_ms, found.latency_high_ms],
        "how": str(found),
    }


def _ordinal(number: int) -> str:
    return {1: "single", 2: "2nd", 3: "3rd"}.get(number, f"{number}th")
