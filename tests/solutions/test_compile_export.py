"""torch -> ONNX: free axes stay free, answers stay the same, and what cannot be exported is said in one sentence."""

import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.zoo.registry import embedded
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes.onnx import OnnxModel
from solutions.phase2_optimization.compilation.export import export_model
from solutions.phase2_optimization.compilation.onnx_errors import check_onnx, explain_export_error, explain_onnx_error
from solutions.phase2_optimization.compilation.parity import check_parity
from solutions.phase2_optimization.compilation.source import eager_module, onnx_source, torch_source
from tests.solutions.compile_parts import loaded, save_graph, tiny_network, value


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_network_keeps_its_names_axes_and_facts(tmp_path):
    exported = export_model(tiny_network(), tmp_path / "n.onnx")
    assert [spec.describe() for spec in (*exported.inputs, *exported.outputs)] == [
        "float32[?, 3, 8, 8]",
        "float32[?, 4]",
    ]
    assert [spec.name for spec in (*exported.inputs, *exported.outputs)] == ["images", "logits"]
    assert exported.agreement.agrees
    assert exported.agreement.compared == 3
    assert OnnxModel(exported.path, device="cpu", threads=1).metadata["labels"] == "a,b,c,d"
    assert exported.as_dict()["parity"]["agrees"]
    assert [path.name for path in tmp_path.iterdir()] == ["n.onnx"]


def test_several_inputs_share_their_batch(tmp_path):
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b, a * b

    model = loaded(Two(), [("a", (None, 3)), ("b", (None, 3))], [("sum", (None, 3)), ("product", (None, 3))])
    exported = export_model(model, tmp_path / "two.onnx")
    assert [spec.shape for spec in exported.inputs] == [(None, 3), (None, 3)]
    assert exported.agreement.agrees


def test_the_free_axes_can_be_chosen(tmp_path):
    with torch_source("street-small", threads=1) as model:
        batch = export_model(model, tmp_path / "b.onnx", free="batch", check=False)
    assert batch.inputs[0].shape == (None, 3, 256, 448)
    assert export_model(tiny_network(), tmp_path / "f.onnx", free="none", check=False).inputs[0].shape == (2, 3, 8, 8)


def test_an_embedded_detector_is_free_in_size_too(tmp_path):
    with torch_source("street-small", threads=1) as model:
        exported = export_model(model, tmp_path / "d.onnx", check=False)
        assert exported.inputs[0].shape == (None, 3, None, None)
        again = OnnxModel(exported.path, device="cpu", threads=1)
        assert check_parity(model, again, graph=exported.path, batches=(1,)).agrees
        original = OnnxModel(embedded("street-small").onnx, device="cpu", threads=1)
        assert check_parity(original, again, graph=exported.path, batches=(2,)).agrees


def test_an_opset_that_is_asked_for_is_what_comes_out(tmp_path):
    exported = export_model(tiny_network(), tmp_path / "n.onnx", opset=18, check=False)
    assert exported.opset == onnx.load(exported.path).opset_import[0].version == 18


def test_an_opset_without_a_way_there_is_said(tmp_path):
    """Opset 13 has no counterpart of some of the operators of 18 that the exporter writes."""

    class Shape(nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0] * 3)

    model = loaded(Shape(), outputs=[("y", (None,))])
    with pytest.raises(ModelLoadError, match="opset") as error:
        export_model(model, tmp_path / "n.onnx", opset=13)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"free": "some"}, "free must be one of"), ({"opset": 9}, "opset must be 13 or newer")],
)
def test_a_wrong_setting_is_refused(settings, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export_model(tiny_network(), tmp_path / "n.onnx", **settings)


class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x


class Svd(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x.reshape(-1, 3, 1))[1].reshape(-1, 1).expand(-1, 3) + x


class BatchAsNumber(nn.Module):
    def forward(self, x):
        return x.reshape(2, 3) * 2


class BatchInView(nn.Module):
    def forward(self, x):
        return x.view(2, -1)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        pytest.param(Branch(), "a branch or a shape depends on the values of a tensor", id="branch"),
        pytest.param(Svd(), "ONNX has no counterpart of aten._linalg_svd", id="operator"),
        pytest.param(BatchAsNumber(), "axis 0 of x should be free and became 2", id="frozen-batch"),
        pytest.param(BatchInView(), "does not take every batch|axis 0 of x should be free", id="frozen-view"),
        pytest.param(Counter(), "its answers on fresh inputs are not those of net", id="state"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(module, sentence, tmp_path, capsys):
    with pytest.raises((ModelLoadError, ConfigError), match=sentence) as error:
        export_model(loaded(module), tmp_path / "n.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [], "a file that is wrong is not left behind"
    assert capsys.readouterr() == ("", ""), "torch's own page of advice stays away"


def test_a_network_whose_sizes_are_bound_says_which():
    text = "Constraints violated (rows)! For more information, run with TORCH_LOGS"
    assert "does not take every size that was declared free (rows)" in explain_export_error(RuntimeError(text))


def test_an_unknown_export_error_keeps_its_own_words():
    inner = RuntimeError("advice\n## Exception summary\n\n<class 'a.b.Odd'>: no such thing\n")
    assert explain_export_error(inner) == "Odd: no such thing"


# --- the checker's complaints


def damaged(kind, path):
    relu = helper.make_node("Relu", ["x"], ["y"])
    if kind == "unknown-operator":
        return save_graph(path, [helper.make_node("Relux", ["x"], ["y"])])
    if kind == "order":
        return save_graph(path, [helper.make_node("Relu", ["h"], ["y"]), helper.make_node("Relu", ["x"], ["h"])])
    if kind == "twice":
        return save_graph(path, [relu, helper.make_node("Abs", ["x"], ["y"])])
    if kind == "attribute":
        return save_graph(path, [helper.make_node("Relu", ["x"], ["y"], slope=0.1)])
    if kind == "missing-attribute":
        return save_graph(path, [helper.make_node("Concat", ["x", "x"], ["y"])])
    if kind == "shape":
        return save_graph(path, [relu], outputs=[value("y", ["N", 3, 9, 9])])
    if kind == "too-new":
        save_graph(path, [relu])
        proto = onnx.load(path)
        proto.ir_version = 99
        path.write_bytes(proto.SerializeToString())
        return path
    return save_graph(path, [helper.make_node("Foo", ["x"], ["y"], domain="some.where")])


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("unknown-operator", "operator Relux does not exist in opset 19"),
        ("order", "a node reads 'h' before anything has made it"),
        ("twice", "two nodes write the same tensor 'y'"),
        ("attribute", "operator Relu has no attribute slope"),
        ("missing-attribute", "lacks its attribute axis"),
        ("shape", "promises a shape that its operators do not give"),
        ("too-new", "written in ONNX format 99, and the onnx package here reads up to"),
        ("domain", "uses operators of the domain 'some.where' without importing it"),
    ],
)
def test_a_complaint_of_the_checker_is_one_sentence(kind, sentence, tmp_path):
    with pytest.raises(ModelLoadError, match=sentence) as error:
        check_onnx(damaged(kind, tmp_path / "bad.onnx"))
    assert "\n" not in str(error.value)


def test_a_whole_graph_passes_the_checker():
    assert check_onnx(embedded("street-small").onnx).graph.node


def test_a_runtime_that_is_too_old_is_said():
    text = "ONNX Runtime only guarantees support for official opset versions. Opset 27 is under development"
    assert "newer than what this runtime knows" in explain_onnx_error(text)
    assert explain_onnx_error("Something else.\nAnd more") == "Something else"


# --- where networks come from


def test_a_torch_file_is_exported_on_the_way(tmp_path):
    from solutions.core.zoo.formats import write_model

    write_model("street-classifier", tmp_path / "c.pth")
    graph = onnx_source(tmp_path / "c.pth", workshop=tmp_path)
    assert graph == tmp_path / "c.onnx"
    original = OnnxModel(embedded("street-classifier").onnx, device="cpu", threads=1)
    assert check_parity(original, OnnxModel(graph, device="cpu", threads=1), graph=graph).agrees


def test_a_graph_has_no_module():
    with (
        pytest.raises(ConfigError, match="a graph without a PyTorch module"),
        torch_source(embedded("street-small").onnx),
    ):
        pass


def test_a_program_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(3, 2).eval(), (torch.rand(2, 3),)), path)
    model = load_model(path, device="cpu", threads=1)
    try:
        with pytest.raises(ConfigError, match=r"torch\.export program"):
            eager_module(model)
    finally:
        model.close()
