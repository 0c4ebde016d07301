"""Plans never let two living tensors overlap, and come close to the bound."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solutions.core import scripts
from solutions.core.errors import ConfigError
from solutions.phase1_basics.profiling.activation_memory import Lifetime
from solutions.phase2_optimization.compilation.memory_plan import main, place, plan_lifetimes, plan_memory
from tests.solutions import onnx_builders

_SPANS = st.tuples(st.integers(1, 5000), st.integers(0, 12), st.integers(0, 12))


def _lifetimes(spans):
    return [Lifetime(f"t{i}", size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(spans)]


def _overlapping(lifetimes, offsets):
    for i, one in enumerate(lifetimes):
        for other in lifetimes[:i]:
            together = one.born <= other.last and other.born <= one.last
            apart = (
                offsets[one.name] + one.bytes <= offsets[other.name]
                or offsets[other.name] + other.bytes <= offsets[one.name]
            )
            if together and not apart:
                yield one.name, other.name


@settings(max_examples=200, deadline=None)
@given(st.lists(_SPANS, max_size=25), st.sampled_from([1, 16, 64]))
def test_no_two_live_tensors_overlap(spans, alignment):
    lifetimes = _lifetimes(spans)
    plan = plan_lifetimes(lifetimes, alignment=alignment)
    assert not list(_overlapping(lifetimes, plan.offsets))
    assert all(offset % alignment == 0 for offset in plan.offsets.values())
    assert plan.offsets.keys() == {life.name for life in lifetimes}
    ends = [plan.offsets[life.name] + life.bytes for life in lifetimes]
    assert max(ends, default=0) <= plan.arena_bytes
    assert plan.bound_bytes <= plan.arena_bytes


@settings(max_examples=50, deadline=None)
@given(st.lists(_SPANS, min_size=1, max_size=25), st.randoms())
def test_every_order_gives_a_valid_plan(spans, random):
    lifetimes = _lifetimes(spans)
    random.shuffle(lifetimes)
    offsets, arena = place(lifetimes)
    assert not list(_overlapping(lifetimes, offsets))
    assert arena == max(offsets[life.name] + life.bytes for life in lifetimes)


def test_the_tightest_gap_is_taken():
    # below "late" a gap of 30 beside "a", between "a" and "b" one of 10: the buffer of 10 belongs into the latter
    fixed = [Lifetime("a", 40, 0, 9), Lifetime("hole", 10, 0, 1), Lifetime("b", 20, 0, 9), Lifetime("wide", 30, 0, 1)]
    offsets, _ = place([*fixed, Lifetime("top", 5, 0, 9), Lifetime("new", 10, 5, 6)])
    assert offsets["new"] == offsets["hole"]


def test_search_reaches_the_bound_where_the_orders_do_not():
    spans = [(3, 0, 2), (2, 1, 5), (4, 3, 6), (1, 0, 4), (3, 5, 8), (2, 6, 8), (5, 7, 9), (1, 3, 9)]
    plan = plan_lifetimes(_lifetimes(spans), alignment=1)
    assert plan.overhead <= 1.10


@pytest.mark.parametrize("alignment", [0, -1, 3, 48])
def test_alignment_must_be_a_power_of_two(alignment):
    with pytest.raises(ConfigError, match=f"power of two, got {alignment}"):
        plan_lifetimes([], alignment=alignment)


def test_nothing_needs_nothing():
    plan = plan_lifetimes([])
    assert (plan.arena_bytes, plan.overhead, plan.saved) == (0, 1.0, 0.0)


def test_a_network_is_planned_at_its_bound(tmp_path):
    path = onnx_builders.small_network(tmp_path / "net.onnx")
    plan = plan_memory(path, {"images": (1, 3, 64, 64)})
    assert plan.overhead <= 1.10
    assert plan.unknown == 0
    assert plan.arena_bytes < plan.naive_bytes


def test_script(tmp_path, capsys):
    path = onnx_builders.small_network(tmp_path / "net.onnx")
    out = tmp_path / "plan.json"
    assert scripts.run(main, [str(path), "--shape", "images=2,3,64,64", "--json", str(out)]) == 0
    assert json.loads(out.read_text())["overhead"] <= 1.10
    assert "of the naive sum saved" in capsys.readouterr().out


def test_script_refuses_a_free_size(tmp_path, capsys):
    path = onnx_builders.small_network(tmp_path / "net.onnx")
    assert scripts.run(main, [str(path), "--shape", "images=?,3,64,64"]) == 2
    assert "numbers only" in capsys.readouterr().err
