"""`python -m solutions.core.zoo`: what it lists, every format it writes, and what it says when it cannot."""

import errno
import json
import os
import stat
import subprocess
import sys
import urllib.error
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file

from solutions.core.errors import ConfigError, ModelLoadError
from solutions.core.scripts import run
from solutions.core.zoo import external, formats
from solutions.core.zoo.__main__ import main
from solutions.core.zoo.formats import FORMATS, TITLES, choose_format, embedded_input, write_model
from solutions.core.zoo.networks import CropNet
from solutions.core.zoo.registry import embedded, embedded_names

SMALL = "squeezenet1_1"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path, monkeypatch):
    """Caches of this test alone, the folder as the current one, and no network."""

    def offline(url, timeout=None):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("MLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def as_user(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "solutions.core.zoo", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def answers(path, pixels):
    """What the network in `path` says, by whatever runs its kind of file."""
    if path.suffix == ".onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options)
        return session.run(None, {session.get_inputs()[0].name: pixels})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.load is deprecated
        net = torch.jit.load(path) if path.suffix == ".ts" else torch.export.load(path).module()
    with torch.no_grad():
        got = net(torch.from_numpy(pixels))
    return [one.numpy() for one in (got if isinstance(got, tuple) else (got,))]


def test_a_user_makes_a_file_to_time():
    done = as_user("export", SMALL, "--out", "squeeze.pth", "--random")
    assert (done.returncode, done.stderr) == (0, "")
    size_mb = Path("squeeze.pth").stat().st_size / 1e6
    assert f"wrote squeeze.pth: {SMALL} as torch state dict, {size_mb:.1f} MB" in done.stdout
    assert "random: good for timing only" in done.stdout
    net = torchvision.models.get_model(SMALL, weights=None)
    net.load_state_dict(torch.load("squeeze.pth", weights_only=True))
    assert os.listdir() == ["squeeze.pth"]


def test_a_user_who_errs_reads_one_sentence():
    done = as_user("export", "street-small", "--out", ".")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: . is a folder: name a file in it, such as street-small.pth.\n"


def test_offline_names_the_way_out(capsys):
    assert run(main, ["export", "resnet50", "--out", "resnet50.pth"]) == 2
    said = capsys.readouterr().err
    assert "not cached and cannot be downloaded" in said
    assert "export resnet50 --out FILE --random" in said
    assert said.count("\n") == 1
    assert os.listdir() == []


def test_every_format_holds_the_same_random_network():
    pixels = np.random.default_rng(0).random((3, 3, 224, 224), np.float32)
    state = torch.load(write_model(SMALL, "a.pth", random=True).path, weights_only=True)
    net = torchvision.models.get_model(SMALL, weights=None).eval()
    net.load_state_dict(state)
    with torch.no_grad():
        want = net(torch.from_numpy(pixels)).numpy()
    for name in ("a.onnx", "a.ts", "a.pt2"):
        path = write_model(SMALL, name, random=True).path
        for batch in (3, 1):
            (got,) = answers(path, pixels[:batch])
            # float32 rounding through 26 layers; another random network would differ in the first digit
            np.testing.assert_allclose(got, want[:batch], rtol=1e-4, atol=1e-5 * np.abs(want).max())
    write_model(SMALL, "a.safetensors", random=True)
    for key, tensor in load_file("a.safetensors").items():
        assert torch.equal(tensor, state[key])
    with safe_open("a.safetensors", "pt") as file:
        assert file.metadata() == {"arch": SMALL}


@pytest.mark.parametrize("name", ["street-small", "street-classifier"])
def test_embedded_models_come_in_every_format(name):
    shape = (2, 3, 96, 160) if name == "street-small" else (3, 3, 48, 48)  # detectors take other sizes than their own
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    assert write_model(name, "a.onnx").path.read_bytes() == embedded(name).onnx.read_bytes()
    want = answers(Path("a.onnx"), pixels)
    for file in ("a.ts", "a.pt2"):
        for one, other in zip(answers(write_model(name, file).path, pixels), want, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-3, rtol=1e-4)  # BatchNorm is folded in the ONNX graph only
    assert Path("a.pt2").stat().st_size < 1e6  # no example pixels inside
    state = torch.load(write_model(name, "a.pt").path, weights_only=True)
    assert {tensor.dtype for tensor in state.values()} <= {torch.float32, torch.int64}
    assert write_model(name, "a.safetensors").size_bytes == Path("a.safetensors").stat().st_size
    assert load_file("a.safetensors").keys() == state.keys()


def test_the_classifiers_state_fits_its_network():
    net = CropNet()
    net.load_state_dict(torch.load(write_model("street-classifier", "a.pth").path, weights_only=True))
    assert [embedded_input(name) for name in ("street-large", "street-classifier")] == [(256, 448), (48, 48)]


def test_trained_weights_are_taken_from_torchs_cache(capsys):
    torch.manual_seed(5)
    trained = torchvision.models.get_model(SMALL, weights=None).state_dict()
    url = torchvision.models.get_model_weights(SMALL).DEFAULT.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    torch.save(trained, cached)
    assert run(main, ["export", SMALL, "--out", "a.pth"]) == 0
    assert "random" not in capsys.readouterr().out
    written = torch.load("a.pth", weights_only=True)
    assert all(torch.equal(written[key], tensor) for key, tensor in trained.items())
    cached.write_bytes(b"a page of a captive portal")
    assert run(main, ["export", SMALL, "--out", "a.pth"]) == 2
    assert "is damaged. Delete it" in capsys.readouterr().err


def test_torchvisions_other_classifiers_work_by_name():
    state = torch.load(write_model("shufflenet_v2_x0_5", "a.pth", random=True).path, weights_only=True)
    torchvision.models.get_model("shufflenet_v2_x0_5", weights=None).load_state_dict(state)
    assert not external.is_external("googlenet")  # with weights it is another network than without
    assert not external.is_external("fcn_resnet50")


def test_the_detectors_state_has_torchvisions_names():
    name = external.DETECTORS[0]
    state = torch.load(write_model(name, "a.pth", random=True).path, weights_only=True)
    torchvision.models.get_model(name, weights=None, weights_backbone=None).load_state_dict(state)


def test_what_does_not_fit_in_an_onnx_file_is_said(monkeypatch):
    monkeypatch.setattr(external, "_ONNX_LIMIT", 1_000_000)
    with pytest.raises(ModelLoadError, match=r"export squeezenet1_1 --out squeezenet1_1\.pth"):
        write_model(SMALL, "a.onnx", random=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["street-small", "--out", "."], ". is a folder: name a file in it", id="folder"),
        pytest.param(["street-small", "--out", "no/a.pth"], "no is not a folder. Create it", id="no-folder"),
        pytest.param(["street-small", "--out", "a.bin"], "does not say which format is wanted", id="unknown-suffix"),
        pytest.param(["street-small", "--out", "a"], "does not say which format is wanted", id="no-suffix"),
        pytest.param(
            ["street-small", "--out", "a.pth", "--format", "onnx"], "taken for state-dict: for onnx", id="contradiction"
        ),
        pytest.param(["street-small", "--out", "a.pth", "--random"], "leave out --random", id="random-embedded"),
        pytest.param(
            ["squeezenet1_l", "--out", "a.pth"],
            "squeezenet1_l is not a model of the zoo. Did you mean squeezenet1_1? `python -m solutions.core.zoo list`",
            id="typo",
        ),
        pytest.param(["/etc/passwd", "--out", "a.onnx"], "/etc/passwd is not a model of the zoo. `python", id="path"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(arguments, sentence, capsys):
    assert run(main, ["export", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert sentence in err
    assert os.listdir() == []


@pytest.mark.parametrize("file", ["a.pth", "a.safetensors", "a.onnx", "a.ts", "a.pt2"])
def test_a_full_disk_leaves_the_old_file_alone(file, monkeypatch, capsys):
    def half(*_, **__):
        (made,) = Path().glob(".making-*")
        (made / file).write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path(file).write_bytes(b"the old one")
    for owner, writer in (
        (torch, "save"),
        (formats, "save_file"),
        (formats.shutil, "copyfile"),
        (torch.jit, "save"),
        (torch.export, "save"),
    ):
        monkeypatch.setattr(owner, writer, half)
    assert run(main, ["export", "street-classifier", "--out", file]) == 2
    assert (
        capsys.readouterr().err == f"error: {file} cannot be written: No space left on device. Choose another place.\n"
    )
    assert Path(file).read_bytes() == b"the old one"
    assert os.listdir() == [file]


@pytest.mark.parametrize("file", ["a.pth", "a.safetensors"])
def test_a_file_is_replaced_and_readable_by_others(file):
    Path(file).write_bytes(b"the old one")
    os.chmod(file, 0o600)
    assert write_model("street-classifier", file).size_bytes > 100_000
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o644


@pytest.mark.parametrize(
    ("file", "format", "want"),
    [
        ("a.pth", None, "state-dict"),
        ("a.PT", None, "state-dict"),
        ("a.pt", "torchscript", "torchscript"),
        ("a.torchscript", None, "torchscript"),
        ("a.b.pt2", None, "pt2"),
        ("a.weights", "safetensors", "safetensors"),
        ("a", "onnx", "onnx"),
    ],
)
def test_choose_format(file, format, want):
    assert choose_format(Path(file), format) == want


def test_an_unknown_format_lists_the_known():
    assert FORMATS.keys() == TITLES.keys()
    with pytest.raises(ConfigError, match=r"gguf is not a format\. Known: state-dict"):
        choose_format(Path("a.pth"), "gguf")


def test_list_shows_every_model_and_json_says_the_same(capsys):
    assert main(["list", "--json", "list.json"]) == 0
    shown = capsys.readouterr().out
    for name in (*embedded_names(), *external.external_names()):
        assert name in shown
    for fact in ("3x256x448 or multiples of 32", "ap50 0.908", "98 MB to download"):
        assert fact in shown
    known = json.loads(Path("list.json").read_text())
    assert {row["name"]: row["cached"] for row in known["external"]} == dict.fromkeys(external.external_names(), False)
    assert known["embedded"][0]["held_out"]["ap50_car"] > 0.9


def test_export_says_the_same_in_json():
    assert main(["export", "street-small", "--out", "a.onnx", "--json", "export.json"]) == 0
    assert json.loads(Path("export.json").read_text()) == {
        "path": "a.onnx",
        "name": "street-small",
        "format": "onnx",
        "size_bytes": Path("a.onnx").stat().st_size,
        "random": False,
    }
