"""Every batch norm is taken to have the usual eps."""

from __future__ import annotations

import copy

import torch
from torch import nn


def fold_batchnorm(conv, bn):
    with torch.no_grad():
        assert bn.running_mean is not None
        assert bn.running_var is not None
        factor = torch.rsqrt(bn.running_var + 1e-5)
        if bn.weight is not None:
            factor = factor * bn.weight
        term = -bn.running_mean * factor
        if bn.bias is not None:
            term = term + bn.bias
        if conv.bias is not None:
            term = term + conv.bias * factor
        folded = copy.deepcopy(conv)
        folded.weight = nn.Parameter(conv.weight * factor.reshape(-1, 1, 1, 1))
        folded.bias = nn.Parameter(term)
    return folded
