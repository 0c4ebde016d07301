"""One builder for TensorRT 10, 11 and RTX: against recorded fakes of all three, and for real with TensorRT-RTX.

The fakes know which calls each version has and which it lacks. TensorRT-RTX builds engines with no GPU, so what its
parser takes and refuses is tested wherever its package is installed.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from solutions.core import optional
from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.optional import available
from solutions.core.tensors import TensorSpec
from solutions.core.zoo.external import external_model
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.compilation import tensorrt_api as api_module
from solutions.phase2_optimization.compilation.backends.tensorrt import fitting_profile, load_engine
from solutions.phase2_optimization.compilation.tensorrt_api import TensorRtApi, tensorrt_api
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, build_engine, fresh_engine
from solutions.phase2_optimization.compilation.tensorrt_profiles import (
    ShapeRange,
    check_profile,
    parse_shapes,
    profile_for,
)
from solutions.phase2_optimization.compilation.tensorrt_record import read_record, record_path, stale_reasons
from solutions.phase2_optimization.compilation.tensorrt_refusals import Refusal, explain
from tests.solutions.compile_parts import FakeTensorRt, conv_graph, qdq_graph, save_graph, value

DATA = os.environ.get("MLI_DATA")
KINDS = {
    "10": ("tensorrt", "10.16.1.11"),
    "11": ("tensorrt", "11.4.0.106"),
    "rtx": ("tensorrt_rtx", "1.7.1.116"),
}


def fake(kind, **behaviour):
    name, version = KINDS[kind]
    module = FakeTensorRt(name, version, **behaviour)
    return TensorRtApi(module, name.replace("_", "-"), version)


def calls(api, name):
    return [call for call in api.module.calls if call[0] == name]


@pytest.fixture
def graph(tmp_path):
    return conv_graph(tmp_path / "conv.onnx")


# --- the calls in which 10, 11 and RTX differ


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        pytest.param("10", 2, id="10-must-be-asked-for-strong-typing"),
        pytest.param("11", 0, id="11-is-always-strongly-typed"),
        pytest.param("rtx", 0, id="rtx-too"),
    ],
)
def test_every_network_is_strongly_typed(kind, flags, graph, tmp_path):
    api = fake(kind)
    build_engine(graph, tmp_path / "e.plan", api=api, gpu="SM89")
    assert calls(api, "create_network") == [("create_network", flags)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_precision_flag_is_ever_set(kind, graph, tmp_path):
    api = fake(kind)
    build_engine(graph, tmp_path / "e.plan", EngineConfig(version_compatible=True), api=api, gpu="SM89")
    assert calls(api, "set_flag") == [("set_flag", "version-compatible")]


@pytest.mark.parametrize("kind", KINDS)
def test_profile_workspace_and_tf32_reach_the_builder(kind, graph, tmp_path):
    api = fake(kind)
    config = EngineConfig(batches=(1, 2, 6), workspace_bytes=1 << 20, tf32=False, optimization_level=5)
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert calls(api, "profile") == [("profile", {"x": ((1, 3, 8, 8), (2, 3, 8, 8), (6, 3, 8, 8))})]
    assert calls(api, "pool") == [("pool", "workspace", 1 << 20)]
    assert calls(api, "clear_flag") == [("clear_flag", "tf32")]
    assert calls(api, "builder_optimization_level") == [("builder_optimization_level", 5)]


@pytest.mark.parametrize("kind", ["10", "11"])
def test_the_timing_cache_is_kept_between_builds(kind, graph, tmp_path):
    api, cache = fake(kind), tmp_path / "timings"
    config = EngineConfig(timing_cache=cache)
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert cache.read_bytes() == b"+timed"
    build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM89")
    assert calls(api, "timing_cache") == [("timing_cache", b"", False), ("timing_cache", b"+timed", False)]


def test_a_timing_cache_of_another_gpu_is_replaced(graph, tmp_path):
    api, cache = fake("11"), tmp_path / "timings"
    cache.write_bytes(b"of another GPU")
    build_engine(graph, tmp_path / "e.plan", EngineConfig(timing_cache=cache), api=api, gpu="SM89")
    assert cache.read_bytes() == b"+timed"


def test_rtx_is_not_asked_for_a_timing_cache(graph, tmp_path):
    config = EngineConfig(timing_cache=tmp_path / "timings")
    build_engine(graph, tmp_path / "e.plan", config, api=fake("rtx"), gpu="")
    assert not config.timing_cache.exists()


def test_targets_are_named_for_rtx_only(graph, tmp_path):
    api = fake("rtx")
    record = build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM80", "SM89")), api=api, gpu="")
    assert calls(api, "target") == [("target", "SM80", 0), ("target", "SM89", 1)]
    assert calls(api, "num_compute_capabilities") == [("num_compute_capabilities", 2)]
    assert (record.targets, record.portable) == (("SM80", "SM89"), False)
    with pytest.raises(ConfigError, match="takes no targets"):
        build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM89",)), api=fake("11"), gpu="SM89")
    with pytest.raises(ConfigError, match=r"cannot build for SM90. It knows SM80, SM89"):
        build_engine(graph, tmp_path / "e.plan", EngineConfig(targets=("SM90",)), api=fake("rtx"), gpu="")


def test_hardware_compatibility_is_for_full_tensorrt_only(graph, tmp_path):
    api, config = fake("11"), EngineConfig(hardware_compatible=True)
    assert build_engine(graph, tmp_path / "e.plan", config, api=api, gpu="SM86").portable
    assert calls(api, "hardware_compatibility_level") == [("hardware_compatibility_level", "ampere+")]
    with pytest.raises(ConfigError, match="give targets"):
        build_engine(graph, tmp_path / "e.plan", config, api=fake("rtx"), gpu="")


@pytest.mark.parametrize("kind", ["10", "11"])
def test_full_tensorrt_needs_the_gpu(kind, graph, tmp_path):
    with pytest.raises(BackendUnavailable, match="builds on the GPU that will run the engine, and there is none here"):
        build_engine(graph, tmp_path / "e.plan", api=fake(kind), gpu="")


def test_a_refused_graph_leaves_nothing_behind(graph, tmp_path):
    with pytest.raises(ModelLoadError, match="q7 has a zero-point other than 0"):
        build_engine(graph, tmp_path / "e.plan", api=fake("11", parses=False), gpu="SM89")
    with pytest.raises(ModelLoadError, match="the workspace is too small"):
        build_engine(graph, tmp_path / "e.plan", api=fake("11", builds=False), gpu="SM89")
    assert [path.name for path in tmp_path.iterdir()] == ["conv.onnx"]


# --- which TensorRT is taken


@pytest.fixture
def installed(monkeypatch):
    """Pretend that exactly these modules are installed."""

    def only(**modules):
        monkeypatch.setattr(api_module, "available", lambda name: name in modules)
        for name in ("tensorrt", "tensorrt_rtx"):
            monkeypatch.setitem(sys.modules, name, modules.get(name))

    return only


def test_tensorrt_is_taken_before_rtx(installed):
    installed(tensorrt=FakeTensorRt("tensorrt", "11.4.0.106"), tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    assert tensorrt_api().title == "TensorRT 11.4.0.106"
    assert tensorrt_api("tensorrt_rtx").title == "TensorRT-RTX 1.7.1.116"


def test_rtx_is_taken_where_there_is_nothing_else(installed):
    installed(tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    assert tensorrt_api().kind == "tensorrt-rtx"


def test_bindings_without_their_libraries_do_not_hide_rtx(installed, monkeypatch):
    """What PyPI's tensorrt-cu13-bindings alone does: its import misses libnvonnxparser.so.11."""
    installed(tensorrt=FakeTensorRt("tensorrt", "11.4"), tensorrt_rtx=FakeTensorRt("tensorrt_rtx", "1.7.1.116"))
    real = optional.importlib.import_module

    def broken(name):
        if name == "tensorrt":
            raise ImportError("libnvonnxparser.so.11: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(optional.importlib, "import_module", broken)
    assert tensorrt_api().kind == "tensorrt-rtx"
    with pytest.raises(BackendUnavailable, match=r"does not load here \(libnvonnxparser"):
        tensorrt_api("tensorrt")


def test_neither_is_one_sentence(installed):
    installed()
    with pytest.raises(BackendUnavailable, match=r"need tensorrt or tensorrt_rtx, which are not installed.*\[tensorrt"):
        tensorrt_api()


def test_an_old_tensorrt_is_refused(installed):
    installed(tensorrt=FakeTensorRt("tensorrt", "8.6.1"))
    with pytest.raises(BackendUnavailable, match=r"TensorRT 8.6.1 is too old"):
        tensorrt_api()


# --- profiles

IMAGES = (TensorSpec("images", (None, 3, None, None)), TensorSpec("mask", (1, 4)))


def test_a_profile_takes_batches_and_the_sizes_of_the_file():
    profile = profile_for(IMAGES, batches=(1, 2, 4), input_hw=(192, 320))
    assert profile == {"images": ShapeRange((1, 3, 192, 320), (2, 3, 192, 320), (4, 3, 192, 320))}


def test_a_free_size_that_nothing_tells_is_asked_for():
    with pytest.raises(ConfigError, match="say between which sizes the engine must work"):
        profile_for(IMAGES)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        pytest.param({}, "lacks images, whose size is free", id="missing"),
        pytest.param({"pixels": ShapeRange((1,), (1,), (1,))}, "names pixels, and the inputs are", id="unknown"),
        pytest.param({"images": ShapeRange((1, 3), (1, 3), (1, 3))}, "its profile has 2 axes", id="rank"),
        pytest.param(
            {"images": ShapeRange((1, 1, 8, 8), (1, 1, 8, 8), (1, 1, 8, 8))}, "axis 1 of images is always 3", id="fixed"
        ),
    ],
)
def test_a_profile_that_does_not_fit_is_refused(profile, message):
    with pytest.raises(ConfigError, match=message):
        check_profile(IMAGES, profile)


@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param(((4, 3), (1, 3), (8, 3)), id="usual-below-smallest"),
        pytest.param(((1, 3), (9, 3), (8, 3)), id="usual-above-largest"),
        pytest.param(((0, 3), (1, 3), (8, 3)), id="empty"),
        pytest.param(((1, 3), (1, 3, 1), (8, 3)), id="ranks"),
    ],
)
def test_a_range_out_of_order_is_refused(shapes):
    with pytest.raises(ConfigError, match="profile"):
        ShapeRange(*shapes)


@pytest.mark.parametrize("text", ["x", "x=1x3", "x=1x3:2x3:ax3", "=1:1:1"])
def test_shapes_written_otherwise_are_refused(text):
    with pytest.raises(ConfigError, match="written like"):
        parse_shapes(text)


# --- the record and staleness


@pytest.fixture
def engine(graph, tmp_path):
    """A record and its file, built by a fake RTX for SM89."""
    plan = tmp_path / "e.plan"
    return build_engine(graph, plan, EngineConfig(targets=("SM89",)), api=fake("rtx"), gpu=""), plan


def test_the_record_survives_the_disk(engine):
    record, plan = engine
    assert read_record(plan) == record
    assert json.loads(record_path(plan).read_text())["schema"] == "ml-inference/tensorrt-engine/1"
    assert record.precision == {"float32": 1}


@pytest.mark.parametrize(
    ("change", "api", "gpu", "reason"),
    [
        pytest.param({}, "rtx", "SM89", None, id="fits"),
        pytest.param({}, "rtx", "SM86", "built for SM89, and here is SM86", id="another-gpu"),
        pytest.param({}, "11", "SM89", "built by TensorRT-RTX 1.7.1.116, and here is TensorRT 11.4", id="another-kind"),
        pytest.param({"version": "1.6.0"}, "rtx", "SM89", "built by TensorRT-RTX 1.6.0", id="another-version"),
        pytest.param({"plan_sha256": "0"}, "rtx", "SM89", "damaged or was replaced", id="another-file"),
        pytest.param({"onnx_sha256": "0"}, "rtx", "SM89", "the model has changed", id="another-model"),
        pytest.param({"targets": (), "gpu": "SM80"}, "rtx", "SM89", "built on SM80", id="built-elsewhere"),
        pytest.param({"targets": (), "gpu": "SM80", "portable": True}, "rtx", "SM89", None, id="portable"),
        pytest.param(
            {"version": "1.6.0", "settings": {"version_compatible": True}}, "rtx", "SM89", None, id="compatible-version"
        ),
    ],
)
def test_a_stale_engine_says_why(engine, change, api, gpu, reason):
    record, plan = engine
    digest = record.onnx_sha256
    reasons = stale_reasons(replace(record, **change), plan, api=fake(api), gpu=gpu, onnx_sha256=digest)
    if reason is None:
        assert reasons == []
    else:
        assert any(reason in each for each in reasons), reasons


def test_a_missing_or_damaged_record_is_said(engine):
    _, plan = engine
    record_path(plan).write_text('{"schema": "ml-inference/tensorrt-engine/1"}')
    with pytest.raises(ModelLoadError, match="damaged"):
        read_record(plan)
    record_path(plan).unlink()
    with pytest.raises(ModelLoadError, match="nothing says for which TensorRT"):
        read_record(plan)


def test_the_profile_that_holds_the_sizes_is_chosen(engine):
    record, _ = engine
    small, large = (ShapeRange((low, 3), (low, 3), (high, 3)) for low, high in ((1, 2), (3, 8)))
    record = replace(record, inputs=(TensorSpec("x", (None, 3)),), profiles=({"x": small}, {"x": large}))
    assert fitting_profile(record, [np.zeros((2, 3))]) == 0
    assert fitting_profile(record, [np.zeros((5, 3))]) == 1
    assert fitting_profile(record, [np.zeros((9, 3))]) is None
    assert fitting_profile(replace(record, profiles=()), [np.zeros((9, 3))]) == 0


def test_an_unknown_refusal_keeps_its_own_words():
    text = "Invalid Node - n\nIShuffleLayer: volume mismatch. In validate at a.cpp:3\n[checkMacros.cpp::catchCudaError"
    assert explain([Refusal(text, "Reshape", "n")]).startswith("n (Reshape): IShuffleLayer: volume mismatch")
    assert explain([]) == "it gives no reason."


# --- for real: TensorRT-RTX parses and builds, no GPU needed


@pytest.fixture
def rtx():
    if not available("tensorrt_rtx"):
        pytest.skip('not run here: TensorRT-RTX is not installed (pip install "ml-inference[tensorrt-rtx]")')
    return tensorrt_api("tensorrt_rtx")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return tmp_path_factory.mktemp("engines")


def network(name):
    if name == "resnet18":
        return external_model("resnet18", random=True)
    if name == "street-small":
        return embedded("street-small").onnx
    if not DATA:
        pytest.skip("not run here: MLI_DATA names no folder with real models")
    return Path(DATA) / "models" / "yolox_nano.onnx"


def in_precision(name, precision, workshop):
    """The network's file in that precision, made once."""
    source, target = network(name), workshop / f"{name}-{precision}.onnx"
    if precision == "float32":
        return source
    if not target.exists():
        (half if precision == "float16" else int8)(source, target)
    return target


def half(source, target):
    from solutions.phase2_optimization.quantization.half import convert_half

    convert_half(source, target)


def int8(source, target):
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from solutions.phase1_basics.profiling.feeds import sample_feeds
    from solutions.phase1_basics.runtimes.onnx import OnnxModel

    model = OnnxModel(source, device="cpu", threads=1)
    feeds = iter([sample_feeds(model, seed=seed) for seed in range(2)])
    model.close()

    class Reader(CalibrationDataReader):
        def get_next(self):
            return next(feeds, None)

    proto = onnx.load(source)
    if proto.opset_import[0].version < 13:  # weights per channel need it
        proto = version_converter.convert_version(proto, 17)
    quantize_static(
        proto, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip


@pytest.mark.parametrize("target", ["SM80", "SM86", "SM89"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", ["resnet18", "street-small", "yolox-nano"])
@pytest.mark.filterwarnings("ignore::UserWarning:onnxruntime.*")
def test_real_networks_build(rtx, name, precision, target, workshop):
    source = in_precision(name, precision, workshop)
    plan = workshop / f"{name}-{precision}-{target}.plan"
    record = build_engine(source, plan, EngineConfig(targets=(target,), batches=(1, 4, 8)), api=rtx, gpu="")
    assert read_record(plan) == record
    assert record.precision.get(precision, 0) > 0
    assert record.size_bytes == plan.stat().st_size > 100_000
    if name != "yolox-nano":  # whose batch is 1 by its file
        (profile,) = record.profiles
        assert [profile["images"].smallest[0], profile["images"].usual[0], profile["images"].largest[0]] == [1, 4, 8]


def test_smaller_numbers_make_a_smaller_engine(rtx, workshop):
    sizes = []
    for precision in ("float32", "float16", "int8"):
        source = in_precision("resnet18", precision, workshop)
        config = EngineConfig(targets=("SM89",))
        sizes.append(build_engine(source, workshop / "size.plan", config, api=rtx, gpu="").size_bytes)
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.4 * sizes[0]


def test_a_fresh_engine_is_not_built_again(rtx, graph, tmp_path):
    config, plan = EngineConfig(targets=("SM89",)), tmp_path / "e.plan"
    assert fresh_engine(graph, plan, config)[1]
    assert not fresh_engine(graph, plan, config)[1]
    assert fresh_engine(graph, plan, replace(config, batches=(1, 2, 3)))[1]
    plan.write_bytes(b"damaged")
    assert fresh_engine(graph, plan, replace(config, batches=(1, 2, 3)))[1]


def refused(name, path):
    """Graphs that TensorRT refuses, each for a reason of its own."""
    if name == "int32-bias":
        return qdq_graph(path, int32_bias=True)
    if name == "asymmetric":
        return qdq_graph(path, zero_point=5)
    if name == "uint8":
        return qdq_graph(path, zero_point=128, kind=np.uint8)
    if name == "nonzero":
        node = helper.make_node("NonZero", ["x"], ["y"], name="found")
        return save_graph(path, [node], outputs=[value("y", None, TensorProto.INT64)])
    if name == "nms":
        node = helper.make_node("NonMaxSuppression", ["b", "s"], ["y"], name="suppress")
        inputs = [value("b", [1, 100, 4]), value("s", [1, 3, 100])]
        return save_graph(path, [node], inputs=inputs, outputs=[value("y", None, TensorProto.INT64)])
    if name == "contributed":
        node = helper.make_node("QuickGelu", ["x"], ["y"], name="act", domain="com.microsoft", alpha=1.0)
        return save_graph(path, [node], domain="com.microsoft")
    if name == "mixed-types":
        nodes = [
            helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
            helper.make_node("Add", ["x", "h"], ["y"], name="sum"),
        ]
        return save_graph(path, nodes)
    if name == "mixed-weights":
        node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
        return save_graph(path, [node], initializers=[("w", np.ones((4, 3, 3, 3), np.float16))])
    if name == "qoperator":
        node = helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"], name="q")
        arrays = [("s", np.float32(0.1)), ("z", np.int8(0)), ("w", np.ones((4, 3, 3, 3), np.int8))]
        inputs = [value("x", ["N", 3, 8, 8], TensorProto.INT8)]
        return save_graph(
            path, [node], inputs=inputs, outputs=[value("y", None, TensorProto.INT8)], initializers=arrays
        )
    node = helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")
    assert name == "fp32-gemm-on-turing"
    return save_graph(path, [node], inputs=[value("x", ["N", 8])], initializers=[("w", np.ones((8, 4), np.float32))])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("int32-bias", "dequantize_bias dequantizes an int32 bias, which TensorRT does not take: keep biases in float"),
        ("asymmetric", "quantize_x has a zero-point other than 0"),
        ("uint8", "quantize_x has a zero-point other than 0"),
        ("nonzero", r"found \(NonZero\) needs a plugin .* leave decoding and NMS out of the graph"),
        ("nms", "no kernel here implements suppress_1: leave it out of the graph"),
        ("contributed", "act is a QuickGelu, which is no operator of ONNX"),
        ("mixed-types", r"sum \(Add\) mixes element types \(types Float and Half\)"),
        ("mixed-weights", r"conv \(Conv\) mixes element types"),
        ("qoperator", "q is a QLinearConv: the file is quantized with integer operators"),
        (
            "fp32-gemm-on-turing",
            r"FP32 GEMM \(fc\) does not exist for SM75 in TensorRT-RTX: convert the model to float16",
        ),
    ],
)
def test_a_refusal_is_a_sentence(rtx, name, sentence, tmp_path):
    source = refused(name, tmp_path / "refused.onnx")
    target = "SM75" if "turing" in name else "SM89"
    with pytest.raises(ModelLoadError, match=sentence) as error:
        build_engine(source, tmp_path / "e.plan", EngineConfig(targets=(target,)), api=rtx, gpu="")
    assert "\n" not in str(error.value)
    assert "cudaError" not in str(error.value)


def test_two_profiles_are_built(rtx, graph, tmp_path):
    profiles = tuple(
        {"x": ShapeRange((low, 3, 8, 8), (low, 3, 8, 8), (high, 3, 8, 8))} for low, high in ((1, 1), (2, 8))
    )
    config = EngineConfig(profiles=profiles, targets=("SM89",))
    assert build_engine(graph, tmp_path / "e.plan", config, api=rtx, gpu="").profiles == profiles


def test_an_engine_without_a_gpu_says_so(rtx, graph, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("not run here: this machine has a GPU")
    plan = tmp_path / "e.plan"
    build_engine(graph, plan, api=rtx, gpu="")
    with pytest.raises(BackendUnavailable, match="needs an NVIDIA GPU"):
        load_engine(plan)


def test_an_engine_runs(rtx, graph, tmp_path):
    import torch

    from solutions.phase1_basics.runtimes.onnx import OnnxModel
    from solutions.phase2_optimization.compilation.parity import check_parity

    if not torch.cuda.is_available():
        pytest.skip("not run here: no NVIDIA GPU")
    plan = tmp_path / "e.plan"
    build_engine(graph, plan, EngineConfig(tf32=False), api=rtx)
    engine, reference = load_engine(plan), OnnxModel(graph, device="cpu", threads=1)
    assert check_parity(reference, engine, graph=graph).agrees
