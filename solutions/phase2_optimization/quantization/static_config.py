"""The choices of static quantization, and the report on what came of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.observers import make_observer
from solutions.phase2_optimization.quantization.qdq_scheme import SCHEMES

_TAILS = ("decode", "predictions", "none")


@dataclass(frozen=True, slots=True)
class StaticConfig:
    """The choices of static quantization.

    Attributes:
        target: "onnxruntime" (CPU), "openvino" or "tensorrt": decides the types, see `qdq_graph.SCHEMES`.
        observer: how ranges are chosen from the samples, see `observers.make_observer`.
        max_samples: samples used at most; time grows with them, memory does not.
        tail: what stays in float at the end: "decode", what follows the last layers with weights, so that boxes and
            scores keep ranges of their own; "predictions", these layers too; or "none".
        keep_float: names of further nodes, as `preparation.prepare` names them, that stay in float.
        rewrite: rewrite the graph exactly where integer kernels gain from it.
        equalise: cross-layer equalisation.
        correct_bias: bias correction.
        share_concat: one scale for all that a Concat joins: faster, coarser where ranges differ.
        silu_floor: values below its negative in front of x * sigmoid(x) are clipped (all of them give nearly 0, and the
            codes they would use serve the others); 0 leaves the range as calibrated.
        channel_db: a convolution of which more than a quarter of the channels lie less than this over the noise of its
            input's code reads floats, see `drowned`; 0 codes it all the same.
        per_channel: one scale per output channel of a weight.
        reduce_range: 7-bit weights; None: where this is an x86 processor without VNNI.
        threads: of ONNX Runtime while calibrating.
    """

    target: str = "onnxruntime"
    observer: str = "entropy"
    max_samples: int = 64
    tail: str = "decode"
    keep_float: tuple[str, ...] = ()
    rewrite: bool = True
    equalise: bool = False
    correct_bias: bool = False
    share_concat: bool = True
    silu_floor: float = 8.0
    channel_db: float = 10.0
    per_channel: bool = True
    reduce_range: bool | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.target not in SCHEMES:
            raise ConfigError(f"target must be one of {', '.join(SCHEMES)}, got {self.target}")
        if self.tail not in _TAILS:
            raise ConfigError(f"tail must be one of {', '.join(_TAILS)}, got {self.tail}")
        if self.max_samples < 1 or self.threads < 1:
            raise ConfigError(f"max_samples and threads must be >= 1, got {self.max_samples} and {self.threads}")
        if self.silu_floor < 0 or self.channel_db < 0:
            raise ConfigError(f"silu_floor and channel_db must be >= 0, got {self.silu_floor} and {self.channel_db}")
        make_observer(self.observer)


@dataclass(frozen=True, slots=True)
class StaticReport:
    """What was made.

    Attributes:
        path: the quantized file.
        config: the choices, with reduce_range decided.
        quantized: nodes that compute in integers, by operator.
        kept_float: names of Conv, ConvTranspose, MatMul and Gemm nodes left in float.
        drowned: nodes among those in float that calibration put there -> why.
        samples: how many were used.
        rewrites: how often each exact rewriting applied.
        equalised: pairs of layers.
        corrected: biases.
        bytes_before, bytes_after: of the files.
    """

    path: Path
    config: StaticConfig
    quantized: Mapping[str, int]
    kept_float: tuple[str, ...]
    drowned: Mapping[str, str]
    samples: int
    rewrites: Mapping[str, int]
    equalised: int
    corrected: int
    bytes_before: int
    bytes_after: int

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        names = (
            "quantized",
            "kept_float",
            "drowned",
            "samples",
            "rewrites",
            "equalised",
            "corrected",
            "bytes_before",
            "bytes_after",
        )
        return {"path": str(self.path), **{name: getattr(self, name) for name in names}}
