"""Dynamic int8 on a real attention model: its answers are still good for what they are for."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # benchmarks are no installed package

from benchmarks import dynamic_attention, minilm  # noqa: E402
from solutions.core.errors import BackendUnavailable  # noqa: E402
from solutions.core.optional import available  # noqa: E402


@pytest.fixture(scope="module")
def record():
    if not available(minilm.PACKAGE):
        pytest.skip("not run here: the sentence encoder is not installed (make yardsticks)")
    return dynamic_attention.compare(rounds=1)


@pytest.mark.soak  # half a minute of export: `make soak` and the benchmark itself look at the trained weights
def test_sentences_still_find_the_one_that_says_the_same(record):
    models = record["models"]
    assert models["float"]["pairs"] >= 40  # 44 with the package's weights: the network and the tokenizer are right
    assert models["float"]["pairs"] - models["int8"]["pairs"] <= dynamic_attention.ALLOWED_PAIRS
    assert models["int8"]["least_likeness"] >= models["stock"]["least_likeness"] - 0.005


@pytest.mark.soak
def test_every_linear_layer_computes_in_integers(record):
    assert record["layers_in_int8"] == 6 * minilm.LAYERS
    floats = 4 * minilm.WIDTH * (minilm.WORDS + minilm.LENGTH)  # the embeddings stay as they are
    layers = minilm.LAYERS * (4 * minilm.WIDTH**2 + 2 * minilm.WIDTH * minilm.HIDDEN)
    assert record["models"]["int8"]["bytes"] < floats + 1.05 * layers


@pytest.mark.parametrize(
    ("vectors", "want"),
    [
        pytest.param([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], 4, id="all"),
        pytest.param([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9]], 0, id="none"),
        pytest.param([[1, 0], [0.9, 0.1], [0.8, 0.2], [0, 1]], 3, id="one-is-misled"),
    ],
)
def test_pairs_are_counted_by_nearest_neighbour(vectors, want):
    assert dynamic_attention.pairs_found(np.float32(vectors)) == want


def test_words_are_cut_into_the_longest_known_pieces(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##load", "##loading", "cafe", "!"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    rows = minilm.WordPiece(tmp_path / "vocab.txt")(["Unloading Café!", "xyz"])
    assert rows.tolist() == [[2, 4, 6, 7, 8, 3], [2, 1, 3, 0, 0, 0]]


def test_a_missing_package_is_said_in_one_sentence(monkeypatch):
    monkeypatch.setattr(minilm, "PACKAGE", "no_such_package")
    with pytest.raises(BackendUnavailable, match="make yardsticks"):
        minilm.model_folder()
