"""What a file is, said by its bytes: every kind, every disguise, everything that is no model."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core.errors import ModelLoadError
from solutions.phase1_basics.runtimes import runtimes
from solutions.phase1_basics.runtimes.content import recognise_content
from tests.solutions import tf_builders, torch_builders
from tests.solutions.onnx_builders import doubling, small_network

MAKERS = {"onnx": lambda folder: doubling(folder / "doubling.onnx"), **torch_builders.DOUBLING, **tf_builders.DOUBLING}
PROTOBUF_STRING = b"\x0a\x01a"


def written(path, content):
    path.write_bytes(content)
    return path


def zipped(path, *names, content="x", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def said_about(path):
    try:
        return recognise_content(path).description
    except ModelLoadError as error:
        return str(error)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_a_real_file_is_known_under_any_name(tmp_path, kind):
    path = MAKERS[kind](tmp_path)
    renamed = path.rename(tmp_path / "download.bin")
    assert recognise_content(renamed).kind == kind
    assert kind in runtimes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(b"\x1c\x00\x00\x00TFL3" + bytes(64), "tflite", id="tflite"),
        pytest.param(b"\x1c\x00\x00\x00ORTM" + bytes(64), "ort", id="ort"),
        pytest.param(b"\x89HDF\r\n\x1a\n" + bytes(64), "keras-h5", id="keras-h5"),
        pytest.param(b'<?xml version="1.0"?>\n<net name="x" version="11">', "openvino", id="openvino"),
        pytest.param(b'\xef\xbb\xbf<net name="x" version="11">', "openvino", id="openvino-with-bom"),
        pytest.param((8).to_bytes(8, "little") + b'{"a":{}}', "safetensors", id="safetensors"),
        pytest.param(
            (123).to_bytes(8, "little") + b"{" + b" " * 122, "safetensors", id="a-length-that-looks-like-json"
        ),
        pytest.param(pickle.dumps({"a": 1}), "pickle", id="pickle"),
        pytest.param(pickle.dumps(0x1950A86A20F9469CFC6C, 2), "torch-legacy", id="old-torch-save"),
        pytest.param(b"x" * 257 + b"ustar\0" + bytes(250), "tar", id="tar"),
        pytest.param(b"\x1f\x8b\x08" + bytes(30), "gzip", id="gzip"),
        pytest.param(b"hello, I am not a model", "unknown", id="text"),
        pytest.param(bytes(4096), "unknown", id="zeros"),
        pytest.param(bytes(range(255, 0, -1)), "unknown", id="noise"),
        pytest.param(b"\x0a\x03abc", "unknown", id="a-protobuf-string"),
        pytest.param(b"\x80", "unknown", id="one-byte"),
    ],
)
def test_by_its_first_bytes(tmp_path, content, kind):
    assert recognise_content(written(tmp_path / "model.onnx", content)).kind == kind


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["archive/data.pkl", "archive/data/0"], "torch-weights"),
        (["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"], "torchscript"),
        (["m/archive_format", "m/models/model.json"], "torch-export"),
        (["serialized_exported_program.json", "version"], "torch-export"),
        (["m/archive_format", "m/data/aotinductor/model/a.so"], "aotinductor"),
        (["m/.data/extern_modules", "m/data.pkl"], "torch-package"),
        (["config.json", "model.weights.h5", "metadata.json"], "keras"),
        (["arr_0.npy"], "npz"),
        (["readme.txt"], "zip"),
    ],
)
def test_zips_are_told_apart(tmp_path, names, kind):
    assert recognise_content(zipped(tmp_path / "model.onnx", *names)).kind == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"is empty \(0 bytes\)", id="empty"),
        pytest.param(b"\n<!DOCTYPE html><html>Sign in</html>", "web page", id="html"),
        pytest.param(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "error message in XML", id="s3"),
        pytest.param(b'{"message": "Not Found"}', "is JSON text", id="json"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull", id="lfs"),
        pytest.param(b"PK\x03\x04 and no end", "its end is missing", id="half-a-zip"),
    ],
)
def test_what_is_plainly_no_model(tmp_path, content, message):
    with pytest.raises(ModelLoadError, match=message) as caught:
        recognise_content(written(tmp_path / "model.pth", content))
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("m/data.pkl", "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    with pytest.raises(ModelLoadError, match=r"would unpack from [\d,]+ to 314,572,800 bytes.*zip bomb; refused"):
        recognise_content(path)


def test_a_zip_that_climbs_out_of_its_folder_is_only_a_zip(tmp_path):
    path = zipped(tmp_path / "model.pth", "../../evil.txt")
    assert recognise_content(path).kind == "zip"
    assert list(tmp_path.iterdir()) == [path]


def test_folders(tmp_path):
    with pytest.raises(ModelLoadError, match=r"is a folder, not a model file\.$"):
        recognise_content(tmp_path)
    doubling(tmp_path / "inside.onnx")
    with pytest.raises(ModelLoadError, match=r"is a folder.*It holds inside\.onnx"):
        recognise_content(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert recognise_content(tmp_path).kind == "tf-saved-model"


def test_one_file_of_a_saved_model_names_the_folder(tmp_path):
    path = written(tmp_path / "saved_model.pb", b"\x08\x01\x12\x03abc")
    with pytest.raises(ModelLoadError, match=f"which is a folder: name {tmp_path}"):
        recognise_content(path)


def test_the_weights_of_openvino_name_the_graph(tmp_path):
    path = written(tmp_path / "model.bin", bytes(64))
    assert recognise_content(path).kind == "unknown"
    (tmp_path / "model.xml").write_text('<net name="x" version="11"></net>')
    with pytest.raises(ModelLoadError, match=r"weights of an OpenVINO model.*name .*model\.xml"):
        recognise_content(path)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_onnx_file_says_so(tmp_path, share):
    path = small_network(tmp_path / "model.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelLoadError, match="truncated ONNX model"):
        recognise_content(path)


def tf_graph(*nodes):
    body = b"".join(
        b"\x0a"
        + bytes([len(name) + len(op) + 4])
        + b"\x0a"
        + bytes([len(name)])
        + name
        + b"\x12"
        + bytes([len(op)])
        + op
        for name, op in nodes
    )
    return body + b"\x22\x02\x08\x01"  # versions


def test_a_tensorflow_graph_by_its_nodes(tmp_path):
    whole = tf_graph((b"x", b"Placeholder"), (b"y", b"Relu"))
    assert recognise_content(written(tmp_path / "a.pb", whole)).kind == "tf-graph"
    with pytest.raises(ModelLoadError, match="truncated TensorFlow graph"):
        recognise_content(written(tmp_path / "a.pb", whole[:-8]))
    assert recognise_content(written(tmp_path / "a.pb", PROTOBUF_STRING * 3)).kind == "unknown"


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ModelLoadError, match="does not exist"):
        recognise_content(tmp_path / "none.pth")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        recognise_content(tmp_path / "nu\0l.pth")


@given(content=st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_kind_or_one_sentence(tmp_path_factory, content):
    path = written(tmp_path_factory.getbasetemp() / "any.pth", content)
    assert "\n" not in said_about(path)


@given(at=st.integers(0, 2000), value=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_never_breaks_the_recognition(tmp_path_factory, at, value):
    buffer = io.BytesIO()
    torch.save({"a": torch.from_numpy(np.zeros(3, np.float32))}, buffer)
    content = bytearray(buffer.getvalue())
    content[at % len(content)] = value
    path = written(tmp_path_factory.getbasetemp() / "changed.pth", content)
    assert "\n" not in said_about(path)
