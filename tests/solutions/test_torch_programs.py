"""TorchScript archives and exported programs: what they take is found out, and they answer like their origin."""

import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.phase1_basics.model_loader import load_model
from tests.solutions.torch_builders import Doubling, export, network, save_program, save_script

X = np.random.default_rng(0).random((3, 3, 224, 224), np.float32)


def loaded(path, **options):
    return load_model(path, device="cpu", threads=1, **options)


def answer(module, x=X):
    with torch.inference_mode():
        return module(torch.from_numpy(x)).numpy()


class TwoHeads(nn.Module):
    """Two inputs, one of them by keyword only, and outputs in a dict with a list."""

    def forward(self, x, *, scale):
        return {"sum": (x * scale).sum(1), "parts": [x * 2, scale]}


class FixedBatch(nn.Module):
    def forward(self, x):
        return x.reshape(2, 3, 4).sum(2)


@pytest.fixture(scope="module")
def squeezenet():
    return network("squeezenet1_1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, squeezenet):
    """One network as a traced, a scripted and an exported file."""
    folder = tmp_path_factory.mktemp("programs")
    example = torch.rand(2, 3, 224, 224)
    save_script(squeezenet, folder / "traced.pt", example)
    save_script(squeezenet, folder / "scripted.pt")
    save_program(squeezenet, folder / "exported.pt2", example)
    return folder


@pytest.mark.parametrize(
    ("file", "kind"),
    [("traced.pt", "torchscript"), ("scripted.pt", "torchscript"), ("exported.pt2", "torch-export")],
)
def test_a_known_network_has_the_names_and_facts_of_its_weights(folder, squeezenet, file, kind):
    model = loaded(folder / file)
    assert model.format == kind
    assert [spec.name + spec.describe() for spec in (*model.inputs, *model.outputs)] == [
        "imagesfloat32[?, 3, 224, 224]",
        "logitsfloat32[?, 1000]",
    ]
    assert model.metadata["head"] == "classifier"
    np.testing.assert_allclose(model.predict({"images": X})["logits"], answer(squeezenet), atol=1e-5)


def test_a_traced_example_tells_the_shape(tmp_path):
    model = loaded(save_script(Doubling(), tmp_path / "m.ts", torch.rand(2, 3)))
    assert [(spec.name, spec.shape) for spec in model.inputs] == [("x", (None, 3))]


def test_a_traced_batch_that_cannot_change_stays_as_it_was(tmp_path):
    model = loaded(save_script(FixedBatch(), tmp_path / "m.ts", torch.rand(2, 12)))
    assert [spec.shape for spec in (*model.inputs, *model.outputs)] == [(2, 12), (2, 3)]


def test_a_scripted_module_must_be_told(tmp_path):
    path = save_script(Doubling(), tmp_path / "m.ts", labels="a,b", input_hw="32,32")
    with pytest.raises(ModelLoadError, match=r"a TorchScript module that takes x of shapes it does not tell"):
        loaded(path)
    model = loaded(path, input_shape=(None, 3))
    assert model.metadata == {"labels": "a,b", "input_hw": "32,32"}
    np.testing.assert_array_equal(model.predict({"x": np.ones((1, 3), np.float32)})["output"], [[2, 2, 2]])
    with pytest.raises(ConfigError, match=r"fails on zeros of x \[1, 4\]"):
        loaded(path, input_shape=(None, 4))


def test_an_image_size_among_the_facts_is_enough(tmp_path):
    path = save_script(nn.Conv2d(3, 4, 3), tmp_path / "m.ts", input_hw="32,48")
    assert [spec.shape for spec in (*loaded(path).inputs, *loaded(path).outputs)] == [
        (None, 3, 32, 48),
        (None, 4, 30, 46),
    ]


def test_a_frozen_module(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        frozen = torch.jit.freeze(torch.jit.script(Doubling().eval()))
        torch.jit.save(frozen, str(tmp_path / "m.ts"))
    model = loaded(tmp_path / "m.ts", input_shape=(None, 3))
    np.testing.assert_array_equal(model.predict({"x": np.ones((2, 3), np.float32)})["output"], np.full((2, 3), 2))


def test_what_an_exported_program_takes_and_gives(tmp_path):
    path = tmp_path / "m.pt2"
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        TwoHeads(), (torch.rand(2, 3),), {"scale": torch.rand(3)}, dynamic_shapes={"x": {0: batch}, "scale": None}
    )
    torch.export.save(program, path, extra_files={"labels": "a,b"})
    model = loaded(path)
    assert [spec.name + spec.describe() for spec in (*model.inputs, *model.outputs)] == [
        "xfloat32[?, 3]", "scalefloat32[3]", "sumfloat32[?]", "parts.0float32[?, 3]", "parts.1float32[3]",
    ]  # fmt: skip
    x, scale = np.ones((4, 3), np.float32), np.arange(3, dtype=np.float32)
    outputs = model.predict({"x": x, "scale": scale})
    np.testing.assert_array_equal(outputs["sum"], [3, 3, 3, 3])
    np.testing.assert_array_equal(outputs["parts.1"], scale)
    assert model.metadata == {"labels": "a,b"}


def test_sizes_that_the_program_forbids_are_one_sentence(tmp_path):
    batch = torch.export.Dim("batch", min=1, max=4)
    program = torch.export.export(Doubling(), (torch.rand(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "m.pt2")
    with pytest.raises(ConfigError, match=r"cannot run with x \[9, 3\]") as caught:
        loaded(tmp_path / "m.pt2").predict({"x": np.ones((9, 3), np.float32)})
    assert "\n" not in str(caught.value)


def test_free_height_and_width(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
    rows, columns = 2 * torch.export.Dim("rows"), 2 * torch.export.Dim("columns")
    torch.export.save(export(network.eval(), torch.rand(2, 3, 16, 24), axis2=rows, axis3=columns), tmp_path / "m.pt2")
    model = loaded(tmp_path / "m.pt2")
    assert [spec.shape for spec in (*model.inputs, *model.outputs)] == [(None, 3, None, None), (None, 4, None, None)]
    x = X[:, :, :8, :12]
    np.testing.assert_allclose(model.predict({model.inputs[0].name: x})["output"], answer(network, x), atol=1e-6)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(3)])
def test_a_program_exported_in_training_mode_is_refused(tmp_path, layer):
    torch.export.save(torch.export.export(layer.train(), (torch.rand(2, 3),)), tmp_path / "m.pt2")
    with pytest.raises(ModelLoadError, match=r"training mode.*model\.eval\(\)"):
        loaded(tmp_path / "m.pt2")


def test_the_older_layout_of_pt2(tmp_path):
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    program = export(Doubling().eval(), torch.rand(2, 3))
    artifact = serialize(program)
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", ".".join(str(part) for part in SCHEMA_VERSION))
        archive.writestr("serialized_exported_program.json", artifact.exported_program)
        archive.writestr("serialized_state_dict.pt", artifact.state_dict)
        archive.writestr("serialized_constants.pt", artifact.constants)
        archive.writestr("serialized_example_inputs.pt", artifact.example_inputs)
    model = loaded(path)
    np.testing.assert_array_equal(model.predict({"x": np.ones((2, 3), np.float32)})["output"], np.full((2, 3), 2))


def test_another_versions_program_is_one_sentence(tmp_path, capfd):
    path = save_program(Doubling(), tmp_path / "m.pt2", torch.rand(2, 3))
    changed = tmp_path / "n.pt2"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'"major": 8', b'"major": 99').replace(b'"major":8', b'"major":99'))
    with pytest.raises(ModelLoadError, match=r"made for one version of PyTorch: export it again") as caught:
        loaded(changed)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_options_that_make_no_sense(folder):
    with pytest.raises(ConfigError, match="TorchScript runtime has the options input_shape, trust_pickle; got arch"):
        loaded(folder / "traced.pt", arch="resnet18")
    with pytest.raises(ConfigError, match=r"torch\.export runtime has the options trust_pickle; got input_shape"):
        loaded(folder / "exported.pt2", input_shape=(1, 3))


@pytest.mark.parametrize("file", ["traced.pt", "exported.pt2"])
def test_damaged_programs(tmp_path, folder, file):
    path = tmp_path / file
    with zipfile.ZipFile(folder / file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(
                name, content[: len(content) // 2] if name.endswith(("constants.pkl", "model.json")) else content
            )
    with pytest.raises(ModelLoadError, match="damaged") as caught:
        loaded(path)
    assert "\n" not in str(caught.value)
