"""Loading: what a file is, said by its content; hostile and damaged files refused in one sentence; the command line."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.scripts import run
from solutions.core.tensors import TensorSpec
from solutions.phase1_basics import model_loader
from solutions.phase1_basics.model_loader import load_model, parse_shape, random_inputs
from solutions.phase1_basics.runtimes import Runtime, register
from tests.solutions.onnx_builders import doubling, save, small_network
from tests.solutions.torch_builders import Doubling, network, save_pickle, save_state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"\n<!DOCTYPE html><html>Sign in</html>", "web page", id="html"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git-LFS pointer", id="lfs"),
        pytest.param(pickle.dumps({"a": 1}), "Python pickle", id="pickle"),
        pytest.param(b"PK\x03\x04 and no end", "its end is missing", id="half-a-zip"),
        pytest.param(b"hello, I am not a model", "no kind known", id="text"),
        pytest.param(bytes(4096), "no kind known", id="zeros"),
        pytest.param(os.urandom(0) + bytes(range(255, 0, -1)), "no kind known", id="noise"),
    ],
)
def test_what_is_no_onnx_is_named(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_folders(tmp_path):
    doubling(tmp_path / "inside.onnx")
    with pytest.raises(ModelLoadError, match=r"is a folder.*inside\.onnx"):
        load_model(tmp_path)


def test_a_damaged_graph_is_one_sentence(tmp_path):
    path = small_network(tmp_path / "model.onnx")
    content = bytearray(path.read_bytes())
    start = content.find(b"stem")
    content[start - 40 : start + 200] = bytes(240)
    path.write_bytes(content)
    with pytest.raises(ModelLoadError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_not_there_and_a_name_that_is_unknown(tmp_path):
    with pytest.raises(ModelLoadError, match="does not exist"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelLoadError, match="neither a file nor a known model"):
        load_model("resnet9999")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "link.bin"])
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = with_external(folder / "model.onnx", location)
    with pytest.raises(ModelLoadError, match="outside its own folder; refused"):
        load_model(path)


def with_external(path, location, length=12):
    doubling(path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_load_even_through_links(tmp_path):
    store, view = tmp_path / "store", tmp_path / "view"
    store.mkdir()
    view.mkdir()
    (store / "blob1").write_bytes(np.full(3, 2, np.float32).tobytes())
    with_external(store / "blob0", "weights.bin")
    (view / "model.onnx").symlink_to(store / "blob0")
    (view / "weights.bin").symlink_to(store / "blob1")
    with pytest.raises(ModelLoadError, match="not beside it"):
        load_model(store / "blob0")
    (store / "weights.bin").write_bytes((store / "blob1").read_bytes())
    model = load_model(store / "blob0", threads=1)
    np.testing.assert_array_equal(model.predict({"x": np.ones((1, 3), np.float32)})["y"], [[2, 2, 2]])
    (store / "weights.bin").write_bytes(b"xx")
    with pytest.raises(ModelLoadError, match="is truncated"):
        load_model(store / "blob0")


def test_external_weights_in_a_subgraph_are_seen(tmp_path):
    tensor = helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "branch", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])],
    )  # fmt: skip
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelLoadError, match="refused"):
        load_model(path)


@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors", "onnx", "pt2"])
def test_a_file_that_is_not_there_gets_the_command_that_makes_it(tmp_path, suffix):
    path = tmp_path / f"resnet50.{suffix}"
    command = f"python -m solutions.core.zoo export resnet50 --out {path} --random"
    with pytest.raises(ModelLoadError, match=re.escape(command)):
        load_model(path)
    with pytest.raises(ModelLoadError, match=r"export street-small --out street-small\.pth$"):
        load_model("street-small.pth")


def test_an_absent_package_is_named_with_its_extra(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))
    monkeypatch.setattr(Runtime, "is_available", property(lambda runtime: False))
    with pytest.raises(
        BackendUnavailable, match=r'LiteRT is not installed. Install it: pip install "ml-inference\[tflite\]"'
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("text", "shape"), [("?,3,224,224", (None, 3, 224, 224)), ("[1, 16]", (1, 16)), ("-1,3", (None, 3)), ("5", (5,))]
)
def test_shapes_as_people_write_them(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "3x224", "1,,2", "1.5"])
def test_what_is_no_shape(text):
    with pytest.raises(ConfigError, match="is written like"):
        parse_shape(text)


def test_settings_are_checked(tmp_path):
    path = doubling(tmp_path / "model.onnx")
    for options, message in (
        ({"threads": 0}, "at least 1"),
        ({"device": "tpu"}, "auto, cpu, cuda"),
        ({"device": "cpu:1"}, "auto, cpu, cuda"),
        ({"graph_level": "max"}, "none, basic, extended, all"),
        ({"batch": 4}, "graph_level and spinning"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_model(path, **options)


def test_cuda_is_missed_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendUnavailable, match="onnxruntime-gpu"):
        load_model(doubling(tmp_path / "model.onnx"), device="cuda")


@pytest.mark.parametrize("options", [{"graph_level": "none"}, {"spinning": False}, {"threads": 2}])
def test_options_change_no_result(tmp_path, options):
    path = small_network(tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 96)).astype(np.float32)
    (want,) = load_model(path, threads=1).predict({"images": x}).values()
    (got,) = load_model(path, **{"threads": 1, **options}).predict({"images": x}).values()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_sizes_the_graph_refuses_are_named(tmp_path):
    node = helper.make_node("Add", ["a", "b"], ["c"])
    path = save(tmp_path / "m.onnx", [node], [("a", (None,)), ("b", (None,))], [("c", (None,))])
    with pytest.raises(ConfigError, match=r"cannot run with a \[2\], b \[3\]") as caught:
        load_model(path).predict({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})
    assert "\n" not in str(caught.value)


def test_a_runtime_may_not_take_anothers_files():
    with pytest.raises(ConfigError, match="already loaded by ONNX Runtime"):
        register(Runtime("onnx", "Other", "other", "load", "other"))


def test_random_inputs_follow_the_spec():
    specs = (TensorSpec("x", (None, 3, None)), TensorSpec("ids", (2,), "int64"), TensorSpec("on", (2,), "bool"))
    feeds = random_inputs(specs, batch=4, free=5)
    assert {name: (array.shape, array.dtype.name) for name, array in feeds.items()} == {
        "x": ((4, 3, 5), "float32"), "ids": ((2,), "int64"), "on": ((2,), "bool"),
    }  # fmt: skip
    np.testing.assert_array_equal(feeds["x"], random_inputs(specs, batch=4, free=5)["x"])


def test_command_line_describes(tmp_path, capsys):
    path = small_network(tmp_path / "model.onnx")
    assert run(model_loader.main, ["--model", str(path), "--json", str(tmp_path / "facts.json"), "--free", "64"]) == 0
    assert "images: float32[?, 3, ?, ?]" in capsys.readouterr().out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["outputs"] == [{"name": "grid", "spec": "float32[?, 9, ?, ?]", "got": "float32[1, 9, 8, 8]"}]
    assert facts["metadata"]["head"] == "grid"
    assert facts["finite"] is True


def test_command_line_fails_in_one_sentence(tmp_path, capsys):
    assert run(model_loader.main, ["--model", str(tmp_path / "none.onnx")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_command_line_options_of_pytorch(tmp_path, capsys):
    path = save_pickle(Doubling(), tmp_path / "m.pkl")
    assert run(model_loader.main, ["--model", str(path)]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    options = ["--trust-pickle", "--input-shape", "?,3", "--batch", "2", "--threads", "1", "--device", "cpu"]
    assert run(model_loader.main, ["--model", str(path), *options]) == 0
    assert "in   x: float32[?, 3]" in capsys.readouterr().out
    path = save_state(network("squeezenet1_1"), tmp_path / "m.pth")
    assert run(model_loader.main, ["--model", str(path), "--arch", "resnet18", "--threads", "1"]) == 2
    assert "do not fit resnet18" in capsys.readouterr().err
    assert run(model_loader.main, ["--list-archs"]) == 0
    assert {"street-small", "resnet50", "vit_b_16"} <= set(capsys.readouterr().out.split())


def test_starting_takes_no_pytorch():
    check = "import sys, solutions.phase1_basics.model_loader; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


def test_it_runs_as_a_plain_file_from_anywhere(tmp_path):
    path = doubling(tmp_path / "model.onnx")
    script = Path(model_loader.__file__)
    done = subprocess.run(
        [sys.executable, script, "--model", path], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
