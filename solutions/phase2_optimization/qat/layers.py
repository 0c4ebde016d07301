"""A layer with weights as the integer kernel will compute it: BatchNorm folded in, weight and bias coded, then applied.

BatchNorm's statistics move while a network trains, and the weight to be coded moves with them. In the manner of Jacob
et al. (2018) and Krishnamoorthi (2018) the weight is folded with the *running* statistics, which move slowly, before it
is coded; the output is then brought back to what an unfolded layer gives and normalised with the statistics of the
batch, as training does. Once the statistics are frozen, the layer computes what the exported one will.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from solutions.phase2_optimization.qat.fake_quantize import ActivationCoder, WeightCoder
from solutions.phase2_optimization.quantization.affine import QuantParams, bias_params
from solutions.phase2_optimization.quantization.qdq_graph import room_for_bias

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NOTHING = 1e-12  # a channel whose factor is smaller gives its bias, whatever comes in


class QatLayer(nn.Module):
    """A convolution or Linear with the BatchNorm behind it, if there is one; float until `code` is called.

    Attributes:
        layer, norm: the original modules, which go on training.
        name: of the layer in the original module.
        frozen: BatchNorm keeps its statistics.
        coder: of the folded weight, or None while in float.
    """

    def __init__(self, layer: nn.Module, norm: nn.Module | None = None, *, name: str = "layer") -> None:
        super().__init__()
        self.layer, self.norm, self.name = layer, norm, name
        self.frozen = False
        self.coder: WeightCoder | None = None
        self._source: tuple[ActivationCoder, ...] = ()  # not a submodule: it stands in the graph already

    def code(self, coder: WeightCoder, source: ActivationCoder | None) -> None:
        """Code the weight from now on, and with `source`, the coder of what the layer reads, the bias too."""
        self.coder = coder
        self._source = (source,) if source is not None else ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the layer, and the BatchNorm, give for `x`."""
        weight, bias, factor = self._folded()
        params = self._params(weight, bias)
        if params is not None and self.coder is not None:
            weight = self.coder(weight, params)
        if self.norm is not None and self.training and not self.frozen:
            # Undo the folded factor, so that BatchNorm sees what it normalises.
            spread = torch.where(factor.abs() < _NOTHING, torch.ones_like(factor), factor)
            plain = self._compute(x, weight, None) / _along(spread, x.ndim)
            own: torch.Tensor | None = self.layer.bias  # type: ignore[assignment]
            normed: torch.Tensor = self.norm(plain if own is None else plain + _along(own, x.ndim))
            return normed
        if params is not None and self._source and bias is not None:
            bias = _coded_bias(bias, bias_params(self._source[0].params(), params))
        return self._compute(x, weight, bias)

    @torch.no_grad()
    def folded_weight(self) -> torch.Tensor:
        """The float weight with BatchNorm folded in, as it is coded."""
        return self._folded()[0].detach()

    @torch.no_grad()
    def export(self) -> tuple[nn.Module, QuantParams | None]:
        """The float layer that computes the same, BatchNorm folded in, and the code of its weight.

        Its weight has been through the codes, so coding it again loses nothing. Its bias has not.
        """
        weight, bias, _ = self._folded()
        params = self._params(weight, bias)
        if params is not None and self.coder is not None:
            weight = self.coder(weight, params)
        layer: Any = copy.deepcopy(self.layer)
        layer.weight = nn.Parameter(weight.detach().clone())
        layer.bias = nn.Parameter(bias.detach().clone()) if bias is not None else None
        return layer, params

    def _folded(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Weight, bias, and the factor per output that is in the weight."""
        layer: Any = self.layer
        norm: Any = self.norm
        weight, own = layer.weight, layer.bias
        if norm is None:
            return weight, own, torch.ones(len(weight))
        deviation = (norm.running_var + norm.eps).sqrt()
        factor = (norm.weight if norm.affine else torch.ones_like(deviation)) / deviation
        beta = norm.bias if norm.affine else torch.zeros_like(deviation)
        mean = norm.running_mean if own is None else norm.running_mean - own
        return weight * _along(factor, weight.ndim, axis=0), beta - mean * factor, factor

    def _params(self, weight: torch.Tensor, bias: torch.Tensor | None) -> QuantParams | None:
        if self.coder is None:
            return None
        params = self.coder.params(weight)
        if self._source and bias is not None:
            params = room_for_bias(params, bias.detach().cpu().numpy(), self._source[0].params())
        return params

    def _compute(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if isinstance(self.layer, nn.Linear):
            return nn.functional.linear(x, weight, bias)
        result: torch.Tensor = self.layer._conv_forward(x, weight, bias)  # type: ignore[operator]
        return result


def _coded_bias(bias: torch.Tensor, params: QuantParams) -> torch.Tensor:
    """`bias` as its int32 codes tell it. The step is so small that none saturates: the gradient is the identity's."""
    scale = torch.as_tensor(params.scale, device=bias.device)
    codes = torch.round(bias.detach().double() / scale.double())  # int32 needs float64 to be rounded exactly
    return codes.float() * scale + (bias - bias.detach())  # the bracket is exactly 0, and carries the gradient


def _along(values: torch.Tensor, ndim: int, axis: int = 1) -> torch.Tensor:
    """Shaped so that it broadcasts along the channels of an array of `ndim` axes."""
    shape = [1] * ndim
    shape[axis if ndim > 1 else 0] = -1
    return values.reshape(shape)


def freeze_norms(module: nn.Module, frozen: bool = True) -> None:
    """Let every BatchNorm of the coded layers keep its statistics from now on, or move again."""
    for part in module.modules():
        if isinstance(part, QatLayer):
            part.frozen = frozen
