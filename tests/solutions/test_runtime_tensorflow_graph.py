"""Frozen graphs: what goes in and out, training graphs, graphs that cannot be used, damage."""

import numpy as np
import pytest

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.runtimes.tensorflow import load_tensorflow
from tests.solutions import tf_builders as build


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return build.save_graph(build.small_network(), tmp_path_factory.mktemp("frozen") / "small.pb")


def refused(path, message, **options):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_tensorflow(path, **options)
    assert "\n" not in str(caught.value)


def graph_file(path, make):
    """A GraphDef of what `make` builds in graph mode."""
    tf = build.tensorflow()
    with tf.Graph().as_default() as graph:
        make(tf.compat.v1)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_inputs_are_placeholders_and_outputs_are_what_nobody_reads(tmp_path):
    def make(v1):
        x = v1.placeholder("float32", (None, 4), name="x")
        keep = v1.placeholder_with_default(1.0, (), name="keep")
        v1.placeholder("float32", (), name="forgotten")
        v1.split(x * keep, 2, axis=1, name="halves")
        v1.reduce_sum(x, axis=1, name="total")

    model = load_tensorflow(graph_file(tmp_path / "m.pb", make))
    assert [spec.name for spec in model.inputs] == ["x"]
    assert [spec.name for spec in model.outputs] == ["halves", "halves:1", "total"]
    got = model.predict({"x": np.arange(8, dtype=np.float32).reshape(2, 4)})
    np.testing.assert_array_equal(got["halves:1"], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(got["total"], [6, 22])


def test_inner_nodes_can_be_asked_for(frozen):
    with pytest.raises(ConfigError, match="no node nowhere"):
        load_tensorflow(frozen, outputs=["nowhere"])
    graph = build.tensorflow().compat.v1.GraphDef.FromString(frozen.read_bytes())
    relu = next(node.name for node in graph.node if node.op == "Relu")
    model = load_tensorflow(frozen, outputs=[f"{relu}:0"])
    assert [(spec.name, spec.describe()) for spec in model.outputs] == [(relu, "float32[?, 7, 7, 8]")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda v1: v1.placeholder("float32", (None, 3)) * v1.get_variable("w", (3,)), "a training graph", id="v1"
        ),
        pytest.param(
            lambda v1: v1.placeholder("float32", (None, 3)) * v1.get_variable("w", (3,), use_resource=True),
            "a training graph", id="resource",
        ),
        pytest.param(lambda v1: v1.add(1.0, 2.0), "computes a constant", id="no-input"),
        pytest.param(lambda v1: v1.placeholder("float32", (None, 3)), "has no output", id="no-output"),
        pytest.param(lambda v1: v1.identity(v1.placeholder("float32")), "number of axes", id="unknown-rank"),
        pytest.param(lambda v1: v1.strings.to_number(v1.placeholder("string", ())), "string tensor", id="strings"),
        pytest.param(lambda v1: v1.io.read_file(v1.as_string(v1.placeholder("float32", ()))), "ReadFile", id="reads"),
    ],
)  # fmt: skip
def test_graphs_that_cannot_be_used_are_one_sentence(tmp_path, make, message):
    refused(graph_file(tmp_path / "m.pb", make), message)


def test_damaged_graphs_are_one_sentence(frozen, tmp_path):
    path = tmp_path / "m.pb"
    whole = frozen.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"hello, I am not a model", bytes(range(255, 0, -1)) * 20):
        path.write_bytes(content)
        refused(path, "no TensorFlow graph")
    path.write_bytes(whole.replace(b"Conv2D", b"Conv9D"))
    refused(path, "Conv9D")
    path.unlink()
    refused(path, "does not exist")
