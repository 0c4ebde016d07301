"""The embedded models as they ship: files, sizes, bars on held-out seeds, ONNX equal to the torch weights."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from solutions.core.errors import ConfigError
from solutions.core.zoo.export import load_weights
from solutions.core.zoo.networks import SIZES, CropNet, StreetNet
from solutions.core.zoo.registry import CLASSIFIER, DETECTORS, TIERS, cache_folder, embedded, embedded_names


def test_three_tiers_and_a_classifier():
    assert embedded_names() == ("street-small", "street-medium", "street-large", "street-classifier")
    assert tuple(SIZES) == TIERS


def test_the_detectors_fit_in_three_megabytes():
    assert (
        sum(path.stat().st_size for name in DETECTORS for path in (embedded(name).onnx, embedded(name).weights)) < 3e6
    )


@pytest.mark.parametrize(
    ("name", "figure", "bar"),
    [
        ("street-small", "ap50", 0.90),
        ("street-medium", "ap50", 0.93),
        ("street-large", "ap50", 0.95),
        ("street-classifier", "both_accuracy", 0.95),
    ],
)
def test_scores_recorded_by_the_recipe_reach_their_bars(name, figure, bar):
    assert embedded(name).held_out[figure] >= bar


@pytest.mark.parametrize("name", embedded_names())
def test_onnx_equals_the_torch_weights(name):
    entry = embedded(name)
    net = CropNet() if name == CLASSIFIER else StreetNet(SIZES[name.removeprefix("street-")])
    load_weights(net, entry.weights)
    shape = (3, 3, 48, 48) if name == CLASSIFIER else (2, 3, 96, 160)
    pixels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    session = onnxruntime.InferenceSession(entry.onnx)
    got = session.run(None, {session.get_inputs()[0].name: pixels})
    with torch.inference_mode():
        want = net(torch.from_numpy(pixels))
    for a, b in zip(got, want if isinstance(want, tuple) else (want,), strict=True):
        # float32 rounding through some 12 layers, on logits of up to about 20
        np.testing.assert_allclose(a, b.numpy(), atol=2e-3, rtol=1e-4)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ConfigError, match=r"street-huge is not an embedded model\. Known: street-small"):
        embedded("street-huge")


@pytest.mark.parametrize(
    ("variables", "want"),
    [
        ({"MLI_CACHE": "/a/b"}, "/a/b"),
        ({"MLI_CACHE": "", "XDG_CACHE_HOME": "/x"}, "/x/ml-inference"),
        ({"MLI_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/home/me"}, "/home/me/.cache/ml-inference"),
    ],
)
def test_cache_folder(variables, want, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == want
