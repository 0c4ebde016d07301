"""Calibration on ONNX graphs: the right values, streaming, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase2_optimization.quantization import calibration
from solutions.phase2_optimization.quantization.calibration import collect_ranges
from solutions.phase2_optimization.quantization.observers import OBSERVERS


def _model(shape=("n", 2, 4, 4)) -> onnx.ModelProto:
    """x -> Conv (twice each channel) -> Relu -> y, beside Shape(x); the middle would be fused if optimised."""
    weight = np.zeros((2, 2, 1, 1), np.float32)
    weight[0, 0] = weight[1, 1] = 2
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["middle"]),
        helper.make_node("Relu", ["middle"], ["y"]),
        helper.make_node("Shape", ["x"], ["sizes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _feed(low: float, high: float, batch: int = 1) -> dict[str, np.ndarray]:
    x = np.zeros((batch, 2, 4, 4), np.float32)
    x[0, 0, 0, 0], x[-1, 1, 3, 3] = low, high
    return {"x": x}


FEEDS = [_feed(-1, 2), _feed(-3, 1, batch=2), _feed(-0.5, 0.5)]
WANT = {"y": (0, 4), "middle": (-6, 4), "x": (-3, 2), "w": (0, 2)}


@pytest.mark.parametrize("group_bytes", [1, 200, 1 << 20])
def test_ranges_in_the_order_asked_for(group_bytes):
    got = collect_ranges(_model(), ["y", "middle", "x", "w", "y"], iter(FEEDS), "minmax", group_bytes=group_bytes)
    assert got == WANT
    assert list(got) == list(WANT)


def test_a_file_and_only_the_inputs(tmp_path):
    path = tmp_path / "small.onnx"
    onnx.save(_model(), path)
    assert collect_ranges(path, ["x"], FEEDS) == {"x": (-3, 2)}
    assert collect_ranges(str(path), WANT, FEEDS) == WANT


def test_the_model_is_not_changed():
    model = _model()
    before = model.SerializeToString()
    collect_ranges(model, ["middle"], FEEDS)
    assert model.SerializeToString() == before


def test_sizes_may_differ_from_sample_to_sample():
    model = _model(("n", 2, "h", "w"))
    feeds = [{"x": np.full((1, 2, size, 5), size, np.float32)} for size in (3, 7, 4)]
    assert collect_ranges(model, ["middle"], feeds) == {"middle": (6, 14)}


def test_groups_hold_as_many_bytes_as_allowed():
    sizes = {"a": 4, "b": 4, "c": 20, "d": 1, "e": 1}
    assert calibration._groups(list("abcdef"), sizes, 8) == [["a", "b"], ["c"], ["d", "e", "f"]]
    assert calibration._groups([], sizes, 8) == []


@pytest.mark.parametrize("observer", OBSERVERS)
def test_no_sample_is_kept(observer):
    """At most one sample is alive at a time: the one before is gone when the next is asked for."""
    alive: list[weakref.ref[np.ndarray]] = []

    def samples():
        for number in range(12):
            assert sum(ref() is not None for ref in alive) <= 1
            feed = _feed(-number - 1, number + 1)
            alive.append(weakref.ref(feed["x"]))
            yield feed

    low, high = collect_ranges(_model(), ["middle"], samples(), observer)["middle"]
    assert -24 <= low < 0 < high <= 24


def _growth_mb(observer: str, samples: int) -> float:
    """What the benchmark measures in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.calibration_memory", "--child", observer, "--samples", str(samples)]
    root = Path(__file__).parents[2]
    return float(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=200).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not run here: needs /proc/self/clear_refs")
@pytest.mark.parametrize("observer", ["minmax", "entropy"])
def test_peak_memory_is_flat(observer):
    few, many = _growth_mb(observer, 8), _growth_mb(observer, 48)
    # 40 pictures kept would be 280 MB more; the benchmark holds all observers to 10% from 32 to 512 pictures.
    assert many <= few * 1.10 + 5


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        pytest.param(lambda: collect_ranges(_model(), ["y"], []), ConfigError, "at least one sample", id="no-sample"),
        pytest.param(lambda: collect_ranges(_model(), ["z"], FEEDS), ConfigError, "no tensor 'z'", id="unknown"),
        pytest.param(lambda: collect_ranges(_model(), ["y"], FEEDS, "best"), ConfigError, "observer", id="observer"),
        pytest.param(lambda: collect_ranges(_model(), ["sizes"], FEEDS), ConfigError, "no float", id="integers"),
        pytest.param(
            lambda: collect_ranges(_model(), ["y"], [*FEEDS, {"q": FEEDS[0]["x"]}]), ConfigError, "sample 4", id="name"
        ),
        pytest.param(lambda: collect_ranges(_model(), ["x"], [{}]), ConfigError, "lacks the input x", id="no-input"),
        pytest.param(
            lambda: collect_ranges(_model(), ["y"], [{"x": np.zeros((1, 3, 4, 4), np.float32)}]),
            ConfigError,
            "sample 1",
            id="shape",
        ),
        pytest.param(
            lambda: collect_ranges(_model(), ["middle"], [_feed(np.nan, 1)]), ConfigError, "middle: .*NaN", id="nan"
        ),
        pytest.param(
            lambda: collect_ranges(_model(), ["y"], [{"x": np.zeros((0, 2, 4, 4), np.float32)}]),
            ConfigError,
            "y: .*seen no value",
            id="empty",
        ),
        pytest.param(lambda: collect_ranges("missing.onnx", ["y"], FEEDS), ModelLoadError, "does not exist", id="file"),
        pytest.param(
            lambda: collect_ranges(helper.make_model(_broken()), ["y"], FEEDS), ModelLoadError, "calibration", id="op"
        ),
    ],
)
def test_refusals(call, error, match):
    with pytest.raises(error, match=match):
        call()


def _broken() -> onnx.GraphProto:
    graph = onnx.GraphProto()
    graph.CopyFrom(_model().graph)
    graph.node[0].op_type = "NoSuchOperator"
    return graph
