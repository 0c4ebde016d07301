"""YOLOX-nano in int8 on real pedestrians: points of AP50 lost in each clip, and speed; the stock quantizer beside it.

Calibrated on pictures of anything (`images/coco_val`), judged on every frame of vtest.avi (MOT15's PETS09-S2L1) and of
TUD-Campus: boxes of persons, truth of confidence 0 not judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx

from benchmarks.bars import Bar, speedup
from benchmarks.int8_bars.stock import stock_int8
from solutions.core.measure.profiling import measure_pair
from solutions.core.vision.detection_metrics import TruthBoxes
from solutions.core.vision.mot import read_truth
from solutions.core.vision.video import open_source
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.gate import Drop, GateConfig, run_gate
from solutions.phase2_optimization.quantization.running import Feeds, predictor
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static
from solutions.phase2_optimization.quantization.variants import StaticVariants
from solutions.phase4_production.video_analysis.detector import Detector, load_detector
from solutions.phase4_production.video_analysis.detector_judge import DetectorJudge, LabelledSet

MAX_POINTS, MIN_SPEEDUP = 1.0, 1.6
CLIPS = {"vtest.avi": "PETS09-S2L1", "TUD-Campus.mp4": "TUD-Campus"}
_RANKING_THRESHOLD = 0.01  # AP judges a ranking: what scores low counts, too
_STOCK = {"stock MinMax": ("MinMax", 0.0), "stock Percentile": ("Percentile", 99.99)}


@dataclass(frozen=True, slots=True)
class Clip:
    """Every `step`-th frame of a video file, read anew each time."""

    path: Path
    step: int = 1

    def __iter__(self) -> Iterator[np.ndarray]:
        with open_source(str(self.path)) as source:
            for frame in source:
                if frame.index % self.step == 0:
                    yield frame.pixels


def labelled_clips(data: Path, *, step: int = 1) -> dict[str, LabelledSet]:
    """The clips with their pedestrians, by name of the file."""
    found = {}
    for clip, sequence in CLIPS.items():
        frames = read_truth(data / "mot/MOT15" / sequence / "gt/gt.txt")
        truth = [TruthBoxes(each.boxes, np.zeros(len(each), np.int64), each.scores == 0) for each in frames[::step]]
        found[clip] = LabelledSet(Clip(data / "videos" / clip, step), truth, class_aware=False)
    return found


def person_detector(data: Path) -> Detector:
    """YOLOX-nano as it is ranked: persons alone, down to low scores."""
    path = data / "models/yolox_nano.onnx"
    return load_detector(path, device="cpu", threads=1, score_threshold=_RANKING_THRESHOLD, wanted=["person"])


def coco_feeds(data: Path, detector: Detector) -> list[Feeds]:
    """The calibration pictures as the detector takes them."""
    pictures = (cv2.imread(str(path)) for path in sorted((data / "images/coco_val").glob("*.jpg")))
    name = detector.model.inputs[0].name
    return [{name: detector.preprocess(picture).blob} for picture in pictures if picture is not None]


def yolox_bars(data: Path, *, rounds: int, step: int) -> Iterator[Bar]:
    """Ours with its bars, and the stock files without."""
    detector = person_detector(data)
    source = data / "models/yolox_nano.onnx"
    feeds = coco_feeds(data, detector)
    judge = DetectorJudge(detector, labelled_clips(data, step=step))
    exact = predictor(onnx.load(source))
    before = judge.look(exact)
    sample = feeds[0]

    def row(case: str, path: Path, *, judged: bool) -> Iterator[Bar]:
        predict = predictor(onnx.load(path))
        for clip, drop in judge.drops(before, judge.look(predict), 0.95).items():
            yield _points(case, clip, drop, judged=judged)
        ratio = measure_pair(lambda: exact(sample), lambda: predict(sample), rounds=rounds).ratio
        yield speedup(case, ratio, at_least=MIN_SPEEDUP if judged else None)
        yield Bar(case, "layers left in float", check_fusion(path).float)

    with tempfile.TemporaryDirectory(prefix="yolox-") as folder:
        ours = Path(folder) / "ours.onnx"
        quantize_static(source, ours, feeds, StaticConfig())
        yield from row("YOLOX-nano int8", ours, judged=True)
        for name, (method, percentile) in _STOCK.items():
            path = stock_int8(source, Path(folder) / "stock.onnx", feeds, method, percentile)
            yield from row(f"YOLOX-nano {name}", path, judged=False)
    detector.close()


def gate_bars(data: Path, *, rounds: int, step: int) -> Iterator[Bar]:
    """What accuracy control makes of it: layers go back to float until each clip's interval is within the bound."""
    detector = person_detector(data)
    source = data / "models/yolox_nano.onnx"
    feeds = coco_feeds(data, detector)
    variants = StaticVariants(source, feeds[::2], StaticConfig())
    judge = DetectorJudge(detector, labelled_clips(data, step=step))
    bounds = GateConfig(MAX_POINTS / 100, min_speedup=1.2, rounds=rounds)
    _, report = run_gate(onnx.load(source), variants, feeds[1::2], bounds, score=judge)
    detector.close()
    print(report.reason)
    for name, why in report.kept.items():
        print(f"  float: {name}: {why}")
    for clip, drop in report.drops.items():
        yield _points("YOLOX-nano gate", clip, drop, judged=False)
    yield speedup("YOLOX-nano gate", report.ratio)
    yield Bar("YOLOX-nano gate", "layers put back into float", len(report.kept))


def _points(case: str, clip: str, drop: Drop, *, judged: bool) -> Bar:
    points = [100 * value for value in (drop.mean, drop.low, drop.high)]
    bound = MAX_POINTS if judged else None
    return Bar(case, f"points of AP50 lost, {clip}", points[0], at_most=bound, low=points[1], high=points[2])
