"""External models: names and paths, offline behaviour, damaged downloads, and exports that say what they are."""

import hashlib
import io
import json
import os
import threading
import time
import urllib.error
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision

from solutions.core.errors import BackendUnavailable, ConfigError, ModelLoadError
from solutions.core.zoo import external
from solutions.core.zoo.external import external_model, external_names


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MLI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def offline(url, timeout=None):
    raise urllib.error.URLError("Name or service not known")


def test_every_name_is_torchvisions():
    for name in external_names():
        assert torchvision.models.get_model_weights(name).DEFAULT.url


def test_a_path_is_handed_back(tmp_path):
    path = tmp_path / "yolox.onnx"
    path.write_bytes(b"x")
    assert external_model(path) == path
    assert external_model(str(path)) == path


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ModelLoadError, match=r"neither a file nor a known model\. Known: convnext_tiny"):
        external_model("resnet17")


def test_offline_is_one_sentence_and_leaves_nothing(cache, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(BackendUnavailable, match=r"cannot be downloaded .*Name or service not known") as caught:
        external_model("resnet18")
    assert "\n" not in str(caught.value)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_server_that_never_answers_does_not_hang(monkeypatch):
    release = threading.Event()
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: release.wait(30))
    start_s = time.perf_counter()
    with pytest.raises(BackendUnavailable, match=r"no answer within 0\.05 s"):
        external_model("resnet18", timeout_s=0.05)
    release.set()
    assert time.perf_counter() - start_s < 20  # half a minute would be the hang; the rest is importing torchvision


def fake_weights(monkeypatch, payload, digest):
    url = f"https://example.org/tiny-{digest[:8]}.pth"
    weights = SimpleNamespace(url=url, name="TINY")
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: SimpleNamespace(DEFAULT=weights))
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(payload))


def test_a_damaged_download_is_refused_and_removed(cache, monkeypatch):
    fake_weights(monkeypatch, b"not the weights", "0" * 64)
    with pytest.raises(ModelLoadError, match="hash is wrong"):
        external_model("resnet18")
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_good_download_is_kept_and_one_that_holds_no_weights_is_named(cache, monkeypatch):
    payload = b"right hash, but no state dict"
    fake_weights(monkeypatch, payload, hashlib.sha256(payload).hexdigest())
    with pytest.raises(ModelLoadError, match=r"is damaged\. Delete it"):
        external_model("resnet18")
    assert [path.read_bytes() for path in (cache / "hub").rglob("*.pth")] == [payload]


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3, stride=2)

    def forward(self, images):
        return self.conv(images).mean(dim=(2, 3))


def test_an_export_carries_its_facts_and_takes_any_batch(cache):
    torch.manual_seed(0)
    module, target = Tiny().eval(), cache / "models" / "tiny.onnx"
    external._export(external.Recipe(module, (32, 32), ("logits",), {"head": "classifier", "labels": "a,b"}), target)
    assert {entry.key: entry.value for entry in onnx.load(target).metadata_props} == {
        "head": "classifier",
        "labels": "a,b",
    }
    assert [path.name for path in target.parent.iterdir()] == ["tiny.onnx"]
    x = np.random.default_rng(0).random((3, 3, 32, 32), np.float32)
    (got,) = onnxruntime.InferenceSession(target).run(None, {"images": x})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(torch.from_numpy(x)).numpy(), rtol=1e-4, atol=1e-5)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(ConfigError, match="MLI_CACHE"):
        external._export(external.Recipe(Tiny().eval(), (32, 32), ("logits",), {}), blocked / "models" / "m.onnx")


def test_a_classifier_recipe_knows_size_pixels_and_labels():
    weights = torchvision.models.get_model_weights("squeezenet1_1").DEFAULT
    first, second = (external._recipe("squeezenet1_1", weights, None) for _ in range(2))
    assert first.input_hw == (224, 224)
    assert len(first.facts["labels"].split(",")) == 1000
    assert json.loads(first.facts["pixels"])["mean"] == [0.485, 0.456, 0.406]
    parameters = zip(first.module.parameters(), second.module.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in parameters)  # random, and the same random


def test_ssdlite_end_to_end_is_torchvisions(tmp_path):
    if os.environ.get("MLI_DATA") is None:
        pytest.skip("not run here: the 20 s export runs where MLI_DATA is set")
    weights = torchvision.models.get_model_weights("ssdlite320_mobilenet_v3_large").DEFAULT
    recipe, path = external._recipe("ssdlite320_mobilenet_v3_large", weights, None), tmp_path / "ssd.onnx"
    external._export(recipe, path)
    x = np.random.default_rng(0).normal(0, 1, (1, 3, 320, 320)).astype(np.float32)
    got = onnxruntime.InferenceSession(path).run(None, {"images": x})
    with torch.no_grad():
        for one, other in zip(got, recipe.module(torch.from_numpy(x)), strict=True):
            np.testing.assert_allclose(one, other.numpy(), rtol=1e-3, atol=1e-4)
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (facts["head"], facts["input_hw"], len(facts["labels"].split(","))) == ("ssd", "320,320", 91)
