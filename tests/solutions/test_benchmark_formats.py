"""benchmarks/benchmark_formats.py: one network in every format, and its conversion to TensorFlow."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks are scripts, not an installed package

from benchmarks import benchmark_formats
from benchmarks.comparison import street_tasks
from benchmarks.comparison.fixed_sizes import fix_sizes
from benchmarks.comparison.format_rows import Fed, FormatBench, FormatRow
from benchmarks.comparison.formats import Format, Formats
from benchmarks.comparison.rows import NotRun
from benchmarks.comparison.tasks import MeanScore, Task
from benchmarks.comparison.tensorflow_twin import write_saved_model, write_tflite
from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.scripts import EXIT_CANNOT_RUN, EXIT_FAILED, EXIT_OK, run
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.profiling.device_comparison import relative_difference
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.parity import rounding_tolerance
from tests.solutions import onnx_builders
from tests.solutions import tf_builders as build
from tests.solutions.street_builders import data_of

SIDE = 9  # odd, so that padding on the wrong side shows


def weights(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(0, 0.4, shape).astype(np.float32)


def node(op, inputs, output="y", **facts):
    return helper.make_node(op, inputs, [output], **facts)


GRAPHS = {  # operator -> nodes from x [N, 4, 9, 9] to y, stored arrays, shape of y
    "conv-stride-2-padded": (
        [node("Conv", ["x", "w", "b"], strides=[2, 2], pads=[1, 1, 1, 1])], {"w": weights(6, 4, 3, 3), "b": weights(6)},
    ),
    "conv-same": ([node("Conv", ["x", "w"], pads=[1, 1, 1, 1])], {"w": weights(6, 4, 3, 3)}),
    "conv-uneven-padding": ([node("Conv", ["x", "w"], pads=[0, 1, 2, 0])], {"w": weights(6, 4, 3, 3)}),
    "conv-dilated": (
        [node("Conv", ["x", "w"], pads=[2, 2, 2, 2], dilations=[2, 2])], {"w": weights(6, 4, 3, 3)},
    ),
    "conv-depthwise": (
        [node("Conv", ["x", "w"], group=4, strides=[2, 2], pads=[1, 1, 1, 1])], {"w": weights(8, 1, 3, 3)},
    ),
    "conv-grouped": ([node("Conv", ["x", "w"], group=2)], {"w": weights(6, 2, 3, 3)}),
    "batch-norm": (
        [node("BatchNormalization", ["x", "s", "b", "m", "v"], epsilon=1e-3)],
        {"s": weights(4), "b": weights(4, seed=1), "m": weights(4, seed=2), "v": weights(4, seed=3) ** 2},
    ),
    "max-pool-padded": ([node("MaxPool", ["x"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "average-pool": ([node("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])], {}),
    "resize": (
        [node("Resize", ["x", "", "f"], mode="nearest", coordinate_transformation_mode="asymmetric",
              nearest_mode="floor")], {"f": np.float32([1, 1, 2, 3])},
    ),
    "channel-factors": ([node("Mul", ["x", "c"])], {"c": weights(4, 1, 1)}),
    "difference-and-quotient": ([node("Sub", ["c", "x"], "d"), node("Div", ["d", "e"])],
                                {"c": weights(1, 4, 1, 1), "e": np.float32(3)}),
    "concat-of-channels": ([node("Relu", ["x"], "r"), node("Concat", ["x", "r"], axis=1)], {}),
    "clip": ([node("Clip", ["x", "l", "h"])], {"l": np.float32(-0.3), "h": np.float32(0.4)}),
    "relu6": ([node("Clip", ["x", "l", "h"])], {"l": np.float32(0), "h": np.float32(6)}),
    "hard-sigmoid": ([node("HardSigmoid", ["x"], alpha=1 / 6)], {}),
    "hard-swish": ([node("HardSwish", ["x"])], {}),
    "sigmoid": ([node("Sigmoid", ["x"])], {}),
    "head": (
        [node("GlobalAveragePool", ["x"], "g"), node("Flatten", ["g"], "f"), node("Gemm", ["f", "w", "b"], transB=1)],
        {"w": weights(5, 4), "b": weights(5)},
    ),
    "flat-pictures": ([node("Flatten", ["x"], "f"), node("Gemm", ["f", "w"])], {"w": weights(4 * SIDE * SIDE, 3)}),
    "reshaped-pictures": ([node("Reshape", ["x", "s"])], {"s": np.int64([0, -1])}),
    "means": ([node("ReduceMean", ["x"], axes=[2, 3], keepdims=0)], {}),
    "maximum-of-channels": ([node("ReduceMax", ["x"], axes=[1], keepdims=1), ], {}),
}  # fmt: skip


def saved(path, nodes, stored):
    # shapes of the output are left to the checker: only their number matters here
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", 1, ["batch", 4, SIDE, SIDE])],
            [helper.make_empty_tensor_value_info("y")],
            [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 14 if nodes[0].op_type != "HardSwish" else 17)],
        ir_version=8,
    )
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


@pytest.fixture(scope="module")
def tensorflow():
    return build.tensorflow()


@pytest.mark.parametrize("name", GRAPHS)
def test_tensorflow_answers_as_onnx_runtime(tensorflow, tmp_path, name):
    nodes, stored = GRAPHS[name]
    graph = saved(tmp_path / "net.onnx", nodes, stored)
    x = np.random.default_rng(1).normal(0, 1, (2, 4, SIDE, SIDE)).astype(np.float32)
    want = OnnxModel(graph, device="cpu", threads=1).predict({"x": x})
    model = load_model(write_saved_model(graph, tmp_path / "saved", threads=1))
    got = model.predict({"x": np.ascontiguousarray(x.transpose(0, 2, 3, 1))})
    # sums in another order: sqrt(K) + 4 roundings, as in parity.py; nothing here amplifies
    assert relative_difference([want["y"]], [got["y"]]) <= rounding_tolerance(graph)


@pytest.mark.parametrize(
    ("nodes", "stored", "says"),
    [
        pytest.param([node("Erf", ["x"])], {}, "does not know Erf", id="operator"),
        pytest.param([node("Relu", ["x"], "w"), node("Conv", ["x", "w"])], {}, "wants w stored", id="computed-weight"),
        pytest.param(
            [node("Resize", ["x", "", "f"], mode="linear")], {"f": np.float32([1, 1, 2, 2])}, "whole", id="linear"
        ),
        pytest.param([node("Reshape", ["x", "s"])], {"s": np.int64([0, 2, 2, -1])}, "to pictures", id="reshape"),
    ],
)  # fmt: skip
def test_what_the_conversion_does_not_know_is_refused_by_name(tensorflow, tmp_path, nodes, stored, says):
    with pytest.raises(ConfigError, match=says):
        write_saved_model(saved(tmp_path / "net.onnx", nodes, stored), tmp_path / "saved", threads=1)


def test_an_embedded_network_in_litert_float_and_int8(tensorflow, tmp_path):
    build.needs("ai_edge_litert", "tflite")
    crops = np.random.default_rng(0).integers(0, 256, (4, 3, 48, 48)).astype(np.float32)
    feeds = {"crops": crops}
    graph = fix_sizes(embedded("street-classifier").onnx, feeds, tmp_path / "net.onnx")
    want = list(OnnxModel(graph, device="cpu", threads=1).predict(feeds).values())
    folder = write_saved_model(graph, tmp_path / "saved", threads=1)
    sizes = []
    for calibration, most in (((), 1e-4), ([feeds], 0.3)):
        path = write_tflite(folder, tmp_path / "net.tflite", calibration=calibration)
        sizes.append(path.stat().st_size)
        got = Fed(load_model(path, threads=1), ["classes", "colours"])
        one = [got.run({"crops": crop[None]}) for crop in crops]
        assert relative_difference(want, [np.concatenate(rows) for rows in zip(*one, strict=True)]) < most
    assert sizes[1] < 0.6 * sizes[0]


def call(*arguments):
    return run(benchmark_formats.main, [str(argument) for argument in arguments])


@pytest.fixture
def street(monkeypatch):
    """Few pictures, made without rendering."""
    monkeypatch.setattr(street_tasks, "street_data", lambda *_, **__: data_of(16))


def test_formats_of_an_embedded_network(street, tmp_path):
    code = call(
        "--model", "street-classifier", "--only", "eager,torchscript,onnxruntime,own,tensorrt", "--rounds", 2,
        "--json", tmp_path / "f.json", "--html", tmp_path / "f.html",
    )  # fmt: skip
    record = json.loads((tmp_path / "f.json").read_text())
    assert code == EXIT_OK
    assert record["schema"] == "ml-inference/benchmark-formats/1"
    rows = {row["title"]: row for row in record["rows"]}
    assert list(rows) == ["PyTorch eager", "TorchScript", "ONNX Runtime", "ONNX by exercises (solutions)"]
    for title, row in rows.items():
        assert row["agrees"], title
        assert row["accuracy"] == rows["PyTorch eager"]["accuracy"]
        if title != "PyTorch eager":
            assert row["relative_output_difference"] <= row["tolerance"] < 1e-3
    why = {each["name"]: each["why"] for each in record["not_run"]}["TensorRT"]
    assert "not run here" in why or "not installed" in why
    page = (tmp_path / "f.html").read_text()
    assert "<svg" in page
    assert all(title in page for title in (*rows, "TensorRT"))


def test_unwritten_exercises_and_graphs_without_a_module_are_listed(street, tmp_path, capsys):
    onnx_builders.doubling(tmp_path / "doubling.onnx")
    given = ("--model", tmp_path / "doubling.onnx", "--only", "eager,onnxruntime,onnxruntime-int8", "--rounds", 2)
    assert call(*given) == EXIT_OK
    out = capsys.readouterr().out
    assert "not run: PyTorch eager: " in out
    assert "a graph without a PyTorch module" in out
    assert "not run: ONNX Runtime int8: int8 needs pictures to calibrate with: --data FOLDER" in out
    given = ("--model", "street-classifier", "--target", "templates", "--only", "onnxruntime,own", "--rounds", 2)
    assert call(*given) == EXIT_FAILED
    said = "exercise 2.10 fold_batchnorm is not written yet: phase2_optimization/template_compilation.py."
    assert f"not run: ONNX by exercises (templates): {said} Stuck? grade hint 2.10" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--model", "no-such-model"), "no-such-model", id="model"),
        pytest.param(("--only", "eager,netscape"), "--only takes eager, compiled", id="format"),
        pytest.param(("--target", "nowhere"), "neither templates nor solutions nor a path", id="target"),
        pytest.param(("--data", "nowhere"), "nowhere is no folder", id="folder"),
        pytest.param(("--threads", 0), "must be at least 1", id="threads"),
    ],
)
def test_refused_in_one_sentence(capsys, arguments, sentence):
    assert call(*arguments) == EXIT_CANNOT_RUN
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert sentence in said


def test_the_keys_are_those_of_the_formats(tmp_path):
    formats = Formats(None, tmp_path, None, tmp_path, threads=1, own=("mine", None))
    assert tuple(each.key for each in formats.all()) == benchmark_formats.KEYS


class Doubler:
    """A model that multiplies by `factor`."""

    def __init__(self, path, factor):
        self._model = OnnxModel(path, device="cpu", threads=1)
        self.name, self.format, self.device = "doubler", "test", "cpu"
        self.inputs, self.outputs, self._factor = self._model.inputs, self._model.outputs, factor

    def predict(self, feeds):
        return {name: value * np.float32(self._factor) for name, value in self._model.predict(feeds).items()}

    def close(self):
        pass


def test_a_format_that_differs_beyond_rounding_is_told_and_int8_is_not_held_to_it(tmp_path):
    path = onnx_builders.doubling(tmp_path / "doubling.onnx")
    feeds = {"x": np.float32([[1, 2, 3]])}
    task = Task("sameness", (), (feeds,), feeds, lambda predict: MeanScore(predict(feeds)[0][0] / 6))
    bench = FormatBench(task, path, ["y"], rounds=2)

    def row(factor, precision="f32"):
        return bench.run(Format("k", "t", lambda: (path, Doubler(path, factor)), precision))

    baseline = row(1)
    assert isinstance(baseline, FormatRow)
    assert (baseline.difference, baseline.ratio, baseline.agrees) == (None, None, True)
    assert row(1).agrees
    assert not row(1.001).agrees
    assert row(1.001, "bf16").agrees
    assert row(1.1, "").agrees
    assert row(0.5).drop.mean == pytest.approx(np.mean([2, 4, 6]) / 6 / 2)
    assert not replace(row(1), difference=None).agrees  # NaN, or another shape
    bench.close()


def test_a_format_that_is_missing_says_why(tmp_path):
    def missing():
        raise BackendUnavailable("it is not here")

    assert FormatBench(None, tmp_path, [], rounds=2).run(Format("k", "t", missing)) == NotRun("t", "", "it is not here")


def test_sizes_are_fixed_but_for_the_batch(tmp_path):
    feeds = {"images": np.zeros((1, 3, 64, 96), np.float32)}
    made = onnx.load(fix_sizes(embedded("street-small").onnx, feeds, tmp_path / "net.onnx"))
    axes = [axis.dim_value or axis.dim_param for axis in made.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, 64, 96]
    out = [axis.dim_value for axis in made.graph.output[0].type.tensor_type.shape.dim]
    assert out[1:] == [9, 8, 12]


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    graph = saved(
        tmp_path / "net.onnx",
        [node("MatMul", ["x", "w"])],
        {"w": weights(SIDE + 1, 2)},
    )
    with pytest.raises(ModelLoadError, match="does not take these sizes"):
        fix_sizes(graph, {}, tmp_path / "fixed.onnx")
