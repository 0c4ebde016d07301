"""Which layers a model can afford to quantize: each one's share in the error of the outputs, worst first.

Two questions, two rankings. "alone": how bad are the outputs when only this layer is quantized? It needs no model that
is good as a whole and shows each layer's own error. "spared": how much better do they get when only this layer stays in
float? It counts what layers do to one another, but many small gains drown in a large common error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import onnx

from solutions.core.errors import ConfigError
from solutions.phase2_optimization.quantization.running import Feeds, predictor, sqnr_db
from solutions.phase2_optimization.quantization.variants import Variants

Mode = Literal["alone", "spared"]


@dataclass(frozen=True, slots=True)
class LayerError:
    """One layer: its name, and the SQNR of the outputs in dB when it alone is quantized, or alone is not."""

    name: str
    sqnr_db: float
    mode: Mode

    @property
    def reason(self) -> str:
        """Why it comes where it comes in the ranking."""
        if self.mode == "alone":
            return f"quantizing it alone leaves {self.sqnr_db:.1f} dB"
        return f"sparing it alone gives {self.sqnr_db:.1f} dB"


def rank_layers(
    model: onnx.ModelProto,
    variants: Variants,
    feeds: Sequence[Feeds],
    *,
    mode: Mode = "alone",
    threads: int = 1,
) -> tuple[LayerError, ...]:
    """All layers of `variants`, the one to keep in float first at the front.

    Args:
        model: the float model, whose outputs are taken for true.
        variants: of the same model.
        feeds: samples; a few (4 to 16) rank well enough, and each layer costs a session and a run over all of them.
        mode: "alone" or "spared", see above.
        threads: of ONNX Runtime.

    Raises:
        ConfigError: no samples, or another mode.
    """
    if mode not in get_args(Mode):
        raise ConfigError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode}")
    if not feeds:
        raise ConfigError("ranking layers needs at least one sample, got none")
    exact = predictor(model, threads)
    want = [exact(sample) for sample in feeds]
    ranking: list[LayerError] = []
    for layer in variants.layers:
        keep = [other for other in variants.layers if other != layer] if mode == "alone" else [layer]
        close = predictor(variants.build(keep), threads)
        ranking.append(LayerError(layer, sqnr_db(want, [close(sample) for sample in feeds]), mode))
    return tuple(sorted(ranking, key=lambda item: item.sqnr_db, reverse=mode == "spared"))
