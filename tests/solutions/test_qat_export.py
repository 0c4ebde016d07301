"""Trained modules as QDQ files: the same answers, integer kernels throughout, and what cannot be trained for int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from solutions.core.errors import ConfigError
from solutions.core.zoo.export import export_onnx
from solutions.phase2_optimization.qat.export import export_qat
from solutions.phase2_optimization.qat.fake_quantize import ActivationCoder
from solutions.phase2_optimization.qat.layers import QatLayer
from solutions.phase2_optimization.qat.prepare import QatConfig, QatModel, prepare_qat
from solutions.phase2_optimization.qat.training import QatSchedule, distillation, train_qat
from solutions.phase2_optimization.quantization.fusion_check import check_fusion
from solutions.phase2_optimization.quantization.static import quantize_static
from solutions.phase2_optimization.quantization.static_config import StaticConfig
from tests.solutions.qat_nets import MixedNet, PyramidNet, ResidualNet, images, run_onnx, run_torch, seeded

OUTPUTS = {ResidualNet: ("logits",), PyramidNet: ("fine", "coarse"), MixedNet: ("answer",)}


def prepared(kind: type[nn.Module], config: QatConfig, **settings) -> tuple[nn.Module, QatModel]:
    net = seeded(kind)
    batches = [images(4, seed) for seed in range(4)]
    return net, prepare_qat(net, batches, inputs=["x"], outputs=OUTPUTS[kind], config=config, **settings)


def trained(kind: type[nn.Module], config: QatConfig) -> QatModel:
    net, qat = prepared(kind, config)
    return train_qat(qat, lambda step: images(4, 10 + step), distillation(net), QatSchedule(4, 1e-3, warmup=1))


def layers_in_integers(model: onnx.ModelProto, tmp_path) -> tuple[int, int]:
    onnx.save(model, tmp_path / "q.onnx")
    found = check_fusion(tmp_path / "q.onnx")
    return found.integer, found.float


def output_step(model: onnx.ModelProto, name: str) -> float:
    """The scale with which an output is coded."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    maker = next(node for node in model.graph.node if name in node.output)
    assert maker.op_type == "DequantizeLinear"
    return float(constants[maker.input[1]])


@pytest.mark.parametrize(
    ("kind", "config", "layers"),
    [
        pytest.param(ResidualNet, QatConfig(), 3, id="residual-learned"),
        pytest.param(PyramidNet, QatConfig(ranges="observed", weight_bits=4), 6, id="pyramid-observed-4-bits"),
        pytest.param(PyramidNet, QatConfig(StaticConfig("openvino", per_channel=False)), None, id="pyramid-openvino"),
    ],
)
def test_the_file_gives_what_the_trained_module_gives(kind, config, layers, tmp_path):
    qat = trained(kind, config)
    model = export_qat(qat)
    onnx.checker.check_model(model, full_check=True)
    x = torch.cat([images(24, seed=99), 8 * torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))])
    wanted = run_torch(qat.module, x)
    for optimised in (False, True):
        for name, want, got in zip(OUTPUTS[kind], wanted, run_onnx(model, x, optimised=optimised), strict=True):
            # Torch sums float products in another order than the runtime, which sums integers: a sum that ends within
            # its rounding error (some 2**-20 of the range, 2**-12 of a step) of the middle between two codes may take
            # the other one. Three layers of some 70 sums each lie behind an output: it is rare, and moves one step.
            apart = np.abs(want - got) / output_step(model, name)
            assert apart.max() < 1.01
            assert (apart > 0.01).mean() < 0.02
    if layers is not None:
        assert layers_in_integers(model, tmp_path) == (layers, 0)


def test_with_scales_that_are_powers_of_two_nothing_is_rounded_and_the_file_agrees_to_the_bit():
    _, qat = prepared(ResidualNet, QatConfig())
    for part in qat.module.modules():
        if isinstance(part, ActivationCoder):
            part.start.copy_(2.0 ** torch.round(torch.log2(part.start)))
        elif isinstance(part, QatLayer) and part.coder is not None:
            part.coder.start.copy_(2.0 ** torch.ceil(torch.log2(part.coder.start)))
    model = export_qat(qat)
    x = images(32, seed=99)
    # Sums of 72 products of 8-bit codes have 23 bits, which float32 holds: every order of summation is exact.
    for optimised in (False, True):
        np.testing.assert_array_equal(run_onnx(model, x, optimised=optimised)[0], run_torch(qat.module, x)[0])


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("float") / "pyramid.onnx"
    net, names, sizes = seeded(PyramidNet), OUTPUTS[PyramidNet], {0: torch.export.Dim("batch")}
    export_onnx(net, images(4), path, inputs=["x"], outputs=names, sizes=sizes, facts={})
    return path


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_before_training_the_file_is_that_of_post_training_quantization(target, float_file, tmp_path):
    """The same places, the same ranges: what training adds is the training."""
    config = StaticConfig(target, observer="minmax")
    _, qat = prepared(PyramidNet, QatConfig(config))
    feeds = [{"x": images(4, seed).numpy()} for seed in range(4)]
    quantize_static(float_file, tmp_path / "ptq.onnx", feeds, config)
    mine, its = export_qat(qat), onnx.load(tmp_path / "ptq.onnx")
    assert [node.op_type for node in mine.graph.node] == [node.op_type for node in its.graph.node]
    x = images(16, seed=99)
    for got, want, exact in zip(run_onnx(mine, x), run_onnx(its, x), run_torch(qat.module, x), strict=True):
        np.testing.assert_array_equal(got, want)
        assert np.abs(got - exact).max() < 0.05 * np.abs(exact).max()


def test_what_cannot_be_coded_or_shall_not_stays_in_float_and_the_file_agrees(tmp_path):
    config = QatConfig(keep_float=("second",))
    _, qat = prepared(MixedNet, config, facts={"labels": "a,b"})
    assert set(qat.coded) == {"first", "head"}
    model = export_qat(qat)
    # The kept and the functional convolution, the Linear on three axes and the two products of attention.
    assert layers_in_integers(model, tmp_path) == (2, 5)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"labels": "a,b"}
    x = images(3, seed=99)  # another batch than the example's
    apart = np.abs(run_onnx(model, x)[0] - run_torch(qat.module, x)[0]) / output_step(model, "answer")
    assert apart.max() < 1.01


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Weightless(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x)


@pytest.mark.parametrize(
    ("net", "settings", "words"),
    [
        pytest.param(Branching(), {}, "Branching cannot be traced", id="a-branch-on-values"),
        pytest.param(Weightless(), {}, "no convolution or Linear", id="nothing-to-quantize"),
        pytest.param(nn.Conv2d(3, 4, 1), {"outputs": ["a", "b"]}, "1 outputs, got 2 names", id="names"),
        pytest.param(nn.Conv2d(3, 4, 1), {"inputs": ["a", "b"]}, "1 inputs, got 2 names", id="input-names"),
        pytest.param(nn.Conv2d(3, 4, 1), {"config": QatConfig(keep_float=("head",))}, "names head", id="no-such-layer"),
    ],
)
def test_modules_that_cannot_be_prepared(net, settings, words):
    with pytest.raises(ConfigError, match=words):
        prepare_qat(net, [images(2)], **settings)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: QatConfig(ranges="guessed"), "got guessed"),
        (lambda: QatConfig(weight_bits=2), "8 or 4 bits"),
        (lambda: QatConfig(StaticConfig(equalise=True)), "equalisation"),
        (lambda: QatConfig(StaticConfig(keep_float=("Conv_1",))), "torch module"),
        (lambda: prepare_qat(nn.Conv2d(3, 4, 1), []), "at least one sample"),
        (lambda: QatSchedule(steps=0), "steps must be >= 1"),
        (lambda: QatSchedule(freeze_after=2), "freeze_after"),
    ],
)
def test_settings_that_cannot_be(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
