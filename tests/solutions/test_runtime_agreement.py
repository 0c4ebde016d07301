"""One network, five runtimes, one image: PyTorch, ONNX Runtime, OpenVINO, TensorFlow and LiteRT agree.

How far may they differ? They compute the same sums in another order, so only rounding tells them apart, and its size
can be derived from the network itself (see `tolerance`). The same tolerance must catch the mistakes that conversions
really make: another BatchNorm epsilon, padding on the wrong side, swapped channels, a layout taken for another.
"""

import math

import numpy as np
import pytest
import torch
import torchvision

from solutions.core.zoo.export import export_onnx
from solutions.core.zoo.settling import settle_batch_norms
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes.openvino import load_openvino
from tests.solutions import tf_builders as build

SIDE, CLASSES = 64, 40
UNIT = 2.0**-24  # half a unit in the last place of float32: what one rounding costs, relative to the number rounded


def network():
    """ResNet-18 with random weights and BatchNorm statistics that fit them, in eval mode."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        module = torchvision.models.resnet18(weights=None, num_classes=CLASSES)
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.2, 0.2)
        return settle_batch_norms(module, ((torch.randn(4, 3, SIDE, SIDE),) for _ in range(2)))


def image():
    """One picture, normalised as ImageNet's: float32 [1, 3, 64, 64]."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    noise = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 3))
    pixels = np.stack([rows * 3, columns * 3, 190 - rows - columns], axis=-1) + noise
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((pixels.clip(0, 255) / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)


def weighted_layers(module):
    return [layer for layer in module.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))]


@torch.no_grad()
def amplification(module, layer, x, truth, size=1e-6):
    """How much larger than its cause the change of the answer is when the result of `layer` is off by a little."""

    def disturb(_, __, result):
        signs = torch.randint(0, 2, result.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
        return result + size * result.pow(2).mean().sqrt() * signs

    handle = layer.register_forward_hook(disturb)
    change = (module(x) - truth).abs().max() / truth.abs().max()
    handle.remove()
    return float(change) / size


def tolerance(module, x, truth):
    """The largest relative difference that rounding alone explains: eps x depth x amplification.

    A sum of K products passes through K partial sums. Their signs mix, so they walk to about sqrt(K) times one product,
    which is the size of the result; each is rounded by at most UNIT, and K random roundings add up to about
    sqrt(K) x UNIT x that size. Four more pay for folding BatchNorm into weights (scale, shift), ReLU's input and the
    residual sum. What layer l errs by reaches the answer multiplied by its amplification, measured in float64 by
    disturbing that layer alone. Layers err independently, so that adding them up linearly, and not their squares,
    leaves room: a factor sqrt(21) of it.
    """
    total = 0.0
    for layer in weighted_layers(module):
        products = layer.weight[0].numel()
        total += (math.sqrt(products) + 4) * amplification(module, layer, x, truth)
    return UNIT * total


def keras_twin(module, *, epsilon=1e-5, same_padding=False):
    """The same network in Keras, NHWC, with the same weights. The two arguments are classic mistakes to make."""
    layers = build.keras().layers
    weights = {}

    def convolution(x, conv, norm):
        (padding, _), (stride, _), (kernel, _) = conv.padding, conv.stride, conv.kernel_size
        if padding and not same_padding:
            x = layers.ZeroPadding2D(padding)(x)
        mode = "same" if same_padding else "valid"
        ours = layers.Conv2D(conv.out_channels, kernel, stride, mode, use_bias=False)
        ours_norm = layers.BatchNormalization(epsilon=epsilon)
        weights[ours] = [conv.weight.permute(2, 3, 1, 0)]
        weights[ours_norm] = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        return ours_norm(ours(x))

    images = layers.Input((SIDE, SIDE, 3), name="images")
    x = layers.ReLU()(convolution(images, module.conv1, module.bn1))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # zeros never win: ReLU left nothing below them
    for block in (*module.layer1, *module.layer2, *module.layer3, *module.layer4):
        shortcut = convolution(x, *block.downsample) if block.downsample else x
        y = layers.ReLU()(convolution(x, block.conv1, block.bn1))
        x = layers.ReLU()(layers.Add()([convolution(y, block.conv2, block.bn2), shortcut]))
    dense = layers.Dense(CLASSES, name="logits")
    weights[dense] = [module.fc.weight.T, module.fc.bias]
    model = build.keras().Model(images, dense(layers.GlobalAveragePooling2D()(x)), name="resnet18")
    for layer, tensors in weights.items():
        layer.set_weights([tensor.detach().numpy() for tensor in tensors])
    return model


class Case:
    """The network, the image, the exact answer (float64), and how far from it rounding may lead."""

    def __init__(self, folder):
        self.folder = folder
        self.module = network()
        self.x = image()
        exact = network().double()
        with torch.no_grad():
            truth = exact(torch.from_numpy(self.x).double())
        self.tolerance = tolerance(exact, torch.from_numpy(self.x).double(), truth)
        self.truth = truth.numpy()
        self._made = {}

    def error(self, answer):
        assert answer.shape == self.truth.shape
        return np.abs(answer - self.truth).max() / np.abs(self.truth).max()

    def made(self, name, make):
        if name not in self._made:
            self._made[name] = make(self.folder / name)
        return self._made[name]

    def onnx(self):
        def make(path):
            sizes = {0: torch.export.Dim("batch")}
            example = torch.zeros(2, 3, SIDE, SIDE)
            export_onnx(self.module, example, path, inputs=["images"], outputs=["logits"], sizes=sizes, facts={})
            return path

        return self.made("net.onnx", make)

    def keras(self):
        return self.made("twin", lambda _: keras_twin(self.module))

    def nchw(self, model):
        (answer,) = model.predict({model.inputs[0].name: self.x}).values()
        return answer

    def nhwc(self, model, channels=slice(None)):
        x = np.ascontiguousarray(self.x.transpose(0, 2, 3, 1)[..., channels])
        (answer,) = model.predict({model.inputs[0].name: x}).values()
        return answer


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return Case(tmp_path_factory.mktemp("agreement"))


def in_torch_by_hand(case):
    with torch.no_grad():
        return case.module(torch.from_numpy(case.x)).numpy()


def in_torch(case):
    def make(path):
        torch.export.save(torch.export.export(case.module, (torch.from_numpy(case.x),)), path)
        return path

    path = case.made("net.pt2", make)
    return case.nchw(load_model(path, threads=1))


def in_openvino(case):
    build.needs("openvino", "openvino")
    return case.nchw(load_openvino(case.onnx(), threads=1))


def in_openvino_ir(case):
    path = case.made("net.xml", lambda path: build.save_openvino(case.onnx(), path))
    return case.nchw(load_model(path, threads=1))


def in_tflite(case):
    build.needs("ai_edge_litert", "tflite")
    path = case.made("net.tflite", lambda path: build.save_tflite(case.keras(), path))
    return case.nhwc(load_model(path, threads=1))


RUNTIMES = {
    "torch-by-hand": in_torch_by_hand,
    "torch": in_torch,
    "onnx": lambda case: case.nchw(load_model(case.onnx(), threads=1)),
    "openvino-reads-onnx": in_openvino,
    "openvino-ir": in_openvino_ir,
    "tensorflow-saved-model": lambda case: case.nhwc(
        load_model(case.made("net", lambda path: build.save_saved_model(case.keras(), path)))
    ),
    "tensorflow-keras": lambda case: case.nhwc(
        load_model(case.made("net.keras", lambda path: build.save_keras(case.keras(), path)))
    ),
    "tensorflow-frozen": lambda case: case.nhwc(
        load_model(case.made("net.pb", lambda path: build.save_graph(case.keras(), path)))
    ),
    "tflite": in_tflite,
}


@pytest.mark.parametrize("name", sorted(RUNTIMES))
def test_every_runtime_gives_the_exact_answer_up_to_rounding(case, name):
    error = case.error(RUNTIMES[name](case))
    assert error < case.tolerance, f"{name} is off by {error:.2e}, rounding explains {case.tolerance:.2e}"


def test_the_tolerance_is_of_rounding_and_of_nothing_else(case):
    assert case.tolerance < 2**-10  # bf16 rounds at 2^-9: its first rounding alone is more


MISTAKES = {
    "batchnorm-epsilon-of-keras": lambda case: {"epsilon": 1e-3},
    "padding-of-tensorflow": lambda case: {"same_padding": True},
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_in_the_conversion_is_caught(case, mistake):
    model = keras_twin(case.module, **MISTAKES[mistake](case))
    path = build.save_saved_model(model, case.folder / mistake)
    assert case.error(case.nhwc(load_model(path))) > 4 * case.tolerance


def test_swapped_channels_are_caught(case):
    swapped = torch.from_numpy(case.x[:, ::-1].copy())
    with torch.no_grad():
        assert case.error(case.module(swapped).numpy()) > 4 * case.tolerance


def test_bf16_is_caught(case):
    with torch.no_grad():
        half = network().bfloat16()(torch.from_numpy(case.x).bfloat16()).float().numpy()
    assert case.error(half) > 4 * case.tolerance
