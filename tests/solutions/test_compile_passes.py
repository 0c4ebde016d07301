"""Each pass does what its name says, leaves alone what it must, and never changes an answer."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from solutions.phase2_optimization.compilation.passes import (
    fold_constants,
    merge_casts,
    merge_duplicates,
    merge_reshapes,
    merge_transposes,
    remove_dead,
    remove_identities,
)

RANDOM = np.random.default_rng(7)
IMAGE = (2, 3, 8, 8)


def node(op, inputs, output, **attributes):
    return helper.make_node(op, inputs.split(), [output], **attributes)


def model(nodes, weights=None, *, shape=IMAGE, outputs=("y",), opset=17, dtype=TensorProto.FLOAT, declared=None):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [
            onnx.ValueInfoProto(name=name) if declared is None else helper.make_tensor_value_info(name, dtype, declared)
            for name in outputs
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    made = onnx.shape_inference.infer_shapes(made)
    onnx.checker.check_model(made)
    return made


def answers(made, x):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x} if session.get_inputs() else {})


def apply(run, made, *, x=None, changes=1, exact=True, **options):
    """Run the pass, hold its answers against those before, and return the operators that are left."""
    if x is None:
        sizes = [dim.dim_value or 2 for dim in made.graph.input[0].type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(made.graph.input[0].type.tensor_type.elem_type)
        x = RANDOM.normal(0, 3, sizes).astype(kind)
    before = answers(made, x)
    assert run(made, **options) == changes
    remove_dead.run(made)
    onnx.checker.check_model(made, full_check=True)
    for want, got in zip(before, answers(made, x), strict=True):
        if exact:
            np.testing.assert_array_equal(got, want)
        else:  # float32 sums of fewer than 1000 products
            np.testing.assert_allclose(got, want, rtol=0, atol=1000**0.5 * 2.0**-23 * np.abs(want).max())
    assert run(made, **options) == 0, "a second run finds nothing more"
    return [item.op_type for item in made.graph.node]


def weight(*shape):
    return RANDOM.normal(0, 1, shape).astype(np.float32)


# -- constants -----------------------------------------------------------------------------------------------------


def test_constants_are_folded_through_chains():
    made = model(
        [
            node("Constant", "", "c", value=numpy_helper.from_array(np.float32(2))),
            node("Mul", "c w", "cw"),
            node("Sqrt", "cw", "root"),
            node("Add", "x root", "y"),
        ],
        {"w": np.float32(8)},
    )
    assert apply(fold_constants.run, made, changes=3) == ["Add"]


def test_sizes_are_folded_where_they_are_known():
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s i", "channels"),
        node("Cast", "channels", "scale", to=TensorProto.FLOAT),
        node("Mul", "x scale", "y"),
    ]
    assert apply(fold_constants.run, model(nodes, {"i": np.int64(1)}), changes=3) == ["Mul"]
    free = model(nodes, {"i": np.int64(1)}, shape=("batch", 3, "h", "w"))
    assert apply(fold_constants.run, free, x=weight(*IMAGE), changes=2) == ["Mul"]
    batch = model(nodes, {"i": np.int64(0)}, shape=("batch", 3, 8, 8))
    assert "Shape" in apply(fold_constants.run, batch, changes=0)


def test_what_would_make_the_file_grow_is_not_folded():
    nodes = [node("Expand", "c s", "big"), node("Add", "x big", "y")]
    weights = {"c": np.float32(1), "s": np.array(IMAGE)}
    assert apply(fold_constants.run, model(nodes, weights), changes=0, limit_bytes=100) == ["Expand", "Add"]
    assert apply(fold_constants.run, model(nodes, weights), changes=1, limit_bytes=10_000) == ["Add"]


def test_quantized_weights_and_random_nodes_stay():
    nodes = [
        node("DequantizeLinear", "q s", "w"),
        node("Mul", "x w", "m"),
        node("RandomNormal", "", "r", shape=[1], seed=1.0),
        node("Mul", "r zero", "nil"),
        node("Add", "m nil", "y"),
    ]
    made = model(nodes, {"q": np.int8(3), "s": np.float32(0.5), "zero": np.float32(0)})
    assert apply(fold_constants.run, made, changes=0)[0] == "DequantizeLinear"


def test_an_initializer_that_callers_may_feed_is_no_constant():
    made = model([node("Sqrt", "w", "r"), node("Add", "x r", "y")], {"w": np.float32(4)})
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, ()))
    assert fold_constants.run(made) == 0


# -- dead and equal ------------------------------------------------------------------------------------------------


def test_dead_branches_and_weights_go():
    made = model(
        [node("Relu", "x", "y"), node("Mul", "x w", "dead"), node("Exp", "dead", "deader")], {"w": np.float32(2)}
    )
    assert remove_dead.run(made) == 3
    assert [n.op_type for n in made.graph.node] == ["Relu"]
    assert not made.graph.initializer


def test_equal_branches_fall_together():
    nodes = [node("Mul", "x two", "a"), node("Mul", "x zwei", "b"), node("Exp", "a", "c"), node("Exp", "b", "d")]
    made = model([*nodes, node("Add", "c d", "y")], {"two": np.float32(2), "zwei": np.float32(2)})
    assert apply(merge_duplicates.run, made, changes=3) == ["Mul", "Exp", "Add"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("Elu", {"alpha": 1.0}), ("Elu", {"alpha": 2.0}), id="attributes-differ"),
        pytest.param(("RandomNormalLike", {}), ("RandomNormalLike", {}), id="random"),
    ],
)
def test_different_nodes_are_not_merged(one, other):
    made = model([node(one[0], "x", "a", **one[1]), node(other[0], "x", "b", **other[1]), node("Add", "a b", "y")])
    assert merge_duplicates.run(made) == 0


def test_two_outputs_keep_their_names():
    made = model([node("Exp", "x", "y"), node("Exp", "x", "z")], outputs=("y", "z"))
    assert apply(merge_duplicates.run, made, changes=0) == ["Exp", "Exp"]


# -- identities ----------------------------------------------------------------------------------------------------

ONE, ZERO = {"c": np.float32(1)}, {"c": np.zeros((1, 3, 1, 1), np.float32)}


@pytest.mark.parametrize(
    ("same", "weights"),
    [
        pytest.param(node("Identity", "r", "i"), {}, id="identity"),
        pytest.param(node("Dropout", "r", "i"), {}, id="dropout"),
        pytest.param(node("Cast", "r", "i", to=TensorProto.FLOAT), {}, id="cast"),
        pytest.param(node("Transpose", "r", "i", perm=[0, 1, 2, 3]), {}, id="transpose"),
        pytest.param(node("Reshape", "r c", "i"), {"c": np.array([2, 3, 8, 8])}, id="reshape"),
        pytest.param(node("Expand", "r c", "i"), {"c": np.array([1])}, id="expand"),
        pytest.param(node("Pad", "r c", "i"), {"c": np.zeros(8, np.int64)}, id="pad"),
        pytest.param(node("Slice", "r a b", "i"), {"a": np.array([0]), "b": np.array([99])}, id="slice"),
        pytest.param(node("Concat", "r", "i", axis=1), {}, id="concat"),
        pytest.param(node("Clip", "r", "i"), {}, id="clip"),
        pytest.param(node("Relu", "r", "i"), {}, id="relu"),
        pytest.param(node("Add", "r c", "i"), ZERO, id="plus-zero"),
        pytest.param(node("Add", "c r", "i"), ZERO, id="zero-plus"),
        pytest.param(node("Sub", "r c", "i"), ZERO, id="minus-zero"),
        pytest.param(node("Mul", "c r", "i"), ONE, id="times-one"),
        pytest.param(node("Div", "r c", "i"), ONE, id="by-one"),
        pytest.param(node("Pow", "r c", "i"), ONE, id="to-the-one"),
    ],
)
@pytest.mark.parametrize("last", [True, False], ids=["makes-the-output", "in-the-middle"])
def test_identities_go(same, weights, last):
    copy = onnx.NodeProto.FromString(same.SerializeToString())
    nodes = [node("Relu", "x", "r"), copy]
    if last:
        copy.output[0] = "y"
        assert apply(remove_identities.run, model(nodes, weights)) == ["Relu"]
    else:
        assert apply(remove_identities.run, model([*nodes, node("Exp", "i", "y")], weights)) == ["Relu", "Exp"]


@pytest.mark.parametrize(
    ("other", "weights"),
    [
        pytest.param(node("Sub", "c r", "y"), ZERO, id="zero-minus"),
        pytest.param(node("Add", "r c", "y"), {"c": np.zeros((4, 2, 3, 8, 8), np.float32)}, id="zero-that-broadcasts"),
        pytest.param(node("Add", "r c", "y"), {"c": np.float32(1)}, id="plus-one"),
        pytest.param(node("Cast", "r", "y", to=TensorProto.DOUBLE), {}, id="cast-to-another"),
        pytest.param(node("Transpose", "r", "y", perm=[0, 1, 3, 2]), {}, id="transpose-of-equal-sizes"),
        pytest.param(
            node("Slice", "r a b c s", "y"),
            {"a": np.array([-1]), "b": np.array([-99]), "c": np.array([2]), "s": np.array([-1])},
            id="slice-backwards",
        ),
    ],
)
def test_what_only_looks_like_one_stays(other, weights):
    assert len(apply(remove_identities.run, model([node("Relu", "x", "r"), other], weights), changes=0)) == 2


def test_an_identity_between_input_and_output_stays():
    assert apply(remove_identities.run, model([node("Identity", "x", "y")]), changes=0) == ["Identity"]


def test_casts_merge_where_nothing_is_lost():
    up_down = [node("Cast", "x", "a", to=TensorProto.FLOAT), node("Cast", "a", "y", to=TensorProto.INT8)]
    assert apply(merge_casts.run, model(up_down, dtype=TensorProto.FLOAT16)) == ["Cast"]
    down_up = [node("Cast", "x", "a", to=TensorProto.INT32), node("Cast", "a", "y", to=TensorProto.FLOAT)]
    assert apply(merge_casts.run, model(down_up), changes=0) == ["Cast", "Cast"]


# -- views and transposes ------------------------------------------------------------------------------------------


def test_views_merge():
    nodes = [node("Flatten", "x", "a"), node("Unsqueeze", "a i", "b"), node("Reshape", "b s", "y")]
    weights = {"i": np.array([0]), "s": np.array([-1, 24])}
    assert apply(merge_reshapes.run, model(nodes, weights), changes=2) == ["Reshape"]
    free = model(nodes, weights, shape=("n", 3, 8, 8))
    assert apply(merge_reshapes.run, free, changes=2) == ["Reshape"]


def test_transposes_merge_and_cancel():
    nodes = [node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Transpose", "a", "y", perm=[0, 2, 3, 1])]
    assert apply(merge_transposes.run, model(nodes)) == ["Transpose"]
    nodes[1] = node("Transpose", "a", "b", perm=[0, 3, 1, 2])
    made = model([*nodes, node("Relu", "b", "y")])
    assert apply(merge_transposes.run, made) == ["Transpose", "Relu"]
    assert apply(remove_identities.run, made) == ["Relu"]


def test_a_transpose_that_moves_nothing_is_a_view():
    nodes = [node("Transpose", "x", "y", perm=[0, 2, 3, 1])]
    assert apply(merge_transposes.run, model(nodes, shape=("n", 12, 1, 1))) == ["Reshape"]
    assert apply(merge_transposes.run, model(nodes, shape=(2, 12, 1, 2)), changes=0) == ["Transpose"]


@pytest.mark.parametrize("batch", [2, "n"])
def test_the_head_of_an_ssd_needs_no_split(batch):
    nodes = [
        node("Reshape", "x s", "a"),
        node("Transpose", "a", "b", perm=[0, 3, 4, 1, 2]),
        node("Reshape", "b t", "y"),
    ]
    weights = {"s": np.array([-1, 6, 4, 5, 7]), "t": np.array([-1, 210, 4])}
    made = model(nodes, weights, shape=(batch, 24, 5, 7))
    assert apply(merge_transposes.run, made) == ["Transpose", "Reshape"]


def test_a_channel_shuffle_stays():
    nodes = [
        node("Reshape", "x s", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "b t", "y"),
    ]
    weights = {"s": np.array([2, 6, 4, 5, 7]), "t": np.array([2, 24, 5, 7])}
    assert len(apply(merge_transposes.run, model(nodes, weights, shape=(2, 24, 5, 7)), changes=0)) == 3
