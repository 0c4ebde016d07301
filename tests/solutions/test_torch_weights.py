"""Files of weights: formats, checkpoints with things around the weights, and what is said when they fit nothing."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes.torch_checkpoint import own_names
from tests.solutions.torch_builders import Doubling, network, save_pickle, save_state, save_tensors

X = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)


@pytest.fixture(scope="module")
def squeezenet():
    return network("squeezenet1_1")


def answer(module, x=X):
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


def loaded(path, **options):
    return load_model(path, device="cpu", threads=1, **options)


def save(value, path):
    torch.save(value, path)
    return path


@pytest.mark.parametrize("kind", ["torch-weights", "torch-legacy", "safetensors"])
def test_weights_of_every_format(tmp_path, squeezenet, kind):
    path = tmp_path / "net.bin"
    if kind == "safetensors":
        save_tensors(squeezenet, path)
    else:
        save_state(squeezenet, path, legacy=kind == "torch-legacy")
    model = loaded(path)
    assert (model.format, model.name, model.metadata["arch"]) == (kind, "net", "squeezenet1_1")
    assert [spec.describe() for spec in model.inputs] == ["float32[?, 3, 224, 224]"]
    assert model.metadata["labels"].startswith("tench,goldfish")
    assert not model.module.training
    np.testing.assert_array_equal(model.predict({"images": X})["logits"], answer(squeezenet))


@pytest.mark.parametrize("name", ["shufflenet_v2_x1_0", "mobilenet_v3_small", "resnet18", "resnext50_32x4d"])
def test_other_families(tmp_path, name):
    original = network(name)
    model = loaded(save_state(original, tmp_path / "net.pth"))
    assert model.metadata["arch"] == name
    np.testing.assert_allclose(model.predict({"images": X})["logits"], answer(original), atol=1e-5)


def wrapped(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "around",
    [
        pytest.param(lambda state: wrapped(state, "module."), id="data-parallel"),
        pytest.param(lambda state: wrapped(state, "_orig_mod.module."), id="compiled-data-parallel"),
        pytest.param(lambda state: {"state_dict": wrapped(state, "model."), "epoch": 7}, id="lightning"),
        pytest.param(lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}}, id="tutorial"),
        pytest.param(lambda state: {"model": state, "args": None}, id="torchvision-reference"),
        pytest.param(lambda state: {"arch": "squeezenet1_1", "state_dict": state}, id="says-its-arch"),
        pytest.param(lambda state: {"arch": "resnet18", "state_dict": state}, id="says-a-wrong-arch"),
        pytest.param(lambda state: {"arch": "my-own-net", "state_dict": state}, id="says-a-strange-arch"),
    ],
)
def test_checkpoints(tmp_path, squeezenet, around):
    model = loaded(save(around(squeezenet.state_dict()), tmp_path / "ck.pth"))
    assert model.metadata["arch"] == "squeezenet1_1"
    np.testing.assert_array_equal(model.predict({"images": X})["logits"], answer(squeezenet))


def test_facts_of_a_checkpoint(tmp_path):
    original = network("squeezenet1_1", num_classes=3)
    state = {"state_dict": original.state_dict(), "epoch": 7, "best": True, "class_to_idx": {"b": 1, "a": 0, "c,d": 2}}
    model = loaded(save(state, tmp_path / "ck.pth"))
    assert (model.metadata["epoch"], model.metadata["labels"]) == ("7", "a,b,c;d")
    assert model.outputs[0].shape == (None, 3)
    assert "best" not in model.metadata


def test_half_precision_computes_in_single(tmp_path, squeezenet):
    halves = {name: tensor.half() for name, tensor in squeezenet.state_dict().items()}
    (logits,) = loaded(save(halves, tmp_path / "half.pth")).predict({"images": X}).values()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, answer(squeezenet), atol=0.02)  # eps of float16 through 10 layers


@pytest.mark.parametrize("name", ["street-small", "street-classifier"])
def test_embedded_weights_agree_with_their_graphs(name):
    weights, graph = loaded(embedded(name).weights), loaded(embedded(name).onnx)
    assert (weights.inputs, weights.outputs) == (graph.inputs, graph.outputs)
    assert weights.metadata == {**graph.metadata, "arch": name}
    side = 48 if name == "street-classifier" else 96
    feeds = {weights.inputs[0].name: np.random.default_rng(0).uniform(0, 255, (2, 3, side, side)).astype(np.float32)}
    want = graph.predict(feeds)
    for output, got in weights.predict(feeds).items():
        np.testing.assert_allclose(got, want[output], rtol=1e-3, atol=2e-3)


def test_old_names_are_renamed():
    old = {"a.denselayer1.norm.1.weight": 1, "encoder.layers.encoder_layer_0.mlp.linear_2.bias": 2}
    assert own_names(old) == {"a.denselayer1.norm1.weight": 1, "encoder.layers.encoder_layer_0.mlp.3.bias": 2}


def test_own_networks(tmp_path):
    path = save_state(Doubling(), tmp_path / "own.pth")
    with pytest.raises(ModelLoadError, match=r"fit no model I know\. Name the architecture: --arch resnet50") as caught:
        loaded(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelLoadError, match=r"a Doubling that takes x of shapes it does not tell.*--input-shape"):
        loaded(path, arch=Doubling)
    model = loaded(path, arch="tests.solutions.torch_builders:Doubling", input_shape=(None, 3))
    np.testing.assert_array_equal(model.predict({"x": np.ones((2, 3), np.float32)})["output"], np.full((2, 3), 2))
    for arch, message in (
        ("no_such_module:Net", "cannot be imported"),
        ("tests.solutions.torch_builders:Nothing", "cannot be imported"),
        (lambda: 3, "must make an nn.Module"),
        (lambda: 1 / 0, "division by zero"),
    ):
        with pytest.raises(ConfigError, match=message):
            loaded(path, arch=arch)
    with pytest.raises(ModelLoadError, match="do not fit Linear"):
        loaded(path, arch=lambda: nn.Linear(3, 3), input_shape=(None, 3))


def test_an_architecture_by_name(tmp_path, squeezenet):
    path = save_state(squeezenet, tmp_path / "net.pth")
    assert loaded(path, arch="squeezenet1_1").metadata["arch"] == "squeezenet1_1"
    with pytest.raises(ModelLoadError, match=r"net\.pth: the weights do not fit squeezenet1_0: "):
        loaded(path, arch="squeezenet1_0")
    with pytest.raises(ConfigError, match=r"squeezenet1 is not .* did you mean squeezenet1_\d\? --list-archs"):
        loaded(path, arch="squeezenet1")


def test_the_nearest_network_is_named(tmp_path):
    state = network("resnet18").state_dict()
    state["fc.1.weight"], state["fc.1.bias"] = state.pop("fc.weight"), state.pop("fc.bias")
    with pytest.raises(ModelLoadError, match=r"the nearest is resnet18, but fc\.1\.bias is a stranger to it"):
        loaded(save(state, tmp_path / "net.pth"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(torch.zeros(3), "holds a Tensor, not the named weights", id="tensor"),
        pytest.param([torch.zeros(3)], "holds a list", id="list"),
        pytest.param({}, "holds nothing, and no weights", id="empty"),
        pytest.param({"epoch": 3, "loss": 0.1}, "holds epoch, loss, and no weights", id="no-weights"),
    ],
)
def test_what_holds_no_weights(tmp_path, value, message):
    with pytest.raises(ModelLoadError, match=message):
        loaded(save(value, tmp_path / "x.pth"))


def test_another_input_size_by_request(tmp_path, squeezenet):
    path = save_state(squeezenet, tmp_path / "net.pth")
    model = loaded(path, input_shape=(1, 3, 96, 128))
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((1, 3, 96, 128), (1, 1000))
    with pytest.raises(ConfigError, match=r"fails on zeros of images \[1, 4, 64, 64\].*Give another input shape"):
        loaded(path, input_shape=(None, 4, 64, 64))


def test_a_whole_module_needs_trust(tmp_path, squeezenet):
    path = save(squeezenet, tmp_path / "whole.pth")
    with pytest.raises(ModelLoadError, match=r"needs torchvision\.models\.squeezenet\.SqueezeNet.*--trust-pickle"):
        loaded(path)
    model = loaded(path, trust_pickle=True)
    assert [spec.name for spec in (*model.inputs, *model.outputs)] == ["images", "logits"]
    np.testing.assert_array_equal(model.predict({"images": X})["logits"], answer(squeezenet))
    inside = save({"model": squeezenet.train(), "epoch": 1}, tmp_path / "inside.pth")
    assert not loaded(inside, trust_pickle=True).module.training
    squeezenet.eval()


def test_trust_changes_nothing_about_plain_weights(tmp_path, squeezenet):
    assert loaded(save_state(squeezenet, tmp_path / "n.pth"), trust_pickle=True).metadata["arch"] == "squeezenet1_1"


def test_code_that_is_gone_is_said(tmp_path):
    path = save_pickle(Doubling(), tmp_path / "m.pkl")
    path.write_bytes(path.read_bytes().replace(b"Doubling", b"Trebling"))
    with pytest.raises(ModelLoadError, match="needs Python code that is not here"):
        loaded(path, trust_pickle=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files(tmp_path, squeezenet, share, legacy):
    path = save_state(squeezenet, tmp_path / "net.pth", legacy=legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelLoadError, match=r"truncated|damaged|its end is missing|no kind known") as caught:
        loaded(path)
    assert "\n" not in str(caught.value)
    assert "trust" not in str(caught.value)


def safetensors(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(shape=(3,), start=0, end=12, dtype="F32"):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}}


@pytest.mark.parametrize(
    ("header", "data", "length", "message"),
    [
        pytest.param(entry(), bytes(8), None, "announces 12 bytes of weights, and 8 are there", id="truncated"),
        pytest.param(entry(), bytes(12), 4000, "ends within its header", id="truncated-header"),
        pytest.param(entry(), bytes(12), 1 << 50, "header of 1,125,899,906,842,624 bytes", id="oversized-header"),
        pytest.param(entry(shape=(1 << 40,)), bytes(12), None, "has shape .* in 12 bytes", id="lying-shape"),
        pytest.param(entry(start=-4, end=8), bytes(12), None, "outside the file", id="before-the-file"),
        pytest.param(entry(start=12, end=0), bytes(12), None, "outside the file", id="backwards"),
        pytest.param(entry(start=0, end=12.5), bytes(16), None, "no shape or no place", id="half-a-byte"),
        pytest.param({"w": 3}, b"", None, "no shape or no place", id="no-entry"),
        pytest.param(entry(dtype="Q3"), bytes(12), None, "damaged safetensors", id="unknown-dtype"),
        pytest.param(entry(), bytes(40), None, "damaged safetensors", id="bytes-left-over"),
        pytest.param(b'{"w": ', bytes(12), None, "header is not JSON", id="no-json"),
        pytest.param(b"{" * 100_000, b"", None, "header is not JSON", id="deep-json"),
        pytest.param({}, b"", None, "holds no weights at all", id="empty"),
    ],
)
def test_lying_safetensors(tmp_path, header, data, length, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        loaded(safetensors(tmp_path / "x.safetensors", header, data, length))
    assert "\n" not in str(caught.value)


def test_the_metadata_of_safetensors(tmp_path, squeezenet):
    path = save_tensors(squeezenet, tmp_path / "n.safetensors", arch="squeezenet1_1", author="me")
    assert loaded(path).metadata["author"] == "me"
