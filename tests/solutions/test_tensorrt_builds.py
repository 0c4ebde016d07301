"""Engines built for real: TensorRT-RTX parses and builds with no GPU, wherever its package is installed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from solutions.core.errors import BackendUnavailable
from solutions.core.zoo.external import external_model
from solutions.core.zoo.registry import embedded
from solutions.phase2_optimization.compilation.backends.tensorrt import load_engine
from solutions.phase2_optimization.compilation.tensorrt_engine import EngineConfig, build_engine, fresh_engine
from solutions.phase2_optimization.compilation.tensorrt_profiles import ShapeRange
from solutions.phase2_optimization.compilation.tensorrt_record import read_record
from tests.solutions.compile_parts import conv_graph
from tests.solutions.tensorrt_fakes import installed_rtx

DATA = os.environ.get("MLI_DATA")


@pytest.fixture
def graph(tmp_path):
    return conv_graph(tmp_path / "conv.onnx")


@pytest.fixture
def rtx():
    return installed_rtx()


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
