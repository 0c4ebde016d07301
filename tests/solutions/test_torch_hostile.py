"""Files made to run code or to touch files when loaded: nothing runs, and each is refused in one sentence."""

import json
import os
import pickle
import zipfile

import pytest
import torch

from solutions.core.errors import ModelLoadError
from solutions.core.scripts import run
from solutions.phase1_basics import model_loader
from solutions.phase1_basics.model_loader import load_model
from solutions.phase1_basics.runtimes.torch_export_audit import audit_exported, is_arithmetic
from tests.solutions.torch_builders import Doubling, Payload, save_pickle, save_program, save_script


@pytest.fixture
def marker(tmp_path):
    """A file that appears if any payload runs; looked for after each test."""
    marker = tmp_path / "payload ran"
    yield marker
    assert not marker.exists()


def refused(path, match, **options):
    with pytest.raises(ModelLoadError, match=match) as caught:
        load_model(path, device="cpu", threads=1, **options)
    assert "\n" not in str(caught.value)


def save(value, path, **options):
    torch.save(value, path, **options)
    return path


def test_the_payload_would_run(tmp_path):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("depth", ["top", "beside-weights", "among-weights"])
def test_a_hostile_torch_save_file(tmp_path, marker, depth, legacy):
    payload = Payload(marker)
    weights = {"a": torch.zeros(3)}
    value = {
        "top": payload,
        "beside-weights": {"state_dict": weights, "x": payload},
        "among-weights": {**weights, "x": payload},
    }
    path = save(value[depth], tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    refused(path, r"asks to run posix\.system when loaded.*attack; refused")


def test_a_hostile_bare_pickle(tmp_path, marker):
    refused(save_pickle(Payload(marker), tmp_path / "evil.pth"), r"bare Python pickle.*refused.*--trust-pickle")


def test_a_hostile_class_is_not_imported(tmp_path, marker, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"import os\nos.system('touch \"{marker}\"')\nclass Net: pass\n")
    content = b"\x80\x02cevil_module\nNet\n)\x81."
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "evil.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", content)
        archive.writestr("m/version", "3\n")
        archive.writestr("m/byteorder", "little")
    refused(path, r"needs evil_module\.Net")


def test_the_command_line_refuses_with_code_2(tmp_path, marker, capsys):
    path = save(Payload(marker), tmp_path / "evil.pth")
    assert run(model_loader.main, ["--model", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_trust_does_run_it(tmp_path):
    marker = tmp_path / "ran"
    refused(
        save_pickle(Payload(marker), tmp_path / "mine.pkl"), "holds a int, not the named weights", trust_pickle=True
    )
    assert marker.exists()


class Writing(torch.nn.Module):
    """A program that leaves a file behind."""

    path: str

    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, x):
        torch.save(x, self.path)
        return x


def test_torchscript_that_writes_files_is_refused(tmp_path, marker):
    path = save_script(Writing(str(marker)), tmp_path / "m.ts")
    refused(path, r"reads or writes files of its own accord.*refused", input_shape=(None, 3))


def rewritten(source, target, change):
    """A copy of a zip whose entries went through `change(name, content)`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A harmless exported program."""
    path = save_program(Doubling(), tmp_path_factory.mktemp("pt2") / "m.pt2", torch.rand(2, 3))
    audit_exported(path)
    return path


def pickled(payload, folder):
    return save(payload, folder / "payload.pth").read_bytes()


def test_a_hostile_example_in_pt2(tmp_path, marker, program):
    evil = pickled(Payload(marker), tmp_path)
    path = rewritten(program, tmp_path / "m.pt2", lambda name, old: evil if "sample_inputs" in name else old)
    refused(path, r"asks to run posix\.system")


@pytest.mark.parametrize("name", ["weight_0", "opaque_obj_0", "custom_obj_0", "../weight_0"])
def test_a_hostile_weight_in_pt2(tmp_path, marker, program, name):
    entry = {"path_name": name, "is_param": True, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"two": entry}}).encode()

    def change(inside, old):
        if inside.endswith("weights_config.json"):
            return config
        return pickled(Payload(marker), tmp_path) if inside.endswith("/weight_0") else old

    path = rewritten(program, tmp_path / "m.pt2", change)
    refused(path, r"asks to run posix\.system|holds a Python object")


def graph_with(program, target, change):
    """The program with its graph changed in place by `change(json)`."""

    def edit(name, old):
        if not name.endswith("models/model.json"):
            return old
        graph = json.loads(old)
        change(graph)
        return json.dumps(graph).encode()

    return rewritten(program, target, edit)


def set_guard(graph, code):
    graph["guards_code"] = [code]


def set_size(graph, code):
    sizes = graph["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
    sizes[0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}


def set_operator(graph, name):
    graph["graph_module"]["graph"]["nodes"][0]["target"] = name


def set_argument(graph, name):
    graph["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [name]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (set_guard, "__import__('os').system({marker!r}) == 0", "evaluates"),
        (set_size, "__import__('os').system({marker!r})", "evaluates"),
        (set_operator, "torch.os.system", r"calls 'torch\.os\.system'"),
        (set_operator, "torch.ops.load_library", "calls"),
        (set_operator, "torch.ops.aten.from_file.default", "calls"),
        (set_operator, "torch.ops.aten.__class__.mro", "calls"),
        (set_operator, "_operator.methodcaller", "calls"),
        (set_argument, "x=__import__('os').system({marker!r})", "names something"),
    ],
)
def test_hostile_graphs_in_pt2(tmp_path, marker, program, change, code, message):
    code = code.format(marker=f"touch '{marker}'")
    path = graph_with(program, tmp_path / "m.pt2", lambda graph: change(graph, code))
    refused(path, f"program that {message}.*could run any code when loaded; refused.*--trust-pickle")


def test_machine_code_in_pt2(tmp_path, program):
    path = rewritten(program, tmp_path / "m.pt2", lambda name, old: old)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/aotinductor/model/evil.so", b"\x7fELF")
    refused(path, "holds machine code")


def test_entries_of_one_name_in_pt2(tmp_path, program):
    path = rewritten(program, tmp_path / "m.pt2", lambda name, old: old)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(archive.namelist()[0], b"other")
    refused(path, "made to be misread; refused")


def test_a_harmless_program_needs_no_trust(program):
    load_model(program, device="cpu", threads=1).close()


@pytest.mark.parametrize(
    "code",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(32), Symbol('s9', positive=True))",
        "L['images'].size()[3] // 2 != 1",
        "(1 + (((-1) + L['x'].size()[2]) // 4))*2 <= 10 and not L['y'].size()[0] == 3",
        "32*s9",
    ],
)
def test_arithmetic_is_let_through(code):
    assert is_arithmetic(code)


@pytest.mark.parametrize(
    "code",
    [
        "os.system('id')", "open('x')", "L['x'].__class__", "(lambda: 1)()", "[x for x in y]", "f'{x}'", "S('1')",
        "Symbol('a b')", "sympify('x')", "L['x'].size().__reduce__()", "x := 3", "a; b", "", "eval('1')", "b'x'",
        "L['x'].size()()", "(" * 500,
    ],
)  # fmt: skip
def test_what_is_no_arithmetic(code):
    assert not is_arithmetic(code)


def test_nothing_was_left_in_the_working_folder():
    assert not os.path.exists("payload ran")
