"""The roofline: where a layer stands under two measured roofs."""

import pytest
import torch

from solutions.core.errors import ConfigError
from solutions.phase1_basics.profiling.layer_table import Layer, LayerCost, LayerPass
from solutions.phase1_basics.profiling.roofline import (
    Roofs,
    measure_roofs,
    place,
    place_all,
    shares_by_bound,
    torch_threads,
)

ROOFS = Roofs(flops_per_s=100e9, bytes_per_s=10e9, threads=1)  # they meet at 10 operations per byte


def _layer(flops, moved, ms=1.0, name="layer"):
    return Layer(name, "Conv2d", 1, ms, LayerCost(flops, moved))


@pytest.mark.parametrize(
    ("layer", "bound", "of_roof"),
    [
        pytest.param(_layer(50_000_000, 1_000_000), "compute", 0.5, id="right-of-the-ridge"),
        pytest.param(_layer(10_000_000, 1_000_000), "compute", 0.1, id="on-the-ridge"),
        pytest.param(_layer(5_000_000, 5_000_000), "memory", 0.5, id="left-of-the-ridge"),
        pytest.param(_layer(40_000_000, 20_000_000), "memory", 2.0, id="from-a-cache"),
        pytest.param(_layer(0, 5_000_000), "memory", 0.5, id="only-moves"),
        pytest.param(_layer(None, 5_000_000), "unknown", None, id="operations-unknown"),
        pytest.param(_layer(0, 0), "unknown", None, id="a-view"),
        pytest.param(_layer(50_000_000, 1_000_000, ms=0.0), "compute", None, id="too-fast-for-the-clock"),
    ],
)
def test_place(layer, bound, of_roof):
    point = place(layer, ROOFS)
    assert point.bound == bound
    assert point.of_roof == (None if of_roof is None else pytest.approx(of_roof))


def test_shares_of_time_add_up_to_one():
    layers = (_layer(50_000_000, 1_000_000, ms=3.0), _layer(1, 5_000_000, ms=1.0), _layer(None, 1, ms=1.0))
    points = place_all(LayerPass(layers, runs=1, outside_ms=2.0, timeline=()), ROOFS)
    assert shares_by_bound(points) == pytest.approx({"compute": 0.6, "memory": 0.2, "unknown": 0.2})
    assert shares_by_bound([]) == {"compute": 0.0, "memory": 0.0, "unknown": 0.0}


def test_the_roof_is_the_lower_of_two():
    assert ROOFS.ridge == pytest.approx(10.0)
    assert ROOFS.at(1.0) == pytest.approx(10e9)
    assert ROOFS.at(1000.0) == pytest.approx(100e9)


def test_roofs_are_measured_and_the_thread_setting_comes_back():
    before = torch.get_num_threads()
    roofs = measure_roofs(threads=1, repeats=2, matrix_sizes=(64,), stream_bytes=400_000)
    assert roofs.flops_per_s > 0
    assert roofs.bytes_per_s > 0
    assert torch.get_num_threads() == before


def test_roofs_count_two_operations_a_product_and_three_arrays_a_sum():
    ticks = iter(range(100))
    roofs = measure_roofs(threads=1, repeats=1, matrix_sizes=(10,), stream_bytes=400, clock=lambda: float(next(ticks)))
    assert (roofs.flops_per_s, roofs.bytes_per_s) == (2 * 10**3, 3 * 400)


def test_the_thread_setting_comes_back_after_a_failure():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), torch_threads(before + 1):
        raise RuntimeError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"matrix_sizes": ()}, id="no-matrix"),
        pytest.param({"matrix_sizes": (0,)}, id="empty-matrix"),
        pytest.param({"stream_bytes": 2}, id="no-array"),
        pytest.param({"clock": lambda: 0.0, "matrix_sizes": (4,), "stream_bytes": 40}, id="a-clock-that-stands"),
    ],
)
def test_roofs_that_cannot_be_measured(arguments):
    with pytest.raises(ConfigError):
        measure_roofs(threads=1, repeats=1, **arguments)


def test_roofs_above_nothing():
    with pytest.raises(ConfigError):
        Roofs(0.0, 1.0, threads=1)
