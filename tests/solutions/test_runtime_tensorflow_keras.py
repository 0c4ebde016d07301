"""Keras files: names, inference mode, layers that carry code, weights from elsewhere, damage."""

import json
import zipfile

import numpy as np
import pytest

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes.tensorflow import load_tensorflow
from tests.solutions import tf_builders as build


@pytest.fixture(scope="module")
def network():
    return build.small_network()


def refused(path, message, **options):
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_tensorflow(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_layers_with_code_are_refused_unless_trusted(tmp_path, suffix):
    keras = build.keras()
    x = keras.layers.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Lambda(lambda v: v * 2, output_shape=(3,))(x))
    path = build.save_keras(model, tmp_path / f"m{suffix}")
    refused(path, r"carries code that runs when it is loaded \(Lambda\); refused")
    (y,) = load_tensorflow(path, trust_pickle=True).predict({"x": np.ones((1, 3), np.float32)}).values()
    np.testing.assert_array_equal(y, [[2, 2, 2]])


@pytest.mark.parametrize("name", ["Lambda", "keras>Lambda", "TFSMLayer", "TorchModuleWrapper"])
def test_layers_with_code_are_found_at_any_depth(network, tmp_path, name):
    path = build.save_keras(network, tmp_path / "m.keras")
    edit_config(path, lambda config: config["config"]["layers"].append({"config": {"wrapped": [{"class_name": name}]}}))
    refused(path, f"{name.rpartition('>')[2]}.; refused")


def test_a_class_that_is_not_here(network, tmp_path):
    path = build.save_keras(network, tmp_path / "m.keras")

    def rename(config):
        layer = next(each for each in config["config"]["layers"] if each["class_name"] == "Dense")
        layer.update(class_name="MyDense", module=None, registered_name="Custom>MyDense")

    edit_config(path, rename)
    refused(path, "not part of Keras")


def edit_config(path, change):
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    keras = build.keras()
    left, right = (keras.layers.Input((3,), name=name) for name in ("left", "right"))
    total, product = keras.layers.Add(name="total")([left, right]), keras.layers.Multiply(name="product")([left, right])
    model = keras.Model({"right": right, "left": left}, [total, product])
    model = load_tensorflow(build.save_keras(model, tmp_path / "m.keras"))
    a, b = np.full((2, 3), 2, np.float32), np.full((2, 3), 5, np.float32)
    got = model.predict({"left": a, "right": b})
    assert {name: array[0, 0] for name, array in got.items()} == {"total": 7, "product": 10}


def test_dropout_rests_and_a_sequential_model_loads(tmp_path):
    keras = build.keras()
    model = keras.Sequential([keras.layers.Input((3,), name="x"), keras.layers.Dropout(0.5)])
    model = load_tensorflow(build.save_keras(model, tmp_path / "m.keras"))
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(next(iter(model.predict({model.inputs[0].name: x}).values())), x)


def test_weights_alone_are_told(network, tmp_path):
    path = tmp_path / "m.weights.h5"
    with build.writing():
        network.save_weights(path)
    refused(path, "weights without an architecture")


@pytest.mark.parametrize("link", ["group", "dataset"])
def test_weights_from_another_file_are_refused(network, tmp_path, link):
    path = build.save_keras(network, tmp_path / "m.h5")
    import h5py

    with h5py.File(path, "r+") as file:
        if link == "group":
            file["stolen"] = h5py.ExternalLink("/etc/passwd", "/")
        else:
            file.create_dataset("stolen", (4,), "uint8", external=[("/etc/passwd", 0, 4)])
    refused(path, "another file; refused")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_keras_file_is_one_sentence(network, tmp_path, suffix, share):
    path = build.save_keras(network, tmp_path / f"m{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "damaged|cannot load")


def test_a_zip_that_is_no_keras_file(tmp_path):
    build.keras()
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    refused(path, "is no Keras file")
