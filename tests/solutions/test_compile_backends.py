"""Every backend gives a `Model` whose answers are the network's, up to what rounding explains."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError, PipelineStopped
from solutions.core.optional import available
from solutions.core.tensors import Model
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.profiling.feeds import sample_feeds
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.backends import BACKENDS, aot, backend, inductor
from solutions.phase2_optimization.compilation.backends import onnxruntime as ort
from solutions.phase2_optimization.compilation.backends import openvino as ov
from solutions.phase2_optimization.compilation.backends import torchscript as script
from solutions.phase2_optimization.compilation.export import export_model
from solutions.phase2_optimization.compilation.parity import check_parity
from tests.solutions.compile_parts import loaded, tiny_network

GRAPH = embedded("street-classifier").onnx


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reference():
    return OnnxModel(GRAPH, device="cpu", threads=1, graph_level="none", spinning=False)


def agrees(reference, model, graph=GRAPH, **settings):
    assert isinstance(model, Model)
    agreement = check_parity(reference, model, graph=graph, **settings)
    assert agreement.agrees, agreement.describe()


def feeds(batch, seed=0):
    return {"crops": np.random.default_rng(seed).uniform(0, 255, (batch, 3, 48, 48)).astype(np.float32)}


# --- ONNX Runtime


@pytest.mark.parametrize("level", ["none", "basic", "extended", "all"])
def test_onnxruntime_at_every_level(reference, level):
    agrees(reference, ort.compile_here(GRAPH, threads=1, graph_level=level))


@pytest.mark.parametrize("level", ["basic", "extended", "all"])
def test_onnxruntime_writes_the_optimised_graph(reference, level, tmp_path):
    model = ort.compile_here(GRAPH, out=tmp_path / "o.onnx", threads=1, graph_level=level)
    agrees(reference, model)
    agrees(reference, load_model(tmp_path / "o.onnx", threads=1))
    assert model.metadata == reference.metadata, "labels and sizes travel along"
    assert len(list(tmp_path.iterdir())) == 1


def test_bound_buffers_give_the_same_answers(reference):
    model = ort.compile_here(GRAPH, threads=1, io_binding=True)
    agrees(reference, model)
    for batch in (2, 1, 2, 3, 2):
        want = reference.predict(feeds(batch, seed=batch))
        np.testing.assert_allclose(
            model.predict(feeds(batch, seed=batch))["classes"], want["classes"], rtol=1e-4, atol=1e-4
        )


def test_bound_answers_belong_to_the_caller_only_after_predict():
    model = ort.compile_here(GRAPH, threads=1, io_binding=True)
    first = model.predict(feeds(2, seed=1))["classes"]
    kept = first.copy()
    bound = model.run_bound(feeds(2, seed=2))["classes"]
    np.testing.assert_array_equal(first, kept)
    again = model.run_bound(feeds(2, seed=3))["classes"]
    assert again is bound, "the hot loop allocates nothing"


def test_bound_buffers_take_views_and_refuse_wrong_arrays():
    model = ort.compile_here(GRAPH, threads=1, io_binding=True)
    x = feeds(4)["crops"]
    want = model.predict({"crops": x[::2].copy()})["classes"]
    np.testing.assert_array_equal(model.predict({"crops": x[::2]})["classes"], want)
    with pytest.raises(ConfigError, match="takes the inputs"):
        model.predict({"other": x})
    with pytest.raises(ConfigError, match="got float64"):
        model.predict({"crops": x.astype(np.float64)})
    model.close()
    with pytest.raises(PipelineStopped):
        model.predict({"crops": x})


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"graph_level": "most"}, "graph_level must be one of"), ({"out": "/no/such/folder/o.onnx"}, "is not a folder")],
)
def test_onnxruntime_refuses(settings, message):
    with pytest.raises(ConfigError, match=message):
        ort.compile_here(GRAPH, **{"out": None, **settings})


# --- OpenVINO


@pytest.fixture
def openvino():
    if not available("openvino"):
        pytest.skip('not run here: OpenVINO is not installed (pip install "ml-inference[openvino]")')


def test_openvino_computes_in_float32_unless_asked(openvino, reference):
    agrees(reference, ov.compile_here(GRAPH, threads=1))


def test_openvino_writes_ir(openvino, reference, tmp_path):
    agrees(reference, ov.compile_here(GRAPH, out=tmp_path / "o.xml", threads=1))
    agrees(reference, load_model(tmp_path / "o.xml", threads=1))
    with pytest.raises(ConfigError, match=r"writes .xml files"):
        ov.save_ir(GRAPH, tmp_path / "o.onnx")


def test_openvino_caches_what_it_compiled(openvino, tmp_path):
    ov.compile_here(GRAPH, threads=1, cache_dir=tmp_path / "cache").close()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert made
    ov.compile_here(GRAPH, threads=1, cache_dir=tmp_path / "cache").close()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == made


def test_many_requests_answer_in_order(openvino, reference):
    model = ov.compile_here(GRAPH, threads=1, hint="throughput")
    agrees(reference, model)
    many = [feeds(1 + index % 3, seed=index) for index in range(12)]
    for each, answer in zip(many, model.predict_many(iter(many)), strict=True):
        np.testing.assert_array_equal(answer["classes"], model.predict(each)["classes"])
    assert model.predict_many([]) == []
    with pytest.raises(ConfigError):
        model.predict_many([{"crops": np.zeros((1, 3, 4), np.float32)}])
    model.close()
    with pytest.raises(PipelineStopped):
        model.predict_many(many)


# --- TorchScript


@pytest.mark.parametrize("method", ["trace", "script"])
@pytest.mark.parametrize("freeze", [True, False], ids=["frozen", "as-is"])
def test_torchscript(reference, method, freeze):
    agrees(reference, script.compile_here("street-classifier", threads=1, method=method, freeze=freeze))


def test_torchscript_laid_out_for_this_machine(reference):
    agrees(reference, script.compile_here("street-classifier", threads=1, optimize=True))
    with pytest.raises(ConfigError, match="cannot be saved"):
        script.compile_here("street-classifier", optimize=True, out="x.ts")


def test_torchscript_archives_load_again(reference, tmp_path):
    script.compile_here("street-classifier", out=tmp_path / "c.ts", threads=1)
    again = load_model(tmp_path / "c.ts", threads=1)
    for want, got in zip(reference.predict(feeds(3)).values(), again.predict(feeds(3)).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)  # the archive keeps no names of outputs
    assert again.metadata["labels"] == reference.metadata["labels"]


class Branch(nn.Module):
    """Traced, it keeps the branch that the example took; scripted, both."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.sum()) > 0:
            return x * 2
        return x


def test_tracing_loses_a_branch_that_scripting_keeps():
    x = {"x": -np.ones((2, 3), np.float32)}
    want = loaded(Branch()).predict(x)["y"]
    traced = script.compile_here(loaded(Branch()), method="trace").predict(x)["y"]
    scripted = script.compile_here(loaded(Branch()), method="script").predict(x)["y"]
    np.testing.assert_array_equal(scripted, want)
    assert not np.array_equal(traced, want), "why the parity check feeds fresh inputs"


def test_what_scripting_cannot_read_is_said():
    class Star(nn.Module):
        def forward(self, x):
            return [*map(lambda y: y * 2, (x,))][0]  # noqa: C417, RUF015

    with pytest.raises(ModelLoadError, match="TorchScript cannot script net"):
        script.compile_here(loaded(Star()), method="script")
    with pytest.raises(ConfigError, match="method must be one of"):
        script.compile_here(loaded(Star()), method="guess")


def test_the_legacy_is_labelled():
    assert "deprecated" in BACKENDS["torchscript"].legacy
    assert [each.name for each in BACKENDS.values() if each.legacy] == ["torchscript"]


# --- torch.compile and AOTInductor: slow, so one test each, on a tiny network


@pytest.fixture
def compiler():
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        pytest.skip("not run here: no C++ compiler")


def test_inductor_compiles_and_takes_other_batches(compiler, tmp_path):
    source = tiny_network()
    model = inductor.compile_here(source, threads=1)
    graph = export_model(source, tmp_path / "n.onnx", check=False).path
    agrees(source, model, graph, batches=(1, 2))
    assert model.format == "torch-compiled"


def test_aot_packages_load_again(compiler, tmp_path):
    source = tiny_network()
    model = aot.compile_here(source, out=tmp_path / "n.pt2", threads=1)
    graph = export_model(source, tmp_path / "n.onnx", check=False).path
    agrees(source, model, graph)
    again = aot.load_aot(tmp_path / "n.pt2", threads=1, trust_pickle=True)
    agrees(source, again, graph)
    assert again.metadata == source.metadata
    assert (again.inputs, again.outputs) == (source.inputs, source.outputs)
    with pytest.raises(ModelLoadError, match="machine code"):
        aot.load_aot(tmp_path / "n.pt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.onnx", "n.pt2"]


@pytest.mark.parametrize("module", [inductor, aot], ids=["inductor", "aot"])
def test_without_a_compiler_it_is_said(module, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BackendUnavailable, match=r"needs a C\+\+ compiler and finds none of g\+\+.*apt-get install"):
        module.compile_here(tiny_network())
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendUnavailable, match="CXX=no-such-compiler, which is not there"):
        module.compile_here(tiny_network())


def test_a_package_that_is_none_is_said(tmp_path):
    (tmp_path / "n.pt2").write_bytes(b"PK")
    with pytest.raises(ModelLoadError, match="does not say what it takes"):
        aot.load_aot(tmp_path / "n.pt2", trust_pickle=True)
    with pytest.raises(ConfigError, match=r"writes .pt2 packages"):
        aot.compile_here(tiny_network(), out=tmp_path / "n.so")
    with pytest.raises(ConfigError, match="writes no file"):
        inductor.compile_here(tiny_network(), out=tmp_path / "n.so")


def test_an_unknown_backend_is_refused():
    with pytest.raises(ConfigError, match=r"nothing is not a backend\. Known: onnxruntime"):
        backend("nothing")


def test_fresh_inputs_come_from_the_model(reference):
    assert sample_feeds(reference, batch=2)["crops"].shape == (2, 3, 48, 48)
