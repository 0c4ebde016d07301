"""The templates as scripts: unwritten they say what is missing, filled in they run on a real model file."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper
from PIL import Image

from solutions.core.classroom.values import Recipe
from tests.phase1.test_1_2_preprocess import TOLERANCE, as_torchvision

ROOT = Path(__file__).parents[2]
TEMPLATES = {
    "phase1_basics/template_model_loader.py": "1.1 recognise_format",
    "phase1_basics/template_profiler.py": "1.6 measure",  # the first one that its script calls
    "phase2_optimization/template_compilation.py": "2.9 export_dynamic",  # this network has no batch norm to fold
}
QUANTIZATION = "phase2_optimization/template_quantization.py"  # brings its own model
STREET = str(ROOT / "solutions/core/zoo/weights/street-small.onnx")  # a detector
TWINS = "solutions/phase1_basics/template_solutions"
TWINS_2 = "solutions/phase2_optimization/template_solutions"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "squeezenet1_1.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("size", [(120, 200), (200, 120), (100, 100), (97, 131), (20, 30), (64, 64), (30, 900)])
def test_the_yardstick_of_1_2_is_torchvision(size):
    picture = np.random.default_rng(7).integers(0, 256, (*size, 3), np.uint8)
    recipe = Recipe(shorter_side=64, crop_hw=(56, 56))
    transforms = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(recipe.shorter_side),
            torchvision.transforms.CenterCrop(recipe.crop_hw),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize(recipe.mean, recipe.std),
        ]
    )
    want = transforms(Image.fromarray(picture[..., ::-1].copy()))[None].numpy()
    np.testing.assert_allclose(as_torchvision(picture, recipe), want, rtol=0, atol=TOLERANCE)


@pytest.fixture
def run_script(monkeypatch, capsys):
    def run(script: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    return run


@pytest.mark.parametrize(("script", "missing"), TEMPLATES.items())
def test_unwritten_template_names_the_exercise(run_script, model, script, missing):
    code, _, said = run_script(script, "--model", model)
    assert code == 2
    number = missing.split()[0]
    assert said == f"error: not written yet: exercise {missing}: {script}. Stuck? grade hint {number}\n"


def test_unwritten_quantization_names_the_exercise(run_script):
    code, _, said = run_script(QUANTIZATION)
    assert code == 2
    assert said == f"error: not written yet: exercise 2.7 place_codes: {QUANTIZATION}. Stuck? grade hint 2.7\n"


@pytest.mark.parametrize("script", TEMPLATES)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        pytest.param("resnet50.pth", "zoo export resnet50 --out resnet50.pth --random", id="known"),
        pytest.param("my/net.pth", "zoo export resnet50 --out resnet50.pth --random", id="unknown"),
    ],
)
def test_missing_file_gets_the_command_that_makes_it(run_script, tmp_path, monkeypatch, script, name, command):
    monkeypatch.chdir(tmp_path)
    code, _, said = run_script(script, "--model", name)
    assert code == 2
    assert said.startswith(f"error: {name} does not exist. Make ")
    assert said.rstrip().endswith(f"python -m solutions.core.{command}")


def test_filled_in_loader(run_script, model):
    code, out, said = run_script(f"{TWINS}/model_loader.py", "--model", model, "--top", 3)
    assert (code, said) == (0, "")
    first, name, *classes = out.splitlines()
    assert first == f"{model}: torch"
    assert name == "a made-up picture"
    assert len(classes) == 3


def tiny_onnx(path: Path, batch: int, side: int) -> Path:
    """A classifier with a fixed batch: the mean of each channel is the logit of a class."""
    x = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])
    y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["m"]), helper.make_node("Flatten", ["m"], ["logits"])]
    graph = helper.make_graph(nodes, "tiny", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_filled_in_loader_with_a_fixed_batch(run_script, tmp_path):
    tiny = tiny_onnx(tmp_path / "tiny.bin", batch=3, side=224)
    image = ROOT / "solutions/phase4_production/images/demo.jpg"
    code, out, said = run_script(f"{TWINS}/model_loader.py", "--model", tiny, "--image", *[image] * 4)
    assert (code, said) == (0, "")
    assert out.splitlines()[0] == f"{tiny}: onnx"
    assert out.count("class 0") == 4


def test_loader_refuses_another_input_size(run_script, tmp_path):
    code, _, said = run_script(f"{TWINS}/model_loader.py", "--model", tiny_onnx(tmp_path / "t.onnx", batch=1, side=48))
    assert code == 2
    assert "takes pictures of 48 x 48 with 3 channels, and this script makes 224 x 224 with 3" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(["--arch", "resnet18"], "do not fit resnet18", id="another-network"),
        pytest.param(["--arch", "resnet1"], "resnet1 is no classifier of torchvision", id="unknown-network"),
        pytest.param(["--image", __file__], "is not a picture that can be read", id="no-picture"),
        pytest.param(["--batch", "0"], "must be at least 1", id="no-batch"),
        pytest.param(["--model", STREET], "is no classifier of pictures", id="detector"),
    ],
)
def test_loader_refuses_in_one_sentence(run_script, model, options, says):
    code, _, said = run_script(f"{TWINS}/model_loader.py", "--model", model, *options)
    assert code == 2
    assert len(said.splitlines()) == 1
    assert says in said


def test_filled_in_profiler_as_a_plain_file_from_elsewhere(tmp_path, model):
    command = [sys.executable, str(ROOT / TWINS / "profiler.py"), "--model", str(model), "--iterations", "4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("first inference", "nearest-rank", "linear", "GFLOP/s", "Conv2d", "activations:", "channels_last"):
        assert part in done.stdout


def test_filled_in_quantization(run_script):
    code, out, said = run_script(f"{TWINS_2}/quantization.py", "--pictures", 48, "--rounds", 2)
    assert (code, said) == (0, "")
    first, second, *_, last = out.splitlines()
    assert first == "street-classifier: 8 activations and 7 weights get codes"
    assert second.startswith("classes in integers: ")
    assert last.startswith("at most 1 point lost and at least 1.2 times as fast: ")
    right = {words[0]: float(words[1].rstrip("%")) for line in out.splitlines() if len(words := line.split()) == 3}
    assert right["float32"] > 95
    assert right["int8"] > right["float32"] - 3  # one of 48 crops is 2 points


@pytest.mark.parametrize("option", ["--pictures", "--rounds", "--share"])
def test_quantization_refuses_in_one_sentence(run_script, option):
    code, _, said = run_script(f"{TWINS_2}/quantization.py", option, 0)
    assert code == 2
    assert said == "error: --pictures must be at least 2, --rounds at least 1, and --share above 0 and at most 1\n"


def test_filled_in_compilation_as_a_plain_file_from_elsewhere(tmp_path):
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    command = [sys.executable, str(ROOT / TWINS_2 / "compilation.py"), "--model", "resnet18.pth", "--out", "net.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    for part in (
        "20 batch norms folded",
        "exported: 46.8 MB",
        "ONNX Runtime agrees with torch",
        "engines: 8 requests, 4 builds, for the batch sizes 1..1, 3..4, 2..2, 5..8",
        "simplified: 49 nodes",
        "arena: 6.42 MB",
    ):
        assert part in done.stdout
    assert (tmp_path / "net.onnx").is_file()
