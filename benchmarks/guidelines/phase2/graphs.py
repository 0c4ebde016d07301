"""Experiments on compilation behind the figures of phase 2's guidelines; each returns values for JSON.

Nothing is timed here: the same versions give the same numbers on every machine, but for the rounding of sums.
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from benchmarks.guidelines.phase2.networks import COMPILATION, DETECTOR, PICTURE, graph, untrained
from solutions.core.classroom.anatomy import take_apart
from solutions.core.classroom.compile_script import fold, lives_of
from solutions.core.classroom.graph_values import Engine, Life, Wish
from solutions.core.hardware.model_cost import shaped_graph
from solutions.phase1_basics.profiling.activation_memory import onnx_lifetimes
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.optimizer import OptimizerConfig, optimize
from solutions.phase2_optimization.compilation.quiet import quiet_torch

SERVED = (1, 2, 5)  # batch sizes that a server may be asked for
OPTIMISED = ("shufflenet_v2_x0_5", "mobilenet_v3_small", "resnet18")
PLANNED = ("resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5")
DETECTOR_HW = (256, 448)
REQUESTS = 400

Array = np.ndarray[Any, Any]
Run = Callable[[Array], Array]


def exports() -> dict[str, Any]:
    """What three exports of one small network write down for its batch, and how each answers three batch sizes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)
        )
        network(torch.rand(16, 3, 8, 8))  # the batch norm learns a mean
        network.eval()
    free = ({0: torch.export.Dim("batch")},)
    dice = np.random.default_rng(6)
    pictures = {batch: dice.random((batch, 3, 8, 8), np.float32) for batch in SERVED}
    rows = []
    for title, example, sizes in (
        ("example of 1, nothing said", 1, None),
        ("example of 2, nothing said", 2, None),
        ("example of 2, batch free", 2, free),
    ):
        with tempfile.TemporaryDirectory(prefix="exports-") as folder, quiet_torch():
            path = Path(folder) / "net.onnx"
            torch.onnx.export(
                network, (torch.rand(example, 3, 8, 8),), path, dynamo=True, input_names=["x"],
                output_names=["y"], dynamic_shapes=sizes, verbose=False,
            )  # fmt: skip
            axis = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]
            rows.append(
                {
                    "export": title,
                    "batch": axis.dim_param or axis.dim_value,
                    "off": [_off(path, network, pictures[batch]) for batch in SERVED],
                }
            )
    return {"batches": list(SERVED), "rows": rows}


def _off(path: Path, network: nn.Module, pictures: Array) -> float | None:
    """The largest difference from torch over the largest answer; None where the file refuses the batch."""
    model = OnnxModel(path, device="cpu", threads=1)
    try:
        found = model.predict({"x": pictures})["y"]
    except Exception:  # the runtime has its own exceptions, and a refusal is what is asked for here
        return None
    finally:
        model.close()
    with torch.inference_mode():
        want = network(torch.from_numpy(pictures)).numpy()
    return float(np.abs(found - want).max() / np.abs(want).max())


def passes() -> list[dict[str, Any]]:
    """Nodes that each pass removes from graphs as a tracing exporter writes them."""
    rows = []
    for name in OPTIMISED:
        with tempfile.TemporaryDirectory(prefix="passes-") as folder:
            done = optimize(raw_export(name, Path(folder) / "raw.onnx"), OptimizerConfig(verify=False))
        removed = {each.name: each.nodes_removed for each in done.passes if each.nodes_removed}
        rows.append({"model": name, "before": done.nodes_before, "after": done.nodes_after, "removed": removed})
    return rows


def raw_export(name: str, path: Path) -> Path:
    """The network as torch's older exporter writes it when it is told to leave everything as it is, batch free."""
    free = {"x": {0: "batch"}, "y": {0: "batch"}}
    with quiet_torch():
        torch.onnx.export(
            untrained(name), (torch.rand(2, *PICTURE[1:]),), path, dynamo=False, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"], output_names=["y"], dynamic_axes=free,
            opset_version=17,
        )  # fmt: skip
    return path


def arena() -> dict[str, Any]:
    """Where the activations of the detector lie in one arena, and the bytes of this and some other networks."""
    height, width = DETECTOR_HW
    source = graph(DETECTOR)
    shapes = {source.graph.input[0].name: (1, 3, height, width)}
    buffers, _ = onnx_lifetimes(shaped_graph(source, shapes))
    lives = [Life(each.name, each.bytes, each.born, each.last) for each in buffers]
    places = COMPILATION.pack_arena(lives)
    rows = [{"model": DETECTOR, **_bytes(lives, places)}]
    for name in PLANNED:
        others = lives_of(take_apart(untrained(name), torch.rand(PICTURE)))
        rows.append({"model": name, **_bytes(others, COMPILATION.pack_arena(others))})
    boxes = [{"first": life.first, "last": life.last, "at": places[life.name], "bytes": life.bytes} for life in lives]
    return {"input_hw": list(DETECTOR_HW), "boxes": boxes, "rows": rows}


def _bytes(lives: list[Life], places: dict[str, int]) -> dict[str, int]:
    steps = range(max(life.last for life in lives) + 1)
    return {
        "tensors": len(lives),
        "naive": sum(life.bytes for life in lives),
        "arena": max(places[life.name] + life.bytes for life in lives),
        "bound": max(sum(life.bytes for life in lives if life.first <= now <= life.last) for now in steps),
    }


def parity() -> dict[str, Any]:
    """How far float32 is from float64 layer by layer, with and without a mistake, against what rounding explains."""
    network, dice = untrained("resnet18"), np.random.default_rng(9)
    picture = dice.random((2, *PICTURE[1:]), np.float32)
    mistaken = copy.deepcopy(network)
    for layer in mistaken.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-3
    want = _by_layer(copy.deepcopy(network).double(), picture.astype(np.float64))
    right, wrong = _by_layer(network, picture), _by_layer(mistaken, picture)
    lengths = [network.get_parameter(f"{name}.weight")[0].numel() for name in want]
    explained = np.cumsum([(math.sqrt(length) + 4) * 2.0**-24 for length in lengths])
    layers = [
        {
            "layer": name,
            "length": length,
            "explained": float(bound),
            "float32": float(np.abs(right[name] - answer).max() / np.abs(answer).max()),
            "wrong_eps": float(np.abs(wrong[name] - answer).max() / np.abs(answer).max()),
        }
        for (name, answer), length, bound in zip(want.items(), lengths, explained, strict=True)
    ]
    candidates = {
        "batch norms folded": _run(fold(network, COMPILATION)[0]),
        "computed in float64": _run(copy.deepcopy(network).double(), torch.float64),
        "batch norms with eps 0.001 for 0.00001": _run(mistaken),
        "computed in float16": _run(copy.deepcopy(network).half(), torch.float16),
        "answers zeros": lambda x: np.zeros((len(x), 1000), np.float32),
    }
    rows = []
    for title, candidate in candidates.items():
        found = COMPILATION.check_parity(
            _run(network), candidate, lambda batch: dice.random((batch, *PICTURE[1:]), np.float32), lengths
        )
        rows.append({"candidate": title, "worst": found.worst, "agrees": found.agrees})
    return {"model": "resnet18", "layers": layers, "explained": float(explained[-1]), "rows": rows}


def _run(network: nn.Module, dtype: torch.dtype = torch.float32) -> Run:
    """The network as a function of float32 arrays, whatever it computes in."""

    def run(pictures: Array) -> Array:
        with torch.inference_mode():
            found: Array = network(torch.from_numpy(pictures).to(dtype)).float().numpy()
        return found

    return run


def _by_layer(network: nn.Module, picture: Array) -> dict[str, Array]:
    """What each convolution and linear layer makes of a picture, as float64, in the order in which they run."""
    seen: dict[str, Array] = {}
    hooks = [
        module.register_forward_hook(lambda _module, _args, made, name=name: seen.update({name: made.double().numpy()}))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    with torch.inference_mode():
        network(torch.from_numpy(picture))
    for hook in hooks:
        hook.remove()
    return seen


def engines() -> dict[str, Any]:
    """Builds over many requests of batches of 1 to 32, by how wide an engine's profile is and how many are kept."""
    dice = np.random.default_rng(12)
    sizes = [int(size) for size in np.clip(dice.geometric(0.12, REQUESTS), 1, 32)]
    policies: dict[str, tuple[Callable[[int], tuple[int, int]], int]] = {
        "one size each, 8 kept": (lambda size: (size, size), 8),
        "one size each, 32 kept": (lambda size: (size, size), 32),
        "from half to a power of two, 8 kept": (_up_to_a_power, 8),
        "1 to 32, one engine": (lambda size: (1, 32), 8),
    }
    rows = []
    for title, (widths, room) in policies.items():
        stored: list[Engine] = []
        built: list[int] = []

        for number, size in enumerate(sizes, 1):
            least, most = widths(size)

            def build(wish: Wish, least: int = least, most: int = most) -> Engine:
                return Engine(wish.model, wish.precision, wish.device, wish.version, (least,), (most,), wish.shape)

            before = list(stored)
            COMPILATION.engine_for(Wish("m", "f16", "gpu", "1", (size,)), stored, build, room=room)
            if not any(one is stored[-1] for one in before):
                built.append(number)
        rows.append({"policy": title, "built_at": built})
    return {"requests": REQUESTS, "sizes": len(set(sizes)), "rows": rows}


def _up_to_a_power(size: int) -> tuple[int, int]:
    most = 1 << (size - 1).bit_length()
    return most // 2 + 1, most
