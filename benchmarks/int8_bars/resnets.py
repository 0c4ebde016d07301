"""ResNet-18 and -50 in int8: ours beside ONNX Runtime's own quantizer, on the same pictures.

The weights are random, so that nothing has to be downloaded; BatchNorm gets the statistics that these weights give on
pictures, without which activations would grow from layer to layer as in no trained network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.bars import Bar, speedup
from benchmarks.int8_bars.stock import stock_int8
from solutions.core.measure.profiling import measure_pair
from solutions.core.vision.scenes import StreetScene
from solutions.core.zoo.export import export_onnx
from solutions.core.zoo.external import external_module
from solutions.core.zoo.settling import settle_batch_norms
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.running import Feeds, predictor, sqnr_db
from solutions.phase2_optimization.quantization.static import StaticConfig, quantize_static

MODELS = ("resnet18", "resnet50")
MIN_SPEEDUP, MAX_RATIO = 3.3, 1.03
_SEED = 4_000_000
_MEAN, _STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)


def pictures(count: int, *, side: int, seed: int = _SEED) -> list[np.ndarray]:
    """Streets as a classifier takes them: float32 [1, 3, side, side], RGB, normalised."""
    found = []
    for number in range(count):
        scene = StreetScene(seed + number, size_hw=(side, side))
        scene.advance(5.0)
        rgb = scene.render()[0][..., ::-1].astype(np.float32) / 255
        found.append(np.ascontiguousarray(((rgb - _MEAN) / _STD).transpose(2, 0, 1)[None]))
    return found


def filled_resnet(name: str, out: Path, shown: np.ndarray) -> Path:
    """`out`, the ONNX file of the network with random weights and the BatchNorm statistics of the pictures shown."""
    module, _ = external_module(name, random=True)
    settle_batch_norms(module, [(torch.from_numpy(shown),)])
    example = torch.from_numpy(shown[:2])
    sizes = {0: torch.export.Dim("batch")}
    export_onnx(module, example, out, inputs=["images"], outputs=("logits",), sizes=sizes, facts={})
    return out


def resnet_bars(*, rounds: int, samples: int) -> Iterator[Bar]:
    """Latency beside the stock file, SQNR beside it, speed-up over float, layers left in float."""
    torch.set_num_threads(1)
    for name in MODELS:
        with tempfile.TemporaryDirectory(prefix="resnet-") as folder:
            yield from _bars(name, Path(folder), rounds, samples)


def _bars(name: str, folder: Path, rounds: int, samples: int) -> Iterator[Bar]:
    shown = pictures(samples + 8, side=224)
    source = filled_resnet(name, folder / "float.onnx", np.concatenate(shown[:8]))
    feeds: list[Feeds] = [{"images": picture} for picture in shown]
    learnt, judged = feeds[8:], feeds[:8]
    stock = stock_int8(source, folder / "stock.onnx", learnt, "Entropy")  # 3 dB better here than its "Percentile"
    ours = folder / "ours.onnx"
    quantize_static(source, ours, learnt, StaticConfig(observer="percentile:99.99", max_samples=samples))
    runs = {key: predictor(onnx.load(path)) for key, path in (("float", source), ("stock", stock), ("ours", ours))}
    want = [runs["float"](feed) for feed in judged]
    noise = {key: sqnr_db(want, [runs[key](feed) for feed in judged]) for key in ("stock", "ours")}
    once = judged[0]
    beside = measure_pair(lambda: runs["stock"](once), lambda: runs["ours"](once), rounds=rounds).ratio
    over = measure_pair(lambda: runs["float"](once), lambda: runs["ours"](once), rounds=rounds).ratio
    left = check_fusion(ours).float
    yield Bar(name, "time over stock's", beside.ratio, at_most=MAX_RATIO, low=beside.low, high=beside.high)
    yield Bar(name, "SQNR dB", noise["ours"], at_least=noise["stock"])
    yield speedup(name, over, at_least=MIN_SPEEDUP)
    yield Bar(name, "layers left in float", left, at_most=0)
