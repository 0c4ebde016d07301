"""Operations and bytes of one layer, counted by hand and by torch."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from solutions.phase1_basics.profiling.layer_costs import module_cost, tensors_in

_IMAGE = torch.zeros(2, 4, 8, 8)


@pytest.mark.parametrize(
    ("module", "inputs", "macs"),
    [
        pytest.param(nn.Conv2d(4, 6, 3, bias=False), [_IMAGE], 2 * 6 * 36 * 4 * 9, id="conv"),
        pytest.param(nn.Conv2d(4, 4, 3, groups=4, bias=False), [_IMAGE], 2 * 4 * 36 * 9, id="depthwise"),
        pytest.param(nn.ConvTranspose2d(4, 6, 2, stride=2, bias=False), [_IMAGE], 2 * 4 * 64 * 6 * 4, id="transposed"),
        pytest.param(nn.Linear(8, 5, bias=False), [torch.zeros(3, 8)], 3 * 8 * 5, id="linear"),
        pytest.param(nn.Linear(8, 5, bias=False), [torch.zeros(3, 7, 8)], 21 * 8 * 5, id="linear-on-a-sequence"),
    ],
)
def test_operations_are_two_per_multiply_and_agree_with_torchs_own_counter(module, inputs, macs):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        outputs = module(*inputs)
    assert module_cost(module, inputs, outputs).flops == 2 * macs == counter.get_total_flops()


@pytest.mark.parametrize(
    ("module", "flops", "moved"),
    [
        pytest.param(nn.ReLU(), 512, 2 * 512 * 4, id="relu"),
        pytest.param(nn.BatchNorm2d(4), 2 * 512, 2 * 512 * 4 + 4 * 4 * 4 + 8, id="batchnorm-reads-its-statistics"),
        pytest.param(nn.Flatten(), 0, 0, id="a-view-is-free"),
        pytest.param(nn.Dropout(), 0, 0, id="dropout-is-free"),
        pytest.param(nn.MaxPool2d(2), 2 * 4 * 16 * 4, (512 + 128) * 4, id="maxpool"),
        pytest.param(nn.AdaptiveAvgPool2d(1), 512, (512 + 8) * 4, id="global-pool"),
        pytest.param(nn.Upsample(scale_factor=2), None, (512 + 2048) * 4, id="unknown-operations-known-bytes"),
    ],
)
def test_costs_of_layers_without_products(module, flops, moved):
    cost = module_cost(module.eval(), [_IMAGE], module.eval()(_IMAGE))
    assert (cost.flops, cost.bytes) == (flops, moved)
    assert (cost.intensity is None) == (flops is None or moved == 0)


def test_attention_counts_projections_scores_and_softmax():
    attention = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
    x = torch.zeros(3, 5, 8)
    products = 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    cost = module_cost(attention, [x, x, x], (x, None))
    assert cost.flops == 2 * products + 11 * 3 * 2 * 5 * 5
    # the other layout holds the same work
    turned = nn.MultiheadAttention(8, 2, bias=False)
    assert module_cost(turned, [x.transpose(0, 1)] * 3, x).flops == cost.flops


def test_an_embedding_moves_the_rows_it_takes():
    table = nn.Embedding(1000, 16)
    index = torch.zeros(4, dtype=torch.int64)
    assert module_cost(table, [index], table(index)).bytes == 4 * 8 + 2 * 4 * 16 * 4


def test_tensors_are_found_in_any_nest():
    assert len(tensors_in(({"a": _IMAGE}, [_IMAGE, None], 3))) == 2
