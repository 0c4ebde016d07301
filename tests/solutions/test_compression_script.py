"""The command line that prunes: what it writes, what it says, what it refuses."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from solutions.core.scripts import run
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compression.magnitude import graph_weights
from solutions.phase2_optimization.compression.script import SCHEMA, main
from solutions.phase2_optimization.compression.two_four import is_two_four

CLASSIFIER = str(embedded("street-classifier").onnx)


def call(capsys, *arguments):
    code = run(main, [str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_channels_are_taken_out_of_a_zoo_model(tmp_path, capsys):
    out, record = tmp_path / "new" / "half.onnx", tmp_path / "record.json"
    code, said = call(
        capsys, "--model", "street-classifier", "--channels", 0.5, "--out", out, "--json", record, "--round-to", 8
    )
    assert code == 0, said
    found = json.loads(record.read_text())
    assert found["schema"] == SCHEMA
    assert found["channels"]["features.0.conv.weight"] == [16, 8]
    assert found["after"]["gflops"] < 0.35 * found["before"]["gflops"]
    assert found["parameters"][1] < 0.3 * found["parameters"][0]
    model = OnnxModel(out, device="cpu", threads=1)
    answers = model.predict({"crops": np.zeros((3, 3, 48, 48), np.float32)})
    assert {name: array.shape for name, array in answers.items()} == {"classes": (3, 5), "colours": (3, 7)}
    assert model.metadata["head"] == "crop", "what is to be known about it travels on"
    assert "arch" not in model.metadata, "but it is no longer the network of that name"
    model.close()


@pytest.mark.parametrize(
    ("arguments", "zeros"),
    [
        pytest.param(("--sparsity", 0.75), 0.75, id="lamp"),
        pytest.param(("--sparsity", 0.75, "--scope", "global"), 0.75, id="global"),
        pytest.param(("--sparsity", 0.75, "--scope", "local"), 0.75, id="local"),
    ],
)
def test_zeros_are_written_into_a_graph(tmp_path, capsys, arguments, zeros):
    out, record = tmp_path / "sparse.onnx", tmp_path / "record.json"
    code, said = call(capsys, "--model", CLASSIFIER, *arguments, "--out", out, "--json", record)
    assert code == 0, said
    found = json.loads(record.read_text())
    assert found["after"]["zeros"] == pytest.approx(zeros, abs=1e-3)
    assert found["after"]["gflops"] == found["before"]["gflops"]
    assert "expect the same latency" in said
    shares = found["sparsity"]["layers"].values()
    assert (max(shares) - min(shares) < 0.01) == ("local" in arguments)


def test_two_of_four(tmp_path, capsys):
    out, record = tmp_path / "two-four.onnx", tmp_path / "record.json"
    code, said = call(capsys, "--model", CLASSIFIER, "--two-four", "--out", out, "--json", record)
    assert code == 0, said
    assert "compute capability 8.0" in said
    weights = graph_weights(onnx.load(out))
    fitting = [weight for weight in weights.values() if weight.shape[1] % 4 == 0]
    assert len(fitting) == len(weights) - 1, "the first layer reads 3 channels"
    assert all(is_two_four(weight) for weight in fitting)
    assert json.loads(record.read_text())["packed_bytes"] == sum(weight.size for weight in fitting) * 17 // 8


@pytest.mark.parametrize(
    ("model", "arguments", "sentence"),
    [
        pytest.param(CLASSIFIER, ("--channels", 0.5), "is an ONNX file, and channels are taken", id="channels-of-onnx"),
        pytest.param("street-classifier", ("--channels", 1.5), "share must lie in [0, 1), got 1.5", id="share"),
        pytest.param("street-small", ("--channels", 0.5, "--scope", "lamp"), "--scope lamp is for", id="scope"),
        pytest.param(CLASSIFIER, ("--sparsity", 1), "sparsity must lie in [0, 1), got 1.0", id="sparsity"),
        pytest.param("nowhere.onnx", ("--sparsity", 0.5), "nowhere.onnx", id="no-such-file"),
        pytest.param("nowhere.pt", ("--channels", 0.5), "nowhere.pt", id="no-such-torch-file"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(tmp_path, capsys, model, arguments, sentence):
    out = tmp_path / "out.onnx"
    code, said = call(capsys, "--model", model, *arguments, "--out", out)
    assert code == 2
    assert sentence in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not out.exists()


def test_an_exported_program_is_refused(tmp_path, capsys):
    program, out = tmp_path / "net.pt2", tmp_path / "out.onnx"
    torch.export.save(torch.export.export(nn.Conv2d(3, 4, 1).eval(), (torch.rand(2, 3, 8, 8),)), program)
    code, said = call(capsys, "--model", program, "--channels", 0.5, "--out", out)
    assert code == 2, said
    assert "is an exported program" in said
    assert not out.exists()
